"""Some of many galaxies: drawn at random, or those at the ends of p."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mergerexp.populations.galaxies import Galaxies, joined
from mergerexp.populations.gather import hash_of


class Draw:
    """Keeps at most so many galaxies, drawn by a hash of their ids, so that their order makes no difference.

    Parameters
    ----------
    most
        How many are kept.

    Attributes
    ----------
    total
        How many there were.
    """

    def __init__(self, most: int) -> None:
        self._most, self._kept, self.total = most, list[Galaxies](), 0

    def add(self, galaxies: Galaxies) -> None:
        """Look at further galaxies."""
        self.total += len(galaxies)
        if len(galaxies):
            self._kept.append(galaxies)
        if sum(map(len, self._kept)) > 2 * self._most:
            self._kept = [self.galaxies()]

    def galaxies(self) -> Galaxies:
        """Return the galaxies that were drawn, in an order that depends on their ids alone.

        Raises
        ------
        ValueError
            If there were none.
        """
        if not self._kept:
            raise ValueError("there are no galaxies")
        everything = joined(self._kept)
        order = np.argsort(hash_of(pa.array(everything.id, pa.string())), kind="stable")
        return everything.take(order[: self._most])

    def __len__(self) -> int:
        return min(self.total, self._most)


class Ends:
    """Keeps the galaxies with the highest or the lowest p, of those that no network was trained on.

    Of galaxies with equal p, which saturates, the one with the more extreme calibrated p comes first.

    Parameters
    ----------
    number
        How many are kept.
    highest
        Whether these are the ones with the highest p, or the lowest.
    """

    def __init__(self, number: int, highest: bool) -> None:
        self._number, self._sign = number, -1.0 if highest else 1.0
        self._kept: list[Galaxies] = []

    def add(self, galaxies: Galaxies) -> None:
        """Look at further galaxies."""
        candidates = galaxies.take(~np.isnan(galaxies.p) & ~galaxies.in_training_set)
        if len(candidates):
            both = joined([*self._kept, candidates])
            self._kept = [both.take(self._order(both)[: self._number])]

    def _order(self, galaxies: Galaxies) -> NDArray[np.int64]:
        return np.lexsort(
            (galaxies.id.astype(str), self._sign * galaxies.p_calibrated, self._sign * galaxies.p)
        )

    def galaxies(self) -> Galaxies | None:
        """Return the galaxies, the most extreme first; None if there are none."""
        return self._kept[0] if self._kept else None
