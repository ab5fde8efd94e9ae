"""Mass functions by stepwise maximum likelihood (Efstathiou, Ellis & Peterson 1988, MNRAS 232, 431).

The shape needs no assumption on how galaxies are distributed in space: each galaxy's mass is compared with
all masses that could have been seen at its redshift. The density follows from the number of galaxies.

The steps are finer than the bins that are asked for: where the mass limit cuts a step, the density is taken
to be the same on both sides of the cut, which in a wide bin of a steep function it is not.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mergerexp.analysis.mass_function.points import MassPoints, bin_of
from mergerexp.analysis.mass_function.volume import SampleVolume
from mergerexp.analysis.metrics import Floats

PRECISE = 1e-9  # galaxies of all, by which counts may differ from what is expected
ITERATIONS = 200
STEPS = 4  # in each bin
FARTHEST = 2.0  # change of ln φ in one iteration


def swml_density(points: MassPoints, volume: SampleVolume, edges: ArrayLike) -> pd.DataFrame:
    """Return the density in bins of mass that is most likely.

    Parameters
    ----------
    points : MassPoints
        The galaxies.
    volume : SampleVolume
        The volume that they were found in.
    edges : array_like of float, shape (bins + 1,)
        The edges of the bins, log10(M/M☉).

    Returns
    -------
    DataFrame
        A row for each bin: log_mass (its centre), phi (h³ Mpc⁻³ dex⁻¹), error and n (the sum of the weights).
        The error is that of the shape, from the information in ln φ, bordered by the constraint that as many
        galaxies are expected in the volume as there are, or the sandwich estimate for weighted galaxies; and
        that of the number of galaxies. Both are 0 in bins without galaxies, and NaN in bins that nothing
        links to the others: where of all galaxies near enough to be seen, none is heavier.

    Raises
    ------
    ValueError
        If no galaxy is in a bin, or the iteration does not converge.

    Examples
    --------
    >>> from mergerexp.analysis.completeness import MassLimit
    >>> limit = MassLimit(np.array([0.02, 0.06]), np.array([9.0, 9.0]))
    >>> points = MassPoints.of([10.1, 10.1, 10.3], [9.0, 9.0, 9.0])
    >>> found = swml_density(points, SampleVolume(limit, 1000.0), [10.0, 10.2, 10.4])
    >>> round(float(found["phi"][0] / found["phi"][1]), 6)
    2.0
    """
    bins = np.asarray(edges, dtype=np.float64)
    bounds = np.interp(np.arange(STEPS * (len(bins) - 1) + 1) / STEPS, np.arange(len(bins)), bins)
    width, number = np.diff(bounds), len(bounds) - 1
    at = bin_of(points.log_mass, bounds)
    inside = (at >= 0) & (at < number)
    if not inside.any():
        raise ValueError("no galaxy is in any bin of mass")
    counted = np.bincount(at[inside], points.weight[inside], number).astype(np.float64)
    first = _first_linked(at[inside], np.maximum(bin_of(points.limit[inside], bounds), 0))
    inside &= at >= first
    at, weight, square = at[inside], points.weight[inside], points.square[inside]
    limits, row = np.unique(points.limit[inside], return_inverse=True)
    visible = np.clip((bounds[None, 1:] - limits[:, None]) / width, 0.0, 1.0)  # of each step, at each limit
    counts = np.bincount(at, weight, number).astype(np.float64)
    weights = np.bincount(row, weight, len(limits)).astype(np.float64)
    fraction = _most_likely(counts, weights, visible)
    # Where the mass limit cuts a step, only the visible part of it counts.
    shells, shell_limits = volume.shells()
    seen = np.clip((bounds[None, 1:] - shell_limits[:, None]) / width, 0.0, 1.0)
    expected = (shells @ seen) * fraction  # galaxies of each step, over the density
    phi = fraction / width * counts.sum() / expected.sum()
    joint = np.zeros((number, len(limits)))
    np.add.at(joint, (at, row), square)
    constraint = expected / expected.sum()
    relative = _relative_covariance(fraction, constraint, visible, weights, joint, points.is_weighted)
    covariance = phi[:, None] * phi * (relative + square.sum() / weight.sum() ** 2)
    per_bin = (len(bins) - 1, STEPS)
    phi[:first] = covariance[:first, :first] = np.nan
    variance = covariance.reshape(per_bin + per_bin).mean(axis=(1, 3)).diagonal()
    return pd.DataFrame(
        {
            "log_mass": (bins[1:] + bins[:-1]) / 2,
            "phi": phi.reshape(per_bin).mean(axis=1),
            "error": np.sqrt(np.maximum(variance, 0.0)),  # which leaves NaN as they are
            "n": counted.reshape(per_bin).sum(axis=1),
        }
    )


def _first_linked(at: NDArray[np.int64], limit: NDArray[np.int64]) -> int:
    """Return the lowest step from which on all densities are related to each other.

    Galaxies near enough that lighter ones can be seen relate these to the heavier ones. Where all galaxies
    with limits below some step are themselves below it, the lighter ones could be any number of times as
    many.

    Parameters
    ----------
    at, limit
        The steps of each galaxy and of its mass limit.
    """
    highest = np.full(int(at.max()) + 1, -1)
    np.maximum.at(highest, limit, at)
    highest = np.maximum.accumulate(highest)[:-1]  # of galaxies with limits up to each step
    loose = np.flatnonzero((highest >= 0) & (highest <= np.arange(len(highest))))
    return int(loose[-1]) + 1 if len(loose) else 0


def _most_likely(counts: Floats, weights: Floats, visible: Floats) -> Floats:
    """Return the fraction of galaxies in each step, by Newton's method in ln φ, in which it is concave.

    Parameters
    ----------
    counts
        Galaxies in each step, shape (steps,).
    weights
        Galaxies at each limit, shape (limits,).
    visible
        The visible part of each step at each limit, shape (limits, steps).

    Raises
    ------
    ValueError
        If it does not converge.
    """
    filled = counts > 0
    wanted, seen_part = counts[filled], visible[:, filled]
    log_phi = np.log(wanted / (weights @ seen_part))
    for _ in range(ITERATIONS):
        phi = np.exp(log_phi - log_phi.max())
        probability = seen_part * phi
        probability /= probability.sum(axis=1, keepdims=True)
        expected = weights @ probability
        missing = wanted - expected
        if np.abs(missing).max() < PRECISE * wanted.sum():
            fraction = np.zeros(len(counts))
            fraction[filled] = phi / phi.sum()
            return fraction
        information = np.diag(expected) - (weights[:, None] * probability).T @ probability
        # A common factor of all φ changes nothing; it is kept.
        step = np.linalg.solve(information + wanted.mean() / len(wanted), missing)
        log_phi = log_phi + step * min(1.0, FARTHEST / np.abs(step).max())
    raise ValueError(f"the stepwise densities have not converged in {ITERATIONS} iterations")


def _relative_covariance(
    fraction: Floats,
    constraint: Floats,
    visible: Floats,
    weights: Floats,
    squares: Floats,
    is_weighted: bool,
) -> Floats:
    """Return the covariance of ln φ, where the expected number of galaxies is fixed; 0 in empty steps.

    Parameters
    ----------
    fraction
        The fraction of galaxies in each step, shape (steps,).
    constraint
        Each step's part of the expected number, shape (steps,).
    visible
        The visible part of each step at each limit, shape (limits, steps).
    weights
        Weights at each limit, shape (limits,).
    squares
        Their squares in each step at each limit, shape (steps, limits).
    is_weighted
        Whether the sandwich estimate is needed.
    """
    filled = fraction > 0
    probability = visible * fraction
    probability = (probability / probability.sum(axis=1, keepdims=True))[:, filled]
    information = np.diag(weights @ probability) - (weights[:, None] * probability).T @ probability
    size = int(filled.sum())
    bordered = np.zeros((size + 1, size + 1))
    bordered[:size, :size] = information
    bordered[:size, size] = bordered[size, :size] = constraint[filled]
    inverse = np.linalg.pinv(bordered)[:size, :size]
    if is_weighted:
        own = squares[filled]
        cross = own @ probability
        scatter = np.diag(own.sum(axis=1)) - cross - cross.T
        scatter += (own.sum(axis=0)[:, None] * probability).T @ probability
        inverse = inverse @ scatter @ inverse.T
    covariance = np.zeros((len(fraction), len(fraction)))
    covariance[np.ix_(filled, filled)] = inverse
    return covariance
