"""Whether a sample needs a Schechter function of two components, and what is uncertain about a fit.

Twice the difference of the logarithms of the likelihoods does not follow a χ² distribution, since a single
Schechter function lies at the edge of the double ones, where further parameters mean nothing. So masses are
drawn from the single function that was fitted, at the redshifts of the sample, and both are fitted to these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mergerexp.analysis.mass_function.points import HEAVIEST, WIDTH, MassPoints
from mergerexp.analysis.mass_function.schechter import DOUBLE, SINGLE, Family
from mergerexp.analysis.mass_function.sty import Fit, fit_schechter, integrals
from mergerexp.analysis.mass_function.volume import SampleVolume
from mergerexp.analysis.metrics import Floats


@dataclass(frozen=True)
class Choice:
    """A single Schechter function, a double one, and how they compare.

    Attributes
    ----------
    single, double : Fit
        The fits.
    ratio : float
        Twice the difference of the logarithms of their likelihoods.
    p_value : float
        The probability of a larger one if the truth is the single function.
    draws : int
        The number of draws that this is from.
    """

    single: Fit
    double: Fit
    ratio: float
    p_value: float
    draws: int

    def better(self, level: float = 0.05) -> Fit:
        """Return the double function if the single one is rejected, or else the single one.

        Parameters
        ----------
        level : float
            The p-value below which the single function is rejected.

        Returns
        -------
        Fit
            One of both.
        """
        return self.double if self.p_value < level else self.single


def choose(points: MassPoints, volume: SampleVolume, *, seed: int, draws: int = 99) -> Choice:
    """Fit a single and a double Schechter function, and compare them by a parametric bootstrap.

    Parameters
    ----------
    points : MassPoints
        The galaxies.
    volume : SampleVolume
        The volume that they were found in.
    seed : int
        The seed of the draws.
    draws : int
        Their number.

    Returns
    -------
    Choice
        Both fits and the p-value.

    Examples
    --------
    >>> from mergerexp.analysis.completeness import MassLimit
    >>> from mergerexp.analysis.mass_function.schechter import Schechter
    >>> limit = MassLimit(np.array([0.02, 0.06]), np.array([9.0, 9.0]))
    >>> grid = np.arange(9.0025, 12.5, 0.005)
    >>> counts = 1e5 * Schechter(10.8, (-1.7, -0.6), (-3.0, -2.0)).density(grid)
    >>> points = MassPoints(grid, np.full(len(grid), 9.0), counts, counts)
    >>> choose(points, SampleVolume(limit, 1000.0), seed=0, draws=19).p_value
    0.05
    """
    cells = points.counted()
    single, double = fit_both(cells, volume)
    ratio = 2 * (double.log_likelihood - single.log_likelihood)
    random = np.random.default_rng(seed)
    larger = 0
    for _ in range(draws):
        again = fit_both(drawn_from(single, cells, random), volume, (single, double))
        larger += 2 * (again[1].log_likelihood - again[0].log_likelihood) >= ratio
    return Choice(single, double, float(ratio), (1 + larger) / (1 + draws), draws)


def fit_both(
    points: MassPoints, volume: SampleVolume, near: tuple[Fit, Fit] | None = None
) -> tuple[Fit, Fit]:
    """Fit a single and a double Schechter function, the latter never worse.

    Parameters
    ----------
    points : MassPoints
        The galaxies.
    volume : SampleVolume
        The volume that they were found in.
    near : tuple of Fit, optional
        Fits of a similar sample, from which these start.

    Returns
    -------
    tuple of Fit
        The single and the double one.

    Examples
    --------
    >>> from mergerexp.analysis.completeness import MassLimit
    >>> limit = MassLimit(np.array([0.02, 0.06]), np.array([9.0, 9.0]))
    >>> points = MassPoints.of(np.linspace(9, 11.5, 50), np.full(50, 9.0))
    >>> single, double = fit_both(points, SampleVolume(limit, 1000.0))
    >>> bool(double.log_likelihood >= single.log_likelihood)
    True
    """
    single = fit_schechter(points, volume, SINGLE, starts=[near[0].parameters] if near else (), draws=0)
    knee, alpha = single.parameters
    nested = [(knee, alpha, 0.5, -8.0), (knee, max(alpha - 0.8, -4.0), 0.8, 3.0)]
    starts: list[ArrayLike] = [*nested, *([near[1].parameters] if near else DOUBLE.starts)]
    return single, fit_schechter(points, volume, DOUBLE, starts=starts, draws=0)


def drawn_from(fit: Fit, points: MassPoints, random: np.random.Generator) -> MassPoints:
    """Draw masses from a fitted function, as many at each mass limit as the sample has there.

    Parameters
    ----------
    fit : Fit
        The function.
    points : MassPoints
        The sample.
    random : Generator
        Where the draws come from.

    Returns
    -------
    MassPoints
        Cells of 0.005 dex. Where galaxies with one limit have different weights, each that is drawn has their
        typical one.

    Examples
    --------
    >>> fit = Fit(SINGLE, np.array([10.8, -0.6]), np.eye(2), -3.4, 0.1, 0.0)
    >>> points = MassPoints.of([10.0, 11.0], [9.5, 9.5])
    >>> drawn = drawn_from(fit, points, np.random.default_rng(0))
    >>> drawn.total, bool((drawn.log_mass >= 9.5).all())
    (2.0, True)
    """
    cells = points.counted()
    limits, row = np.unique(cells.limit, return_inverse=True)
    typical = np.bincount(row, cells.square) / np.bincount(row, cells.weight)
    numbers = np.round(np.bincount(row, cells.weight) / typical).astype(np.int64)
    first = np.floor(limits / WIDTH).astype(np.int64)
    edges = np.arange(first[0], np.ceil(HEAVIEST / WIDTH) + 1) * WIDTH
    above, _ = integrals(fit.family, edges, fit.parameters)
    drawn: list[Floats] = []
    for at, limit in enumerate(limits):
        start = first[at] - first[0] + 1  # the first edge above the limit
        levels = np.append(np.interp(limit, edges, above), above[start:])
        chances = -np.diff(levels)
        counts = random.multinomial(numbers[at], chances / chances.sum())
        filled = np.flatnonzero(counts)
        mass = np.maximum(edges[start - 1 + filled] + WIDTH / 2, limit)
        weight = counts[filled] * typical[at]
        drawn.append(np.stack([mass, np.full(len(filled), limit), weight, weight * typical[at]]))
    return MassPoints(*np.concatenate(drawn, axis=1))


class Interval(NamedTuple):
    """The limits of an interval at each of some masses."""

    low: Floats
    high: Floats


def bootstrap_fits(
    points: MassPoints, volume: SampleVolume, fit: Fit, *, seed: int, draws: int = 100
) -> list[Fit]:
    """Fit a Schechter function to samples that are drawn from a sample, galaxy by galaxy.

    Parameters
    ----------
    points : MassPoints
        The sample.
    volume : SampleVolume
        The volume that it was found in.
    fit : Fit
        What was fitted to it, from which the fits start.
    seed : int
        The seed of the draws.
    draws : int
        Their number.

    Returns
    -------
    list of Fit
        The fits. Their scatter is that of the parameters and of Φ*.

    Examples
    --------
    >>> from mergerexp.analysis.completeness import MassLimit
    >>> limit = MassLimit(np.array([0.02, 0.06]), np.array([9.0, 9.0]))
    >>> volume = SampleVolume(limit, 1000.0)
    >>> points = MassPoints.of(np.linspace(9, 11.5, 50), np.full(50, 9.0))
    >>> fits = bootstrap_fits(points, volume, fit_schechter(points, volume), seed=0, draws=3)
    >>> len({each.log_phi for each in fits})
    3
    """
    random = np.random.default_rng(seed)
    family: Family = fit.family
    starts: list[ArrayLike] = [fit.parameters, *(family.starts[:1] if family is DOUBLE else ())]
    return [
        fit_schechter(points.resampled(random), volume, family, starts=starts, draws=0) for _ in range(draws)
    ]


def interval(fits: list[Fit], log_mass: ArrayLike, level: float = 0.68) -> Interval:
    """Return the interval of Φ at some masses that holds a part of some fits.

    Parameters
    ----------
    fits : list of Fit
        The fits, usually of `bootstrap_fits`.
    log_mass : array_like of float, shape (n,)
        The masses, log10(M/M☉).
    level : float
        The part.

    Returns
    -------
    Interval
        Densities in h³ Mpc⁻³ dex⁻¹.

    Examples
    --------
    >>> fits = [Fit(SINGLE, np.array([10.8, -0.6]), np.eye(2), phi, 0.1, 0.0) for phi in (-3.0, -2.0)]
    >>> low, high = interval(fits, [10.8], level=1.0)
    >>> round(float(high[0] / low[0]), 6)
    10.0
    """
    densities = [each.function.density(log_mass) for each in fits]
    low, high = np.quantile(densities, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Interval(low, high)
