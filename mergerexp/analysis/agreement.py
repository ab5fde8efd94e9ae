"""How well two sets of ratings of the same objects agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logit
from scipy.stats import norm, spearmanr

FEWEST = 4  # objects that a rank correlation has an interval for
SURE = 1e-6  # ratings nearer to 0 or 1 count as this near, as catalogues round them


@dataclass(frozen=True)
class Agreement:
    """How well two sets of ratings agree.

    Attributes
    ----------
    objects
        The number of objects.
    rank_correlation, low, high
        Spearman's rank correlation, and its 95 % interval; NaN where one set has one value alone, and the
        interval for fewer than four objects.
    shift, scatter
        The median of the difference of the logits, first less second, and half the width of the interval
        that holds its middle 68 %.
    rms
        The root mean square of the difference of the ratings.
    """

    objects: int
    rank_correlation: float
    low: float
    high: float
    shift: float
    scatter: float
    rms: float


def agreement(first: ArrayLike, second: ArrayLike) -> Agreement:
    """Compare two sets of ratings of the same objects.

    The interval of the rank correlation r is tanh(artanh r ± 1.96 √((1 + r²/2) / (n − 3))) (Bonett & Wright
    2000, Psychometrika 65, 23).

    Parameters
    ----------
    first, second : array_like of float, shape (n,)
        Probabilities from 0 to 1, without NaN.

    Returns
    -------
    Agreement
        How well they agree.

    Raises
    ------
    ValueError
        If there are no objects.

    Examples
    --------
    >>> same = agreement([0.1, 0.4, 0.6, 0.9], [0.2, 0.5, 0.7, 0.95])
    >>> same.rank_correlation, round(same.shift, 2)
    (1.0, -0.59)
    """
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if not one.size:
        raise ValueError("no object has both ratings")
    difference = logit(np.clip(one, SURE, 1 - SURE)) - logit(np.clip(two, SURE, 1 - SURE))
    below, middle, above = np.quantile(difference, norm.cdf([-1.0, 0.0, 1.0]))
    correlation = low = high = float("nan")
    if len(np.unique(one)) > 1 and len(np.unique(two)) > 1:
        correlation = float(spearmanr(one, two).statistic)
        if one.size >= FEWEST:
            # A correlation of 1 has no width.
            z = np.arctanh(np.clip(correlation, -1 + 1e-15, 1 - 1e-15))
            width = norm.ppf(0.975) * np.sqrt((1 + correlation**2 / 2) / (one.size - 3))
            low, high = (float(np.tanh(z + side * width)) for side in (-1, 1))
    return Agreement(
        objects=one.size,
        rank_correlation=correlation,
        low=low,
        high=high,
        shift=float(middle),
        scatter=float(above - below) / 2,
        rms=float(np.sqrt(np.mean((one - two) ** 2))),
    )
