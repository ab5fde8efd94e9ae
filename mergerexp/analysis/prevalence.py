"""The fraction of mergers in a survey, from the network's own ratings: by how much the classes have shifted.

The estimate is the one of maximum likelihood that the EM algorithm of Saerens, Latinne & Decaestecker (2002,
Neural Computation 14, 21) converges to, for probabilities calibrated by Platt's map with a free intercept, as
Alexandari, Kundaje & Shrikumar (2020, ICML) recommend. It assumes that the survey differs from the labelled
galaxies in nothing but the fraction of mergers. Where that is wrong, the distribution of the ratings is not a
mixture of those of the two classes, and the goodness of fit says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logit

from mergerexp.analysis.calibrators import Platt
from mergerexp.analysis.logistic import logistic_fits
from mergerexp.analysis.metrics import Floats, checked
from mergerexp.analysis.mixture import mixture_fit

CELLS = 4096  # of a histogram of ratings, in which a survey of any size takes the same time
EDGE = 28.0  # beyond the largest logit that `Platt.limit` allows
STEPS = 60  # halvings of the interval in which the prevalence is looked for: beyond a float's precision


@dataclass(frozen=True)
class Prevalence:
    """The fraction of mergers in a survey, and whether it can be believed.

    Attributes
    ----------
    value : float
        The estimate.
    low, high : float
        The limits of its 95 % interval, from draws of the survey and of the calibration sample together.
    deviance : float
        How badly the best mixture of the ratings of the two classes fits those of the survey.
    degrees : int
        Its degrees of freedom.
    p_value : float
        The probability of a worse fit if the survey differs in the fraction of mergers alone.
    """

    value: float
    low: float
    high: float
    deviance: float
    degrees: int
    p_value: float


@dataclass(frozen=True)
class Ratings:
    """How often each rating occurs in a survey, as a histogram of logit(p_m) in fixed cells.

    Histograms of parts of a survey add up to that of the whole.

    Attributes
    ----------
    counts : ndarray of float, shape (CELLS,)
        How many galaxies are in each cell.
    sums : ndarray of float, shape (CELLS,)
        The sum of their logits.
    """

    counts: Floats
    sums: Floats

    @classmethod
    def of(cls, p_m: ArrayLike) -> Ratings:
        """Count the ratings of a survey, or of a part of it.

        Parameters
        ----------
        p_m : array_like of float, shape (n,)
            The network's merger probabilities, in [0, 1].

        Returns
        -------
        Ratings
            Their histogram.

        Raises
        ------
        ValueError
            If they are not in [0, 1].
        """
        p = np.asarray(p_m, dtype=np.float64)
        if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
            raise ValueError("p_m must be a list of probabilities in [0, 1], without NaN")
        raw = _logits(p)
        cell = np.clip(((raw + EDGE) * (CELLS / (2 * EDGE))).astype(np.int64), 0, CELLS - 1)
        counts, sums = np.bincount(cell, minlength=CELLS), np.bincount(cell, raw, CELLS)
        return cls(counts.astype(np.float64), sums.astype(np.float64))

    def __add__(self, other: Ratings) -> Ratings:
        return Ratings(self.counts + other.counts, self.sums + other.sums)

    def filled(self) -> tuple[Floats, Floats]:
        """Return the cells that are not empty.

        Returns
        -------
        at : ndarray of float, shape (n,)
            The mean logit of each cell.
        counts : ndarray of float, shape (n,)
            How many galaxies are in it.
        """
        used = self.counts > 0
        return self.sums[used] / self.counts[used], self.counts[used]


def estimate_prevalence(
    survey: Ratings, label: ArrayLike, p_m: ArrayLike, *, seed: int, draws: int = 500
) -> Prevalence:
    """Estimate the fraction of mergers in a survey.

    Parameters
    ----------
    survey : Ratings
        The ratings of the survey's galaxies.
    label : array_like of int, shape (n,)
        The class of each labelled galaxy that the network was not trained on: 1 for a merger, 0 for another.
    p_m : array_like of float, shape (n,)
        The network's merger probabilities of the labelled galaxies, in [0, 1].
    seed : int
        The seed of the bootstrap.
    draws : int, default 500
        The number of draws.

    Returns
    -------
    Prevalence
        The estimate, its interval and its goodness of fit.

    Raises
    ------
    ValueError
        If a class is absent, shapes, labels or probabilities are wrong, or the survey has no galaxies.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> label = np.repeat([1, 0], [400, 1600])
    >>> field = np.repeat([1, 0], [200, 9800])
    >>> rated = [1 / (1 + np.exp(-rng.normal(3 * x - 1.5, 1.5))) for x in (label, field)]
    >>> found = estimate_prevalence(Ratings.of(rated[1]), label, rated[0], seed=0)
    >>> found.low < 0.02 < found.high, found.p_value > 0.01
    (True, True)
    """
    truth, p = checked(label, p_m)
    at, rated = survey.filled()
    if not len(at):
        raise ValueError("the survey has no ratings")
    raw = _logits(p)
    value = float(_prevalences(at, rated[None], raw, truth, np.ones((1, len(p))))[0])
    rng = np.random.default_rng(seed)
    counts = _draws_of_both_classes(truth, draws, rng)
    surveys = rng.poisson(rated, (draws, len(rated))).astype(np.float64)
    low, high = np.quantile(_prevalences(at, surveys, raw, truth, counts), [0.025, 0.975])
    # The labelled galaxies are counted in the same cells, so that equal ratings are always in the same bin.
    one, other = (Ratings.of(p[kind]).counts for kind in (truth, ~truth))
    return Prevalence(value, float(low), float(high), *mixture_fit(survey.counts, one, other))


def _logits(p: Floats) -> Floats:
    return np.asarray(logit(p.clip(Platt.limit, 1 - Platt.limit)), dtype=np.float64)


def _draws_of_both_classes(truth: NDArray[np.bool_], draws: int, rng: np.random.Generator) -> Floats:
    """Return how often each labelled galaxy is drawn in each draw, in which no class is absent."""
    counts = np.empty((draws, len(truth)))
    for number in range(draws):
        while True:
            drawn = rng.multinomial(len(truth), np.full(len(truth), 1 / len(truth)))
            if drawn[truth].any() and drawn[~truth].any():
                counts[number] = drawn
                break
    return counts


def _prevalences(
    at: Floats, surveys: Floats, raw: Floats, truth: NDArray[np.bool_], counts: Floats
) -> Floats:
    """Return the prevalence of maximum likelihood for each draw of survey and labelled galaxies, shape (d,).

    The likelihood of the survey is the product of 1 + prevalence · (ratio - 1), with the ratio of the
    densities of both classes at each rating. Its logarithm is concave, so its slope has one zero at most.
    """
    slope, intercept = logistic_fits(raw, truth.astype(np.float64), counts, Platt.prior_sd)
    own = (counts * truth).sum(axis=1) / counts.sum(axis=1)
    odds = slope[:, None] * at + intercept[:, None] - logit(own)[:, None]
    excess = np.expm1(odds.clip(-700, 700))
    low, high = np.zeros(len(surveys)), np.ones(len(surveys))
    for _ in range(STEPS):
        middle = (low + high) / 2
        rises = (surveys * excess / (1 + middle[:, None] * excess)).sum(axis=1) > 0
        low, high = np.where(rises, middle, low), np.where(rises, high, middle)
    return (low + high) / 2
