"""Ratings of several networks combined, and what is expected of a cut in them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from mergerexp.analysis.calibrators import Platt
from mergerexp.analysis.metrics import Floats


def purity(p_prior: ArrayLike, cut: float) -> float:
    """Return the fraction of mergers that is expected among the galaxies above a cut.

    Parameters
    ----------
    p_prior : array_like of float, shape (n,)
        The calibrated probabilities at the survey's prevalence.
    cut : float
        The cut.

    Returns
    -------
    float
        The mean of the probabilities above the cut; NaN if there are none.

    Examples
    --------
    >>> round(purity([0.1, 0.8, 1.0], 0.5), 3)
    0.9
    """
    p = np.asarray(p_prior, dtype=np.float64)
    above = p[p > cut]
    return float(above.mean()) if len(above) else float("nan")


def combined(p_m: ArrayLike, calibrated: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Combine the ratings of several networks.

    Three of four networks saw every labelled galaxy, so no held-out sample calibrates the mean of four. Means
    of calibrated probabilities are under-confident, and the mean of their logits is much less so.

    Parameters
    ----------
    p_m : array_like of float, shape (n, networks)
        The merger probabilities by each network; NaN where it may not rate the galaxy.
    calibrated : array_like of float, shape (n, networks)
        The calibrated probabilities, NaN where there is none.

    Returns
    -------
    p_best : ndarray of float, shape (n,)
        The mean of the p_m that are there; NaN if there are none.
    p_calibrated : ndarray of float, shape (n,)
        The probability whose logit is the mean of the calibrated ones; NaN if there are none.
    logit_sd : ndarray of float, shape (n,)
        The standard deviation of the logits of p_m; NaN for less than two.

    Examples
    --------
    >>> best, calibrated, spread = combined([[0.9, 0.7], [0.2, np.nan]], [[0.8, 0.8], [0.1, np.nan]])
    >>> best.tolist(), calibrated.round(3).tolist(), np.isnan(spread).tolist()
    ([0.8, 0.2], [0.8, 0.1], [False, True])
    """
    raw, mapped = (np.asarray(p, dtype=np.float64) for p in (p_m, calibrated))
    logits = logit(raw.clip(Platt.limit, 1 - Platt.limit))
    n = (~np.isnan(raw)).sum(axis=1)
    mean = _mean(logits)
    variance = np.nansum((logits - mean[:, None]) ** 2, axis=1) / np.where(n > 1, n - 1, np.nan)
    of_calibrated: Floats = expit(_mean(logit(mapped.clip(Platt.limit, 1 - Platt.limit))))
    return _mean(raw), of_calibrated, np.sqrt(variance)


def _mean(values: Floats) -> Floats:
    """Return the means over the last axis of what is there; NaN where nothing is."""
    n = (~np.isnan(values)).sum(axis=1)
    means: Floats = np.nansum(values, axis=1) / np.where(n > 0, n, np.nan)
    return means
