"""Schechter functions by maximum likelihood (Sandage, Tammann & Yahil 1979, ApJ 232, 352).

The likelihood of a galaxy is Φ at its mass over the integral of Φ above the mass limit at its redshift,
whatever the density of galaxies is there. Φ* follows from how many galaxies there are in the sample's volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from mergerexp.analysis.mass_function.points import HEAVIEST, MassPoints
from mergerexp.analysis.mass_function.schechter import LN10, SINGLE, Family, Schechter
from mergerexp.analysis.mass_function.volume import SampleVolume
from mergerexp.analysis.metrics import Floats

STEP = 0.005  # dex, of the integrals
DIFFERENCE = 1e-4  # of a parameter, from which second derivatives are formed
NEAR = 1e-3  # how near to its bound a parameter says nothing


@dataclass(frozen=True)
class Fit:
    """A Schechter function fitted to a sample.

    Attributes
    ----------
    family : Family
        Which functions were tried.
    parameters : ndarray of float, shape (k,)
        The most likely parameters of the shape, in the order of ``family.names``.
    covariance : ndarray of float, shape (k, k)
        Their covariance, from the second derivatives; for weighted galaxies by the sandwich estimate.
    log_phi : float
        log10 of Φ* of the first component in h³ Mpc⁻³.
    log_phi_error : float
        Its standard deviation, of the shape and of the number of galaxies.
    log_likelihood : float
        The logarithm of the likelihood of the masses, given the redshifts.
    at_bound : tuple of str
        The parameters that ran into their bounds, which the sample does not determine.
    """

    family: Family
    parameters: Floats
    covariance: Floats
    log_phi: float
    log_phi_error: float
    log_likelihood: float
    at_bound: tuple[str, ...] = ()

    @property
    def function(self) -> Schechter:
        """The Schechter function.

        Returns
        -------
        Schechter
            The function, with densities in h³ Mpc⁻³ dex⁻¹.
        """
        return self.family.function(self.parameters, self.log_phi)

    @property
    def errors(self) -> Floats:
        """The standard deviations of the parameters of the shape.

        Returns
        -------
        ndarray of float, shape (k,)
            The standard deviations; NaN where the second derivatives give none, as at a bound.
        """
        variance = np.diag(self.covariance)
        return np.sqrt(np.where(variance >= 0, variance, np.nan))


class _Likelihood:
    """The logarithm of a sample's likelihood, and its derivatives.

    It is a sum over masses, less a sum over mass limits, so that galaxies in cells of both take no longer
    than the masses and the limits that there are.

    Parameters
    ----------
    points
        The galaxies.
    family
        The functions that are tried.
    """

    def __init__(self, points: MassPoints, family: Family) -> None:
        self.points, self.family = points, family
        self._mass, self._of_mass = np.unique(points.log_mass, return_inverse=True)
        limit, self._of_limit = np.unique(points.limit, return_inverse=True)
        self._mass_weight = np.bincount(self._of_mass, points.weight)
        self._limit_weight = np.bincount(self._of_limit, points.weight)
        low = float(limit[0]) - 2 * STEP
        self._grid = np.arange(low, HEAVIEST + STEP, STEP)
        place = (limit - low) / STEP
        self._cell = place.astype(np.int64)
        self._share = place - self._cell

    def loss(self, parameters: Floats) -> tuple[float, Floats]:
        """Return minus the mean logarithm of the likelihood, and its gradient."""
        at_mass, slopes = self.family.log_shape(self._mass, parameters)
        above, above_slopes = self._above(parameters)
        if not np.isfinite(above).all():
            return 1e10, np.zeros(len(parameters))
        value = self._mass_weight @ at_mass - self._limit_weight @ above
        gradient = slopes @ self._mass_weight - above_slopes @ self._limit_weight
        return -float(value) / self.points.total, -gradient / self.points.total

    def scores(self, parameters: Floats) -> Floats:
        """Return the derivatives of the logarithm of each galaxy's likelihood, shape (k, n)."""
        slopes = self.family.log_shape(self._mass, parameters)[1][:, self._of_mass]
        return np.asarray(slopes - self._above(parameters)[1][:, self._of_limit])

    def _above(self, parameters: Floats) -> tuple[Floats, Floats]:
        """Return the logarithm of the integral above each limit, and its derivatives."""
        integral, weighted = integrals(self.family, self._grid, parameters)
        level = self._at_limit(integral)
        if not (level > 0).all():
            return np.full(len(level), np.inf), np.zeros((len(parameters), len(level)))
        highest = self.family.log_shape(self._grid, parameters)[0].max()
        return np.log(level) + highest, np.stack([self._at_limit(each) for each in weighted]) / level

    def _at_limit(self, integral: Floats) -> Floats:
        return np.asarray(integral[self._cell] * (1 - self._share) + integral[self._cell + 1] * self._share)


def integrals(family: Family, grid: Floats, parameters: Floats) -> tuple[Floats, Floats]:
    """Integrate a shape from each mass of a grid to its end.

    Parameters
    ----------
    family : Family
        The shape.
    grid : ndarray of float, shape (n,)
        Masses at equal steps.
    parameters : ndarray of float, shape (k,)
        The parameters.

    Returns
    -------
    integral : ndarray of float, shape (n,)
        The integrals of the shape over its highest value on the grid, by the trapezoidal rule.
    derivatives : ndarray of float, shape (k, n)
        Those of the shape's derivatives.

    Examples
    --------
    >>> grid = np.arange(9.0, 13.0, 0.005)
    >>> integral, _ = integrals(SINGLE, grid, np.array([10.8, -1.0]))
    >>> bool(integral[0] > integral[100] > integral[-1])
    True
    """
    values, slopes = family.log_shape(grid, parameters)
    shape = np.exp(values - values.max())
    terms = np.concatenate([shape[None], shape * slopes])
    pieces = (terms[:, 1:] + terms[:, :-1]) * (grid[1] - grid[0]) / 2
    from_end = np.zeros_like(terms)
    from_end[:, :-1] = pieces[:, ::-1].cumsum(axis=1)[:, ::-1]
    return from_end[0], from_end[1:]


def fit_schechter(
    points: MassPoints,
    volume: SampleVolume,
    family: Family = SINGLE,
    *,
    starts: Sequence[ArrayLike] = (),
    draws: int = 300,
    seed: int = 0,
) -> Fit:
    """Fit a Schechter function to a sample.

    Parameters
    ----------
    points : MassPoints
        The galaxies.
    volume : SampleVolume
        The volume that they were found in.
    family : Family
        The functions that are tried.
    starts : sequence of array_like
        Parameters to start from; those of the family if there are none.
    draws : int
        How many parameters are drawn for the error of Φ*.
    seed : int
        The seed of these draws.

    Returns
    -------
    Fit
        The most likely function.

    Raises
    ------
    ValueError
        If there are not more galaxies than parameters.

    Examples
    --------
    >>> from mergerexp.analysis.completeness import MassLimit
    >>> limit = MassLimit(np.array([0.02, 0.06]), np.array([9.0, 9.0]))
    >>> grid = np.arange(9.0025, 12.5, 0.005)
    >>> counts = 1e5 * Schechter(10.8, (-0.6,), (-2.0,)).density(grid)
    >>> points = MassPoints(grid, np.full(len(grid), 9.0), counts, counts)
    >>> fit_schechter(points, SampleVolume(limit, 1000.0)).parameters.round(2)
    array([10.8, -0.6])
    """
    if points.total**2 / max(points.square.sum(), 1e-300) <= len(family.names):
        raise ValueError(f"{len(points)} galaxies are too few for the parameters {', '.join(family.names)}")
    likelihood = _Likelihood(points, family)
    best = None
    for start in starts or family.starts:
        found = minimize(
            likelihood.loss, start, jac=True, method="L-BFGS-B", bounds=family.bounds,
            options={"ftol": 1e-13, "gtol": 1e-8, "maxiter": 500},
        )  # fmt: skip
        if best is None or found.fun < best.fun:
            best = found
    assert best is not None
    parameters = np.asarray(best.x, dtype=np.float64)
    bounds = np.asarray(family.bounds)
    is_at_bound = (parameters - bounds[:, 0] < NEAR) | (bounds[:, 1] - parameters < NEAR)
    covariance = _covariance(likelihood, parameters)
    log_phi = normalise(points, volume, family, parameters)
    random = np.random.default_rng(seed)
    scatter = 0.0
    if draws and not is_at_bound.any():
        drawn = random.multivariate_normal(parameters, covariance, draws, check_valid="ignore")
        inside = ((drawn > bounds[:, 0]) & (drawn < bounds[:, 1])).all(axis=1)
        scatter = float(np.std([normalise(points, volume, family, each) for each in drawn[inside]]))
    poisson = np.sqrt(points.square.sum()) / points.total / LN10
    return Fit(
        family=family,
        parameters=parameters,
        covariance=covariance,
        log_phi=log_phi,
        log_phi_error=float(np.hypot(scatter, poisson)),
        log_likelihood=-best.fun * points.total,
        at_bound=tuple(name for name, near in zip(family.names, is_at_bound, strict=True) if near),
    )


def normalise(points: MassPoints, volume: SampleVolume, family: Family, parameters: Floats) -> float:
    """Return log10 of the density Φ* of the first component that gives as many galaxies as there are.

    Parameters
    ----------
    points : MassPoints
        The galaxies.
    volume : SampleVolume
        The volume that they were found in.
    family : Family
        The shape.
    parameters : ndarray of float, shape (k,)
        Its parameters.

    Returns
    -------
    float
        The logarithm log10(Φ*) in h³ Mpc⁻³.

    Examples
    --------
    >>> from mergerexp.analysis.completeness import MassLimit
    >>> volume = SampleVolume(MassLimit(np.array([0.02, 0.06]), np.array([9.0, 9.0])), 1000.0)
    >>> one, ten = (MassPoints.of([10.0] * n, [9.0] * n) for n in (1, 10))
    >>> shape = np.array([10.8, -0.6])
    >>> round(normalise(ten, volume, SINGLE, shape) - normalise(one, volume, SINGLE, shape), 9)
    1.0
    """
    shells, limits = volume.shells()
    low = float(limits.min()) - 2 * STEP
    grid = np.arange(low, HEAVIEST + STEP, STEP)
    integral, _ = integrals(family, grid, parameters)
    highest = family.log_shape(grid, parameters)[0].max()
    expected = float(shells @ np.interp(limits, grid, integral))
    with np.errstate(divide="ignore"):  # infinite where the shape has nothing above the limit
        return float((np.log(points.total) - np.log(expected) - highest) / LN10)


def _covariance(likelihood: _Likelihood, parameters: Floats) -> Floats:
    """Return the covariance of the parameters, or NaN where the second derivatives have no inverse."""
    points, size = likelihood.points, len(parameters)
    second = np.empty((size, size))
    for at in range(size):
        step = np.zeros(size)
        step[at] = DIFFERENCE
        second[at] = likelihood.loss(parameters + step)[1] - likelihood.loss(parameters - step)[1]
    second = (second + second.T) / 2 * points.total / (2 * DIFFERENCE)
    try:
        inverse = np.linalg.inv(second)
    except np.linalg.LinAlgError:
        return np.full((size, size), np.nan)
    if points.is_weighted:
        scores = likelihood.scores(parameters)
        inverse = inverse @ ((scores * points.square) @ scores.T) @ inverse.T
    return np.asarray(inverse)
