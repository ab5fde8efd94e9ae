"""What mass functions are computed from: galaxies above the mass limit, or cells with some of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mergerexp.analysis.completeness import MassLimit
from mergerexp.analysis.metrics import Floats

WIDTH = 0.005  # dex, of a cell in which galaxies are counted
HEAVIEST = 13.0  # log10(M/M☉), beyond which there is no galaxy
# Catalogues give masses of two or three decimals as numbers of 32 bits. Those at the edge of a bin or cell
# lie up to 5e-7 beside it, and belong to the upper one all the same.
EDGE = 2e-6


@dataclass(frozen=True)
class MassPoints:
    """Galaxies, or cells with some of them, that lie above the mass limit at their redshift.

    Attributes
    ----------
    log_mass : ndarray of float, shape (n,)
        Masses log10(M/M☉).
    limit : ndarray of float, shape (n,)
        The mass limit at the redshift, not above ``log_mass``.
    weight : ndarray of float, shape (n,)
        The sum of the weights of the galaxies.
    square : ndarray of float, shape (n,)
        The sum of the squares of their weights.
    """

    log_mass: Floats
    limit: Floats
    weight: Floats
    square: Floats

    @classmethod
    def of(cls, log_mass: ArrayLike, limit: ArrayLike, weight: ArrayLike | None = None) -> MassPoints:
        """Take those galaxies that lie above their limit.

        Parameters
        ----------
        log_mass : array_like of float, shape (n,)
            Masses log10(M/M☉).
        limit : array_like of float, shape (n,)
            The mass limit at the redshift of each.
        weight : array_like of float, shape (n,), optional
            Their weights, 1 if not given.

        Returns
        -------
        MassPoints
            These galaxies, without those whose weight is zero.

        Raises
        ------
        ValueError
            If a mass or limit is not finite, a mass exceeds `HEAVIEST`, or a weight is negative.

        Examples
        --------
        >>> len(MassPoints.of([9.0, 10.0, 11.0], [9.5, 9.5, 9.5]))
        2
        """
        m, low = np.asarray(log_mass, dtype=np.float64), np.asarray(limit, dtype=np.float64)
        w = np.ones_like(m) if weight is None else np.asarray(weight, dtype=np.float64)
        if not (m.shape == low.shape == w.shape) or m.ndim != 1:
            raise ValueError("masses, limits and weights must be lists of one length")
        if not (np.isfinite(m) & np.isfinite(low) & np.isfinite(w) & (w >= 0)).all():
            raise ValueError("masses, limits and weights must be numbers, and weights not negative")
        if (m >= HEAVIEST).any():
            raise ValueError(f"a mass of 10^{m.max():.2f} solar masses is no galaxy's")
        kept = (m >= low) & (w > 0)
        return cls(m[kept], low[kept], w[kept], w[kept] ** 2)

    def __len__(self) -> int:
        return len(self.log_mass)

    @property
    def is_weighted(self) -> bool:
        """Tell whether any galaxy has another weight than 1.

        Returns
        -------
        bool
            Whether that is so.
        """
        return not np.array_equal(self.weight, self.square)

    @property
    def total(self) -> float:
        """The sum of all weights.

        Returns
        -------
        float
            The sum.
        """
        return float(self.weight.sum())

    def counted(self, width: float = WIDTH) -> MassPoints:
        """Count the galaxies in cells of mass and limit.

        Parameters
        ----------
        width : float
            The width of the cells in dex.

        Returns
        -------
        MassPoints
            The cells that have galaxies, at the means of the masses and limits in their row and column.
        """
        cells = np.floor((np.stack([self.log_mass, self.limit]) + EDGE) / width).astype(np.int64)
        filled, row = np.unique(cells, axis=1, return_inverse=True)
        weight, square = (
            np.bincount(row.ravel(), values).astype(np.float64) for values in (self.weight, self.square)
        )
        mass, limit = (
            _means(index, values, self.weight)
            for index, values in zip(cells, (self.log_mass, self.limit), strict=True)
        )
        first = np.zeros(filled.shape[1], dtype=np.int64)
        first[row.ravel()] = np.arange(len(self))  # any galaxy of each cell
        return MassPoints(mass[first], np.minimum(mass, limit)[first], weight, square)

    def resampled(self, random: np.random.Generator) -> MassPoints:
        """Draw each galaxy as often as a Poisson distribution of mean 1 says, as a bootstrap does.

        Parameters
        ----------
        random : Generator
            Where the draws come from.

        Returns
        -------
        MassPoints
            The galaxies that were drawn. In a cell of several weights, all have their typical one.
        """
        typical = self.square / self.weight
        drawn = random.poisson(self.weight / typical)
        kept = drawn > 0
        weight = (drawn * typical)[kept]
        return MassPoints(self.log_mass[kept], self.limit[kept], weight, weight * typical[kept])


class MassGrid:
    """Counts galaxies in cells of mass and mass limit, so that any number of them costs the same.

    Parameters
    ----------
    limit : MassLimit
        The mass limit of the sample.
    regions : int
        The number of regions of the sky that are counted apart.
    width : float
        The width of the cells in dex.
    """

    def __init__(self, limit: MassLimit, regions: int = 1, width: float = WIDTH) -> None:
        self.limit, self.regions, self.width = limit, regions, width
        # At a multiple of the width, so that the edges of bins at round masses are edges of cells.
        self._low = float(np.floor(limit.log_mass[0] / width) * width)
        self._masses = int(np.ceil((HEAVIEST - self._low) / width)) + 1
        self._limits = int((float(limit.log_mass[-1]) - self._low + EDGE) / width) + 1
        self._sums = np.zeros((2, regions * self._masses * self._limits))
        # The weighted sums of the masses in each row of cells, and of the limits in each column.
        self._places = np.zeros(self._masses), np.zeros(self._limits)

    def add(
        self,
        log_mass: ArrayLike,
        redshift: ArrayLike,
        weight: ArrayLike | None = None,
        region: NDArray[np.int64] | None = None,
    ) -> int:
        """Count further galaxies.

        Parameters
        ----------
        log_mass : array_like of float, shape (n,)
            Masses log10(M/M☉).
        redshift : array_like of float, shape (n,)
            Their redshifts, within the range of the mass limit.
        weight : array_like of float, shape (n,), optional
            Their weights, 1 if not given.
        region : ndarray of int, shape (n,), optional
            The region of the sky of each; all are in the first if not given.

        Returns
        -------
        int
            How many of them lie above the mass limit at their redshift.
        """
        m, low = np.asarray(log_mass, dtype=np.float64), self.limit.at(redshift)
        kept = m >= low
        points = MassPoints.of(m, low, weight)
        which = np.zeros(len(m), dtype=np.int64) if region is None else region
        if weight is not None:
            kept &= np.asarray(weight) > 0
        cell = which[kept] * self._masses * self._limits
        row, column = self._index(points.log_mass), self._index(points.limit)
        cell += row * self._limits + column
        for places, index, values in zip(
            self._places, (row, column), (points.log_mass, points.limit), strict=True
        ):
            places += np.bincount(index, points.weight * values, len(places))
        for sums, values in zip(self._sums, (points.weight, points.square), strict=True):
            sums += np.bincount(cell, values, len(sums))
        return len(points)

    def _index(self, log_mass: Floats) -> NDArray[np.int64]:
        return ((log_mass - self._low + EDGE) / self.width).astype(np.int64)

    def points(self, without: int | None = None) -> MassPoints:
        """Return the cells that have galaxies.

        Parameters
        ----------
        without : int, optional
            A region that is left out.

        Returns
        -------
        MassPoints
            The cells, at the means of the masses and of the limits in their row and column.
        """
        kept = [region for region in range(self.regions) if region != without]
        shape = (2, self.regions, self._masses, self._limits)
        sums = self._sums.reshape(shape)
        total = sums[0].sum(axis=0)
        with np.errstate(invalid="ignore"):  # of rows and columns without galaxies
            means = self._places[0] / total.sum(axis=1), self._places[1] / total.sum(axis=0)
        counted = sums[:, kept].sum(axis=1)
        filled = np.nonzero(counted[0])
        mass, limit = means[0][filled[0]], means[1][filled[1]]
        return MassPoints(mass, np.minimum(mass, limit), *counted[:, filled[0], filled[1]])


def bin_of(log_mass: Floats, edges: Floats) -> NDArray[np.int64]:
    """Return the bin of each mass: −1 below the first one, and their number above the last one.

    Parameters
    ----------
    log_mass : ndarray of float, shape (n,)
        Masses log10(M/M☉).
    edges : ndarray of float, shape (bins + 1,)
        The edges of the bins. A mass at an edge belongs to the upper bin.

    Returns
    -------
    ndarray of int, shape (n,)
        The bins.

    Examples
    --------
    >>> bin_of(np.float32([9.9, 10.2, 10.6]), np.array([10.0, 10.2, 10.4])).tolist()
    [-1, 1, 2]
    """
    return np.asarray(np.searchsorted(edges - EDGE, np.asarray(log_mass, dtype=np.float64), side="right") - 1)


def _means(index: NDArray[np.int64], values: Floats, weight: Floats) -> Floats:
    """Return for each value the weighted mean of those with its index."""
    at = index - index.min()
    return np.asarray((np.bincount(at, weight * values) / np.maximum(np.bincount(at, weight), 1e-300))[at])
