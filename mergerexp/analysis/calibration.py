"""Calibration: whether galaxies with a merger probability of p_m are mergers in a fraction p_m of cases."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainccinv, betaincinv, ndtr

from mergerexp.analysis.binning import BinKind, bin_edges, bin_index
from mergerexp.analysis.metrics import Floats, checked, class_weights


def jeffreys(k: ArrayLike, n: ArrayLike, sigma: float = 2.0) -> tuple[Floats, Floats]:
    """Return the Jeffreys interval of a fraction, when k of n galaxies are mergers.

    The limits are the quantiles of Beta(k + 1/2, n - k + 1/2) at Φ(-sigma) and Φ(sigma), but the lower one
    is 0 where k = 0 and the upper one 1 where k = n (Brown, Cai & DasGupta 2001, Statistical Science 16,
    101, section 3.1).

    Parameters
    ----------
    k : array_like of int
        The number of mergers; its shape must broadcast with that of n.
    n : array_like of int
        The number of galaxies.
    sigma : float, default 2.0
        The half-width of the interval in standard deviations of a normal distribution.

    Returns
    -------
    low : ndarray of float
        The lower limits.
    high : ndarray of float
        The upper limits.

    Raises
    ------
    ValueError
        If not 0 <= k <= n, or sigma is not positive.

    Examples
    --------
    >>> low, high = jeffreys([0, 3], 10)
    >>> low.round(2).tolist(), high.round(2).tolist()
    ([0.0, 0.09], [0.22, 0.61])
    """
    successes, trials = np.broadcast_arrays(np.asarray(k, np.float64), np.asarray(n, np.float64))
    if not ((successes >= 0) & (successes <= trials) & np.isfinite(trials)).all():
        raise ValueError("k and n must be finite with 0 <= k <= n")
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, not {sigma}")
    a, b, tail = successes + 0.5, trials - successes + 0.5, ndtr(-sigma)
    low: Floats = np.where(successes == 0, 0.0, betaincinv(a, b, tail))
    high: Floats = np.where(successes == trials, 1.0, betainccinv(a, b, tail))
    return low, high


def prior_shift(p: ArrayLike, old: float, new: float) -> Floats:
    """Convert probabilities that hold at one fraction of mergers to those that hold at another.

    The odds are multiplied by [new / (1 - new)] / [old / (1 - old)] (Saerens, Latinne & Decaestecker 2002,
    Neural Computation 14, 21, equation 2.4). This assumes that mergers look alike in both samples, and that
    the other galaxies do too. Probabilities of 0 and 1 stay what they are.

    Parameters
    ----------
    p : array_like of float
        Merger probabilities, in [0, 1] and of any shape.
    old : float
        The fraction of mergers at which the given probabilities hold, between 0 and 1.
    new : float
        The fraction of mergers at which the returned probabilities hold, between 0 and 1.

    Returns
    -------
    ndarray of float
        The converted probabilities, of the shape of p.

    Raises
    ------
    ValueError
        If p is not in [0, 1] or a fraction is not between 0 and 1.

    Examples
    --------
    A calibrated probability for a sample with as many mergers as others, where 2 % are mergers:

    >>> round(float(prior_shift(0.95, old=0.5, new=0.02)), 2)
    0.28
    """
    p_old = np.asarray(p, dtype=np.float64)
    if not ((p_old >= 0) & (p_old <= 1)).all():
        raise ValueError("p must lie in [0, 1], without NaN")
    for name, fraction in (("old", old), ("new", new)):
        if not 0 < fraction < 1:
            raise ValueError(f"prevalence {name} must lie between 0 and 1, not {fraction}")
    return shifted(p_old, old, new)


def shifted(p: Floats, old: float | Floats, new: float) -> Floats:
    """Do what `prior_shift` does, without its checks; there may be a fraction for each probability.

    Parameters
    ----------
    p : ndarray of float
        Merger probabilities, in [0, 1].
    old : float or ndarray of float
        The fraction of mergers at which they hold, of a shape that goes with that of p.
    new : float
        The fraction of mergers at which the results hold.

    Returns
    -------
    ndarray of float
        The converted probabilities.

    Examples
    --------
    >>> shifted(np.array([0.5, 0.5]), np.array([0.5, 0.8]), 0.5).round(2).tolist()
    [0.5, 0.2]
    """
    result: Floats = np.asarray((1 - p) * ((1 - new) / (1 - old) * (old / new)))
    result += p
    np.divide(p, result, out=result)  # in place, since a bootstrap shifts millions
    return result[()]  # a number for a number


def calibration_curve(
    label: ArrayLike,
    p_m: ArrayLike,
    bins: int = 10,
    kind: BinKind = "width",
    prevalence: float | None = None,
    sigma: float = 2.0,
) -> pd.DataFrame:
    """Compare the fraction of mergers in bins of p_m with the mean p_m of these bins.

    Parameters
    ----------
    label : array_like of int, shape (n,)
        The class of each galaxy: 1 for a merger, 0 for any other.
    p_m : array_like of float, shape (n,)
        The merger probability of each galaxy, in [0, 1].
    bins : int, default 10
        The number of bins.
    kind : {"width", "mass"}, default "width"
        Bins of equal width in p_m, or bins with equally many galaxies (fewer bins where p_m has ties).
    prevalence : float or None, default None
        The fraction of mergers that the classes are weighted to, which shifts the fraction of each bin and
        its limits by `prior_shift` exactly; None keeps the sample's own, and the fraction is a plain count.
    sigma : float, default 2.0
        The half-width of the Jeffreys intervals in standard deviations of a normal distribution.

    Returns
    -------
    DataFrame
        One row for each bin: low and high (the limits in p_m; a galaxy at ``high`` is in the next bin), n
        (the number of galaxies), mean_p, fraction, fraction_low and fraction_high (see `jeffreys`). Bins of
        equal width that hold no galaxy have n = 0 and NaN.

    Raises
    ------
    ValueError
        If a class is absent, or shapes, labels, probabilities, bins, the kind or the prevalence are wrong.

    Examples
    --------
    >>> curve = calibration_curve([0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.8, 0.9], bins=2)
    >>> print(curve.round(2).to_string(index=False))
     low  high  n  mean_p  fraction  fraction_low  fraction_high
     0.0   0.5  3    0.20      0.33          0.04           0.83
     0.5   1.0  3    0.77      0.67          0.17           0.96
    """
    truth, p = checked(label, p_m)
    weight = class_weights(truth, prevalence)
    edges = bin_edges(p, bins, kind)
    at = bin_index(p, edges)
    size = len(edges) - 1
    n, k = np.bincount(at, minlength=size), np.bincount(at[truth], minlength=size)
    filled = n > 0
    total = np.bincount(at, weight, size)[filled]
    # The mean of equal p is that p but for rounding, which can put it just outside the bin.
    mean_p = (np.bincount(at, weight * p, size)[filled] / total).clip(edges[:-1][filled], edges[1:][filled])
    columns = {"mean_p": mean_p}
    limits = (k[filled] / n[filled], *jeffreys(k[filled], n[filled], sigma))
    for name, values in zip(("fraction", "fraction_low", "fraction_high"), limits, strict=True):
        columns[name] = values if prevalence is None else prior_shift(values, truth.mean(), prevalence)
    curve = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "n": n})
    return curve.join(pd.DataFrame(columns, index=np.flatnonzero(filled)))


def ece(
    label: ArrayLike, p_m: ArrayLike, bins: int = 10, kind: BinKind = "width", prevalence: float | None = None
) -> float:
    """Return the expected calibration error (ECE): the mean of abs(fraction - mean p_m) over galaxies.

    The fraction of mergers and the mean p_m are those of the bin that a galaxy is in (Naeini, Cooper &
    Hauskrecht 2015, AAAI 29, 2901). The error is positive even for true probabilities; `ece_null` tells how
    large it is then.

    Parameters
    ----------
    label : array_like of int, shape (n,)
        The class of each galaxy: 1 for a merger, 0 for any other.
    p_m : array_like of float, shape (n,)
        The merger probability of each galaxy, in [0, 1].
    bins : int, default 10
        The number of bins.
    kind : {"width", "mass"}, default "width"
        Bins of equal width in p_m, or bins with equally many galaxies (fewer bins where p_m has ties).
    prevalence : float or None, default None
        The fraction of mergers that the classes are weighted to; None keeps the sample's own fraction.

    Returns
    -------
    float
        The error, in [0, 1].

    Raises
    ------
    ValueError
        If a class is absent, or shapes, labels, probabilities, bins, the kind or the prevalence are wrong.

    Examples
    --------
    >>> round(ece([0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.8, 0.9], bins=2), 3)
    0.117
    """
    truth, p = checked(label, p_m)
    at = bin_index(p, bin_edges(p, bins, kind))
    return float(np.abs(np.bincount(at, class_weights(truth, prevalence) * (truth - p))).sum())


def ece_null(
    label: ArrayLike,
    p_m: ArrayLike,
    bins: int = 10,
    kind: BinKind = "width",
    prevalence: float | None = None,
    *,
    seed: int,
    draws: int = 1000,
) -> dict[str, float]:
    """Compare the expected calibration error with what it would be if the probabilities were true.

    The labels are drawn anew, so that each galaxy is a merger with a probability of p_m (consistency
    resampling: Bröcker & Smith 2007, Weather and Forecasting 22, 651). Where a prevalence is given, p_m is
    taken to hold at that fraction of mergers, and the labels are drawn with the probabilities that follow
    for the sample's own fraction.

    Parameters
    ----------
    label : array_like of int, shape (n,)
        The class of each galaxy: 1 for a merger, 0 for any other.
    p_m : array_like of float, shape (n,)
        The merger probability of each galaxy, in [0, 1].
    bins : int, default 10
        The number of bins.
    kind : {"width", "mass"}, default "width"
        Bins of equal width in p_m, or bins with equally many galaxies (fewer bins where p_m has ties).
    prevalence : float or None, default None
        The fraction of mergers that the classes are weighted to; None keeps the sample's own fraction.
    seed : int
        The seed of the simulation.
    draws : int, default 1000
        The number of simulated sets of labels.

    Returns
    -------
    dict of str to float
        The observed `ece`, the mean and the sd (standard deviation) of the simulated ones, and p_value, the
        chance of an error as large as the observed one: (1 + number as large) / (1 + draws).

    Raises
    ------
    ValueError
        If a class is absent, or shapes, labels, probabilities, bins, the kind, the prevalence or draws are
        wrong.

    Examples
    --------
    Forty of a hundred galaxies are mergers, where p_m says ten.

    >>> null = ece_null([1] * 40 + [0] * 60, [0.1] * 100, seed=1, draws=99)
    >>> round(null["ece"], 2), null["p_value"]
    (0.3, 0.01)
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, not {draws}")
    observed = ece(label, p_m, bins, kind, prevalence)
    truth, p = checked(label, p_m)
    chance = p if prevalence is None else prior_shift(p, prevalence, truth.mean())
    edges = bin_edges(p, bins, kind)
    in_bin = np.eye(len(edges) - 1)[bin_index(p, edges)]
    rng = np.random.default_rng(seed)
    step = max(1, 2_000_000 // len(p))  # bounds the memory of a block of draws
    simulated = np.concatenate(
        [
            _ece_of_draws(rng.random((min(step, draws - start), len(p))) < chance, p, in_bin, prevalence)
            for start in range(0, draws, step)
        ]
    )
    as_large = int((simulated >= observed * (1 - 1e-12)).sum())  # equal ones, whatever their rounding
    return {
        "ece": observed,
        "mean": float(simulated.mean()),
        "sd": float(simulated.std()),
        "p_value": (1 + as_large) / (1 + draws),
    }


def spiegelhalter(label: ArrayLike, p_m: ArrayLike) -> tuple[float, float]:
    """Test whether the Brier score is what it would be if the probabilities were true.

    If they are true, z = Σ (y - p)(1 - 2p) / √(Σ (1 - 2p)² p (1 - p)) is standard normal (Spiegelhalter 1986,
    Statistics in Medicine 5, 421). A positive z means that the score is worse than the probabilities claim,
    as it is where they are overconfident. The test applies to the sample's own fraction of mergers, so
    probabilities meant for another one have to be converted with `prior_shift` first. It may miss a wrong
    fraction of mergers, since terms below and above p = 1/2 cancel; `ece_null` finds that.

    Parameters
    ----------
    label : array_like of int, shape (n,)
        The class of each galaxy: 1 for a merger, 0 for any other.
    p_m : array_like of float, shape (n,)
        The merger probability of each galaxy, in [0, 1].

    Returns
    -------
    z : float
        The test statistic. It is infinite where p_m is 0, 1 or 1/2 throughout, and a 0 or a 1 is wrong.
    p_value : float
        The two-sided p-value.

    Raises
    ------
    ValueError
        If a class is absent, or shapes, labels or probabilities are wrong.

    Examples
    --------
    One of four galaxies is a merger, where 0.8 are expected.

    >>> z, p_value = spiegelhalter([1, 0, 0, 0], [0.2] * 4)
    >>> round(z, 2), round(p_value, 2)
    (0.25, 0.8)
    """
    truth, p = checked(label, p_m)
    excess = float(((truth - p) * (1 - 2 * p)).sum())
    variance = float(((1 - 2 * p) ** 2 * p * (1 - p)).sum())
    if variance > 0:
        z = excess / variance**0.5
    else:
        z = 0.0 if excess == 0 else float(np.copysign(np.inf, excess))
    return z, float(2 * ndtr(-abs(z)))


def _ece_of_draws(truth: NDArray[np.bool_], p: Floats, in_bin: Floats, prevalence: float | None) -> Floats:
    """Return the `ece` of each row of labels; truth is of shape (draws, n), in_bin one-hot, (n, bins)."""
    merger = truth.astype(np.float64)
    if prevalence is None:
        off = (merger @ in_bin - p @ in_bin) / len(p)
    else:
        mergers = merger.sum(axis=1, keepdims=True)
        weight1 = prevalence / np.maximum(mergers, 1)
        weight0 = (1 - prevalence) / np.maximum(len(p) - mergers, 1)
        over = p[:, None] * in_bin
        off = weight1 * (merger @ (in_bin - over)) - weight0 * (over.sum(axis=0) - merger @ over)
    result: Floats = np.abs(off).sum(axis=1)
    return result
