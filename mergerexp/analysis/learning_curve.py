"""The learning curve: error(N) = a + b N^-c, fitted to the mean errors of several training-set sizes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar, nnls

from mergerexp.analysis.metrics import Floats

STEEPEST = 10.0  # with a larger c the curve is a step, of which only the height can be fitted
SHALLOWEST = 0.01  # with a smaller c it is a straight line in log N, which many pairs of a and b fit


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """A fitted learning curve, error(N) = a + b N^-c.

    Attributes
    ----------
    a : float
        The error that no number of training galaxies would fall below.
    b : float
        The height of the power law at N = 1.
    c : float
        The exponent of the power law.
    covariance : ndarray of float, shape (3, 3)
        The covariance of (a, b, c); the row and column of a are zero where a is fixed at 0.
    chi2 : float
        The weighted sum of squared residuals.
    dof : int
        The degrees of freedom of chi2.
    """

    a: float
    b: float
    c: float
    covariance: Floats
    chi2: float
    dof: int

    def predict(self, n_train: ArrayLike, sigma: float = 1.0) -> tuple[Floats, Floats, Floats]:
        """Return the error at some sizes with its band, by propagation of the covariance.

        Parameters
        ----------
        n_train : array_like of float
            Training-set sizes in galaxies, of any shape.
        sigma : float, default 1.0
            The half-width of the band in standard deviations; a band of 1 holds 68 %.

        Returns
        -------
        error : ndarray of float
            The error, of the shape of n_train.
        low : ndarray of float
            The lower limit of the band, which is not below 0.
        high : ndarray of float
            The upper limit of the band.

        Raises
        ------
        ValueError
            If a size is not positive and finite.
        """
        n = np.asarray(n_train, dtype=np.float64)
        if not ((n > 0) & np.isfinite(n)).all():
            raise ValueError("n_train must be positive and finite")
        power = n**-self.c
        gradient = np.stack([np.ones_like(n), power, -self.b * np.log(n) * power], axis=-1)
        variance = np.einsum("...i,ij,...j->...", gradient, self.covariance, gradient)
        error = self.a + self.b * power
        half = sigma * np.sqrt(np.maximum(variance, 0))
        return error, np.maximum(error - half, 0), error + half


def fit_learning_curve(n_train: ArrayLike, error: ArrayLike, sem: ArrayLike) -> LearningCurve:
    """Fit error(N) = a + b N^-c with a >= 0 by weighted least squares.

    The floor a is fixed at 0 where there are only three sizes, where the error does not fall with the size,
    and where the fit ends at that limit. The covariance is that of b and c then, and the band of
    `LearningCurve.predict` does not take into account that a may be larger.

    Parameters
    ----------
    n_train : array_like of float, shape (k,)
        Training-set sizes in galaxies, each once, three at least.
    error : array_like of float, shape (k,)
        The mean test error at each size.
    sem : array_like of float, shape (k,)
        The standard error of each mean, positive; the residuals are divided by it.

    Returns
    -------
    LearningCurve
        The fitted curve.

    Raises
    ------
    ValueError
        If there are fewer than three sizes, or shapes or values are wrong.

    Examples
    --------
    >>> curve = fit_learning_curve([100, 400, 1600], [0.1, 0.05, 0.025], [0.01, 0.005, 0.005])
    >>> round(curve.b, 3), round(curve.c, 3)
    (1.0, 0.5)
    >>> error, low, high = curve.predict(6400)
    >>> print(f"{error:.4f}, between {low:.4f} and {high:.4f}")
    0.0125, between 0.0095 and 0.0155
    """
    n, y, s = _checked(n_train, error, sem)
    centre = float(np.exp(np.log(n).mean()))  # where the curve's level is least correlated with c
    x = np.log(n / centre)
    fit = _fit(x, y, s, -STEEPEST, floor=False)
    if len(n) > 3 and fit.c > SHALLOWEST:
        with_floor = _fit(x, y, s, SHALLOWEST, floor=True)
        if with_floor.a > 0 and with_floor.chi2 < fit.chi2:
            fit = with_floor
    b = fit.b * centre**fit.c
    jacobian = np.array([[1, 0, 0], [0, centre**fit.c, b * np.log(centre)], [0, 0, 1]])
    return replace(fit, b=b, covariance=jacobian @ fit.covariance @ jacobian.T)


def _fit(x: Floats, y: Floats, s: Floats, lowest: float, floor: bool) -> LearningCurve:
    """Fit a + b exp(-c x) by a search for c, from ``lowest`` on, with the best a and b at each c."""

    def columns(c: float) -> Floats:
        return np.stack([np.full(len(x), float(floor)), np.exp(-c * x)], axis=1)

    def misfit(c: float) -> float:
        return float(nnls(columns(c) / s[:, None], y / s)[1])

    grid = np.linspace(lowest, STEEPEST, 60)
    at = int(np.argmin([misfit(c) for c in grid]))
    bounds = (grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)])
    c = float(minimize_scalar(misfit, bounds=bounds, method="bounded", options={"xatol": 1e-9}).x)
    (a, b), norm = nnls(columns(c) / s[:, None], y / s)
    gradient = np.column_stack([columns(c), -b * x * np.exp(-c * x)]) / s[:, None]
    free = [0, 1, 2] if floor else [1, 2]
    covariance = np.zeros((3, 3))
    covariance[np.ix_(free, free)] = np.linalg.pinv(gradient[:, free].T @ gradient[:, free], hermitian=True)
    return LearningCurve(float(a), float(b), c, covariance, float(norm**2), len(x) - len(free))


def _checked(n_train: ArrayLike, error: ArrayLike, sem: ArrayLike) -> tuple[Floats, Floats, Floats]:
    n, y, s = (np.asarray(values, dtype=np.float64) for values in (n_train, error, sem))
    if n.ndim != 1 or not n.shape == y.shape == s.shape:
        raise ValueError(f"n_train, error and sem must be lists alike, not {n.shape}, {y.shape}, {s.shape}")
    if not ((n > 0) & np.isfinite(n)).all() or len(np.unique(n)) < len(n):
        raise ValueError("n_train must be positive and finite, each size once")
    if len(n) < 3:
        raise ValueError(f"a learning curve needs at least three training-set sizes, not {len(n)}")
    if not ((y >= 0) & np.isfinite(y)).all() or not y.any():
        raise ValueError("error must be finite, nowhere negative, and not 0 at all sizes")
    if not ((s > 0) & np.isfinite(s)).all():
        raise ValueError("sem must be positive and finite: two folds at least, whose errors differ")
    return n, y, s
