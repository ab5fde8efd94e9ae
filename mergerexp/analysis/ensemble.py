"""Ratings of several networks combined."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from mergerexp.analysis.calibrators import Platt
from mergerexp.analysis.metrics import Floats


@dataclass(frozen=True)
class Combined:
    """The ratings of some galaxies by several networks, each an array of shape (n,); NaN where there is none.

    Attributes
    ----------
    p_best : ndarray of float
        The mean of the merger probabilities.
    p_logitmean : ndarray of float
        The probability whose logit is the mean of their logits.
    logit_sd : ndarray of float
        The standard deviation of these logits; NaN for less than two.
    p_calibrated : ndarray of float
        The probability whose logit is the mean of the calibrated ones.
    """

    p_best: Floats
    p_logitmean: Floats
    logit_sd: Floats
    p_calibrated: Floats


def combined(p_m: ArrayLike, calibrated: ArrayLike) -> Combined:
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
    Combined
        The combined ratings.

    Examples
    --------
    >>> found = combined([[0.9, 0.7], [0.2, np.nan]], [[0.8, 0.8], [0.1, np.nan]])
    >>> found.p_best.tolist(), found.p_calibrated.round(3).tolist(), np.isnan(found.logit_sd).tolist()
    ([0.8, 0.2], [0.8, 0.1], [False, True])
    """
    raw, mapped = (np.asarray(p, dtype=np.float64) for p in (p_m, calibrated))
    logits = logit(raw.clip(Platt.limit, 1 - Platt.limit))
    n = (~np.isnan(raw)).sum(axis=1)
    mean = _mean(logits)
    variance = np.nansum((logits - mean[:, None]) ** 2, axis=1) / np.where(n > 1, n - 1, np.nan)
    of_calibrated = _mean(logit(mapped.clip(Platt.limit, 1 - Platt.limit)))
    return Combined(_mean(raw), expit(mean), np.sqrt(variance), expit(of_calibrated))


def _mean(values: Floats) -> Floats:
    """Return the means over the last axis of what is there; NaN where nothing is."""
    n = (~np.isnan(values)).sum(axis=1)
    means: Floats = np.nansum(values, axis=1) / np.where(n > 0, n, np.nan)
    return means
