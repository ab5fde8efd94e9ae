"""Tests, on objects that both methods rated, of whether one method's error is smaller than another's.

The tests are one-tailed; the alternative is always that method a has the smaller error. Differences (the
error of b less that of a) are positive where a has the smaller error in the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr

from mergerexp.analysis.metrics import Floats, class_weights

_TINY = 1e-12  # a difference up to this one is what rounding leaves


@dataclass(frozen=True)
class Discordant:
    """The result of McNemar's test.

    Attributes
    ----------
    only_a_wrong : int
        The number of objects that method a alone gets wrong.
    only_b_wrong : int
        The number of objects that method b alone gets wrong.
    p_value : float
        The one-tailed p-value.
    """

    only_a_wrong: int
    only_b_wrong: int
    p_value: float


@dataclass(frozen=True)
class Bootstrap:
    """The result of a bootstrap of the difference of two errors.

    Attributes
    ----------
    difference : float
        The error of b less that of a.
    low : float
        The lower limit of the 95 % interval.
    high : float
        The upper limit of the 95 % interval.
    p_value : float
        The one-tailed p-value.
    """

    difference: float
    low: float
    high: float
    p_value: float


def mcnemar(wrong_a: ArrayLike, wrong_b: ArrayLike) -> Discordant:
    """Compare two methods on the same objects by McNemar's exact test, one-tailed.

    If the methods are equally good, an object that only one of them gets wrong is as likely to be wrong with
    a as with b; the p-value is the binomial chance of at most as many with a as there are (McNemar 1947,
    Psychometrika 12, 153).

    Parameters
    ----------
    wrong_a : array_like of int, shape (n,)
        Which objects method a gets wrong: 1 for wrong, 0 for right.
    wrong_b : array_like of int, shape (n,)
        The same for method b, in the same order.

    Returns
    -------
    Discordant
        The numbers of objects that one method alone gets wrong, and the p-value, which is 1 if there is no
        such object.

    Raises
    ------
    ValueError
        If shapes differ, or a value is neither 0 nor 1.

    Examples
    --------
    >>> mcnemar([1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0])
    Discordant(only_a_wrong=0, only_b_wrong=3, p_value=0.125)
    """
    a, b = _wrong("wrong_a", wrong_a), _wrong("wrong_b", wrong_b)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"wrong_a and wrong_b must be one-dimensional and alike, not {a.shape}, {b.shape}")
    if not np.isin([a, b], (0, 1)).all():
        raise ValueError("wrong_a and wrong_b must be 0 or 1: McNemar's test takes one training of each")
    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    return Discordant(only_a, only_b, float(bdtr(only_a, only_a + only_b, 0.5)))


def paired_bootstrap(
    wrong_a: ArrayLike,
    wrong_b: ArrayLike,
    label: ArrayLike,
    strata: ArrayLike | None = None,
    prevalence: float | None = 0.5,
    *,
    seed: int,
    draws: int = 10_000,
) -> Bootstrap:
    """Bootstrap the difference of two methods' errors on the same objects.

    Objects are drawn with replacement within each stratum and class, with the answers of both methods
    together (Efron & Tibshirani 1993, chapters 8 and 13).

    Parameters
    ----------
    wrong_a : array_like of float, shape (n,) or (seeds, n)
        Which objects method a gets wrong: 1 for wrong, 0 for right. With a row for each of several
        trainings, they are averaged for each object.
    wrong_b : array_like of float, shape (n,) or (seeds, n)
        The same for method b, which may have another number of trainings.
    label : array_like of int, shape (n,)
        The class of each object: 1 for a merger, 0 for any other.
    strata : array_like, shape (n,), or None, default None
        The fold of each object; None if all are of one fold.
    prevalence : float or None, default 0.5
        The fraction of mergers that the classes are weighted to; at 0.5 the errors are (FNR + FPR) / 2. None
        keeps the sample's own fraction.
    seed : int
        The seed of the draws.
    draws : int, default 10000
        The number of draws.

    Returns
    -------
    Bootstrap
        The difference with its percentile interval, and p = (1 + draws in which the error of a is not the
        smaller one) / (1 + draws), which is 1 where the methods never differ.

    Raises
    ------
    ValueError
        If shapes or values are wrong, a class is absent, or there is no draw.

    Examples
    --------
    Both methods rate forty mergers and forty others; b alone is wrong about ten of the mergers.

    >>> label, wrong_b = [1] * 40 + [0] * 40, [1] * 10 + [0] * 70
    >>> found = paired_bootstrap([0] * 80, wrong_b, label, seed=1, draws=999)
    >>> found.difference, found.low > 0, found.p_value
    (0.125, True, 0.001)
    """
    a, b = (_wrong(name, wrong) for name, wrong in (("wrong_a", wrong_a), ("wrong_b", wrong_b)))
    a, b = (wrong.mean(axis=0) if wrong.ndim == 2 else wrong for wrong in (a, b))
    truth = np.asarray(label)
    fold = np.zeros(len(truth)) if strata is None else np.asarray(strata)
    if not a.shape == b.shape == truth.shape == fold.shape or a.ndim != 1:
        shapes = ", ".join(str(values.shape) for values in (a, b, truth, fold))
        raise ValueError(f"wrong_a, wrong_b, label and strata must be of the same objects, not {shapes}")
    if not np.isin(truth, (0, 1)).all() or len(np.unique(truth)) < 2:
        raise ValueError("label must be 0 or 1, and both classes are needed")
    if pd.isna(fold).any():
        raise ValueError("strata must be known for every object, without NaN")
    weighed = class_weights(truth == 1, prevalence) * (b - a)
    stratum = 2 * pd.factorize(fold)[0] + truth.astype(np.int64)
    drawn = resample_sums(weighed[:, None], stratum, draws, np.random.default_rng(seed))
    return bootstrap_outcome(float(weighed.sum()), drawn[:, 0])


def resample_sums(values: Floats, stratum: NDArray[np.int64], draws: int, rng: np.random.Generator) -> Floats:
    """Draw rows with replacement, and return the sums of their values.

    Equal rows are drawn together, as multinomial counts, which is fast since most objects are right or wrong
    with both methods.

    Parameters
    ----------
    values : ndarray of float, shape (n, k)
        The values of each row.
    stratum : ndarray of int, shape (n,)
        The stratum of each row; a draw has as many rows of each stratum as there are.
    draws : int
        The number of draws.
    rng : numpy.random.Generator
        The generator of random numbers.

    Returns
    -------
    ndarray of float, shape (draws, k)
        The sums over the rows of each draw.

    Raises
    ------
    ValueError
        If there is no draw.

    Examples
    --------
    >>> values, stratum = np.array([[1.0], [1.0], [5.0]]), np.array([0, 0, 1])
    >>> resample_sums(values, stratum, draws=2, rng=np.random.default_rng(1)).tolist()
    [[7.0], [7.0]]
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, not {draws}")
    sums = np.zeros((draws, values.shape[1]))
    for code in np.unique(stratum):
        rows, counts = np.unique(values[stratum == code], axis=0, return_counts=True)
        step = max(1, 10_000_000 // len(rows))  # bounds the memory of a block of draws
        for start in range(0, draws, step):
            block = sums[start : start + step]
            block += rng.multinomial(counts.sum(), counts / counts.sum(), size=len(block)) @ rows
    return sums


def bootstrap_outcome(difference: float, drawn: Floats) -> Bootstrap:
    """Return a difference of errors with its interval and p-value, from bootstrap draws of it.

    Parameters
    ----------
    difference : float
        The error of b less that of a, in the data.
    drawn : ndarray of float, shape (draws,)
        The same in each draw.

    Returns
    -------
    Bootstrap
        The difference, the 2.5 and 97.5 % quantiles of the draws, and p = (1 + draws in which the error of a
        is not the smaller one) / (1 + draws).

    Examples
    --------
    >>> found = bootstrap_outcome(0.1, np.linspace(-0.1, 0.3, 41))
    >>> round(found.low, 2), round(found.high, 2), round(found.p_value, 3)
    (-0.09, 0.29, 0.286)
    """
    low, high = np.quantile(drawn, [0.025, 0.975])
    p_value = (1 + int((drawn <= _TINY).sum())) / (1 + len(drawn))
    return Bootstrap(difference, float(low), float(high), p_value)


def _wrong(name: str, values: ArrayLike) -> Floats:
    wrong = np.asarray(values, dtype=np.float64)
    if wrong.ndim not in (1, 2) or wrong.size == 0 or not ((wrong >= 0) & (wrong <= 1)).all():
        raise ValueError(f"{name} must be numbers in [0, 1], of shape (n,) or (seeds, n), not empty")
    return wrong
