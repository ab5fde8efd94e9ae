"""Logistic regressions on one variable, many at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from mergerexp.analysis.metrics import Floats


def logistic_fits(x: Floats, target: Floats, weights: Floats, prior_sd: float) -> tuple[Floats, Floats]:
    """Fit a logistic regression for each of many sets of weights, by damped Newton steps on standardised x.

    scikit-learn's LogisticRegression fits one set at a time, in 2.8 ms for 1000 galaxies, where a bootstrap
    needs thousands, and takes no smoothed labels.

    Parameters
    ----------
    x : ndarray of float, shape (n,)
        The variable.
    target : ndarray of float, shape (n,)
        The fraction to be fitted to at each value, in [0, 1].
    weights : ndarray of float, shape (sets, n)
        The weights of the values in each set.
    prior_sd : float
        The standard deviation of the normal prior of the standardised slope.

    Returns
    -------
    slope : ndarray of float, shape (sets,)
        The slopes.
    intercept : ndarray of float, shape (sets,)
        The intercepts.

    Raises
    ------
    RuntimeError
        If a fit does not converge.

    Examples
    --------
    >>> x, target = np.array([-1.0, -1.0, 1.0, 1.0]), np.array([0.0, 0.25, 0.75, 1.0])
    >>> slope, intercept = logistic_fits(x, target, np.ones((1, 4)), prior_sd=1e6)
    >>> bool(np.isclose(slope[0], logit(0.875))), bool(np.isclose(intercept[0], 0))
    (True, True)
    """
    total = weights.sum(axis=1)
    centre = weights @ x / total
    off = x - centre[:, None]
    scale = np.sqrt((weights * off**2).sum(axis=1) / total)
    scale[scale == 0] = 1.0
    z = off / scale[:, None]
    ridge = prior_sd**-2
    slope, intercept = np.zeros(len(weights)), logit(weights @ target / total)
    left = np.arange(len(weights))  # the sets whose fit has not converged yet

    def loss(sets: NDArray[np.int64], a: Floats, b: Floats) -> Floats:
        eta = a[:, None] * z[sets] + b[:, None]
        value: Floats = (weights[sets] * (np.logaddexp(0, eta) - target * eta)).sum(axis=1) + ridge * a**2 / 2
        return value

    for _ in range(100):
        own, mine = z[left], weights[left]
        a, b = slope[left], intercept[left]
        mu = expit(a[:, None] * own + b[:, None])
        residual, spread = mine * (mu - target), mine * mu * (1 - mu)
        gradient_a, gradient_b = (residual * own).sum(axis=1) + ridge * a, residual.sum(axis=1)
        aa, ab, bb = (spread * own**2).sum(axis=1) + ridge, (spread * own).sum(axis=1), spread.sum(axis=1)
        determinant = aa * bb - ab**2
        step_a = (bb * gradient_a - ab * gradient_b) / determinant
        step_b = (aa * gradient_b - ab * gradient_a) / determinant
        gain = gradient_a * step_a + gradient_b * step_b
        converged = gain <= 1e-10 * total[left]  # one full step from here is exact to rounding
        size, before = np.ones(len(left)), loss(left, a, b)
        while True:
            after = loss(left, a - size * step_a, b - size * step_b)
            too_long = ~converged & (after > before - 1e-4 * size * gain)
            if not too_long.any():
                break
            size[too_long] /= 2
        slope[left], intercept[left] = a - size * step_a, b - size * step_b
        left = left[~converged]
        if not len(left):
            return slope / scale, intercept - slope * centre / scale
    raise RuntimeError("the logistic fit did not converge in 100 Newton steps")
