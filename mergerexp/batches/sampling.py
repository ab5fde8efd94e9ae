"""Class-balanced mini-batches that are determined by the step, so that training resumes exactly."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mergerexp.seeding import seed_for


class BalancedSampler:
    """Batches with equally many objects of each class, which depend on labels, seed and step alone.

    Each class is an endless stream of seeded permutations of its objects, so that every object of the
    larger class is seen before any repeats. An epoch is one pass over the smaller class.

    Parameters
    ----------
    labels
        The label (0 or 1) of each object of the training set, shape (n,).
    per_class
        The number of objects of each class in a batch.
    seed
        The seed of the order.

    Raises
    ------
    ValueError
        If a class has no object, or `per_class` is not positive.
    """

    def __init__(self, labels: ArrayLike, per_class: int, seed: int) -> None:
        if per_class < 1:
            raise ValueError(f"per_class must be at least 1, not {per_class}")
        values = np.asarray(labels)
        self._members = [np.flatnonzero(values == label) for label in (0, 1)]
        for label, members in enumerate(self._members):
            if not len(members):
                raise ValueError(f"the training set has no object of class {label}")
        self._per_class = per_class
        self._seed = seed
        # The pass and the permutation of each class that the latest batch came from.
        self._current: list[tuple[int, NDArray[np.int64]]] = [(-1, members) for members in self._members]

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches that show the smaller class once."""
        return math.ceil(min(map(len, self._members)) / self._per_class)

    def batch(self, step: int) -> NDArray[np.int64]:
        """Return the objects of the batch of a step, counted from 0 over all epochs.

        Returns
        -------
        ndarray
            The positions of the objects in ``labels``, shape (2 * per_class,), first those of class 0.
        """
        return np.concatenate([self._draw(label, step * self._per_class) for label in (0, 1)])

    def _draw(self, label: int, start: int) -> NDArray[np.int64]:
        """Return the ``per_class`` objects from position ``start`` on in the stream of a class."""
        n = len(self._members[label])
        pieces = []
        stop = start + self._per_class
        while start < stop:
            pass_number, offset = divmod(start, n)
            piece = self._order(label, pass_number)[offset : offset + stop - start]
            pieces.append(piece)
            start += len(piece)
        return np.concatenate(pieces)

    def _order(self, label: int, pass_number: int) -> NDArray[np.int64]:
        """Return the permutation of a class for one pass over it."""
        if self._current[label][0] != pass_number:
            rng = np.random.default_rng(seed_for(self._seed, "batches", label, pass_number))
            self._current[label] = pass_number, rng.permutation(self._members[label])
        return self._current[label][1]
