"""Whether ratings are distributed as those of a mixture of two classes, each known from a finite sample.

The fit is the one of Barlow & Beeston (1993, Computer Physics Communications 77, 219): the shape of each
class is not taken from its sample as if that had no noise, but fitted together with the mixture. So a bin
that has no galaxy of a class in the sample still may have some in the survey, which may be a thousand times
as large.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import xlogy
from scipy.stats import chi2

from mergerexp.analysis.metrics import Floats

BINS = 20
BIN_CONTENT = 10  # labelled galaxies of a bin, where there are enough for three bins
NONE = 1e-9  # in place of a count of zero, which would leave a class nothing in its bin
HALVINGS = 100  # of the interval in which a bin's solution is looked for: beyond a float's precision


def mixture_fit(survey: Floats, one: Floats, other: Floats) -> tuple[float, int, float]:
    """Return how well a mixture of two classes fits a survey, whatever the fractions of both.

    Parameters
    ----------
    survey : ndarray of float, shape (cells,)
        How many galaxies of the survey are in each cell of a histogram of ratings.
    one, other : ndarray of float, shape (cells,)
        How many galaxies of a sample of each class are; both have some.

    Returns
    -------
    deviance : float
        Twice the logarithm of the likelihood that the best mixture lacks.
    degrees : int
        Its degrees of freedom.
    p_value : float
        The probability of a larger deviance if the survey is such a mixture. It is 1 where the sample's
        ratings have only two values: a mixture fits any survey then.

    Examples
    --------
    >>> one, other = np.array([10.0, 20, 30, 40]), np.array([400.0, 300, 200, 100])
    >>> deviance, degrees, p_value = mixture_fit(0.3 * one + 0.7 * other, one, other)
    >>> round(deviance, 3), degrees, p_value > 0.99
    (0.0, 2, True)
    >>> mixture_fit(np.array([0.0, 500, 0, 0]), one, other)[2] < 1e-9
    True
    """
    bins = _bins(one + other)
    binned, binned_1, binned_0 = (np.bincount(bins, each).astype(np.float64) for each in (survey, one, other))

    def deviance(logarithms: Floats) -> float:
        of_one, of_other = binned.sum() * np.exp(logarithms)
        return _deviance(binned, binned_1, binned_0, of_one, of_other)

    # The logarithms keep both fractions positive; their sum need not be 1, and comes to be.
    found = minimize(deviance, [np.log(0.1), np.log(0.9)], method="Nelder-Mead", options={"fatol": 1e-4})
    degrees = len(binned) - 2
    return float(found.fun), max(0, degrees), float(chi2.sf(found.fun, degrees)) if degrees > 0 else 1.0


def _bins(labelled: Floats) -> NDArray[np.int64]:
    """Return the bin of each cell; all bins have about as many labelled galaxies, and none is without."""
    number = int(min(BINS, max(3, labelled.sum() // BIN_CONTENT)))
    middle = (labelled.cumsum() - labelled / 2) / labelled.sum()
    wanted = np.minimum(number - 1, (middle * number).astype(np.int64))
    # A cell without labelled galaxies belongs to the bin of the last one before it that has some.
    cells = np.arange(len(labelled))
    first = int(np.argmax(labelled > 0))
    owner = np.maximum.accumulate(np.where(labelled > 0, cells, first))
    return np.unique(wanted[owner], return_inverse=True)[1].astype(np.int64)


def _deviance(survey: Floats, one: Floats, other: Floats, of_one: float, of_other: float) -> float:
    """Return the deviance of a mixture with so many of each class, for the best shapes of both classes.

    With t = 1 - survey / expected in each bin, the expected number of a class in its sample is n / (1 + s t),
    where s is how many times as many the survey has; what the mixture then expects falls with t.
    """
    scale_1, scale_0 = of_one / one.sum(), of_other / other.sum()
    n1, n0 = np.maximum(one, NONE), np.maximum(other, NONE)
    low, high = np.full(len(survey), -1 / max(scale_1, scale_0)), np.ones(len(survey))
    with np.errstate(divide="ignore", invalid="ignore"):  # where a bin of the survey is empty, t is 1
        for _ in range(HALVINGS):
            t = (low + high) / 2
            expected = scale_1 * n1 / (1 + scale_1 * t) + scale_0 * n0 / (1 + scale_0 * t)
            is_high = survey / (1 - t) > expected
            low, high = np.where(is_high, low, t), np.where(is_high, t, high)
    shape_1, shape_0 = n1 / (1 + scale_1 * t), n0 / (1 + scale_0 * t)
    pairs = (survey, scale_1 * shape_1 + scale_0 * shape_0), (one, shape_1), (other, shape_0)
    return float(2 * sum((xlogy(n, n) - xlogy(n, fitted) - n + fitted).sum() for n, fitted in pairs))
