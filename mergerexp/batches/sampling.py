"""Class-balanced mini-batches, addressable by step so that training resumes exactly."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mergerexp.seeding import seed_for


class BalancedSampler:
    """Batches with as many objects of each class, a pure function of (labels, seed, step).

    Each class is an endless stream of seeded permutations of its objects, so that every object of the
    larger class is seen before any repeats. An epoch is one pass of the balanced set, i.e. of the
    smaller class.

    Parameters
    ----------
    labels
        Labels (0 or 1) of the training set, shape (n,).
    per_class
        Objects of each class in a batch.
    seed
        Seed of the order.

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
        # The latest permutation of each class and its pass: a step then only slices.
        self._current: list[tuple[int, NDArray[np.int64]]] = [(-1, members) for members in self._members]

    @property
    def steps_per_epoch(self) -> int:
        """Batches that show the smaller class once."""
        return math.ceil(min(map(len, self._members)) / self._per_class)

    def batch(self, step: int) -> NDArray[np.int64]:
        """Return the objects of batch `step` (0, 1, ...), counted over all epochs.

        Returns
        -------
        ndarray
            Positions in `labels`, shape (2 * per_class,): class 0 first, then class 1.
        """
        return np.concatenate([self._draw(label, step * self._per_class) for label in (0, 1)])

    def _draw(self, label: int, start: int) -> NDArray[np.int64]:
        """Cut the `per_class` objects from position `start` out of a class's stream."""
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
        """Permute a class for one pass over it."""
        if self._current[label][0] != pass_number:
            rng = np.random.default_rng(seed_for(self._seed, "batches", label, pass_number))
            self._current[label] = pass_number, rng.permutation(self._members[label])
        return self._current[label][1]
