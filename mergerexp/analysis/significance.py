"""Is one method's error smaller than another's? One-tailed tests, and how to combine them.

The alternative is always that a has the smaller error than b. Statistics and differences (the error of b
less that of a) are positive where a has the smaller error in the data.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtr
from scipy.stats import binom, ttest_ind

from mergerexp.analysis.metrics import Floats, class_weights

ASSUMES = {
    "welch": "The folds' errors are independent draws from normal distributions, also between the two arms.",
    "paired_t": "The folds' differences are independent draws from one normal distribution.",
    "corrected_t": "The folds' differences are normal and equally correlated, as the overlap of their "
    "training sets suggests.",
    "correlated_bayes_t": "As the corrected t, with a flat prior on the mean difference.",
    "mcnemar": "Objects are independent, the two trained networks are given, and every object counts alike.",
    "paired_bootstrap": "Objects are independent, and the trained networks are given: that training might "
    "have gone otherwise is not in it.",
    "stouffer": "The sizes' tests are independent, though nested subsets share their objects.",
    "strube": "The sizes' z are correlated as their error differences are when test objects are drawn anew; "
    "what training adds is not in it.",
    "mean_over_sizes": "The mean difference over the sizes is tested as one number; sizes count alike.",
}
ROPE = 0.001  # a difference of errors that is none
_TINY = 1e-12  # errors and differences closer than this are equal: what rounding leaves


@dataclass(frozen=True)
class Outcome:
    """A test's t or z, positive where a has the smaller error, its one-tailed p, and df (None for a z)."""

    statistic: float
    p_value: float
    df: float | None = None


@dataclass(frozen=True)
class Posterior:
    """Probabilities that a is better by more than the rope, equal within it, or worse; they add up to 1."""

    p_better: float
    p_equal: float
    p_worse: float


@dataclass(frozen=True)
class Discordant:
    """McNemar's test: how many objects one method alone gets wrong, and the one-tailed p-value."""

    only_a_wrong: int
    only_b_wrong: int
    p_value: float


@dataclass(frozen=True)
class Bootstrap:
    """A difference of errors (b less a), its 95 % interval, and the one-tailed p-value."""

    difference: float
    low: float
    high: float
    p_value: float


def welch(errors_a: ArrayLike, errors_b: ArrayLike) -> Outcome:
    """Compare the errors of two sets of folds by Welch's t: the paper's test.

    Parameters
    ----------
    errors_a, errors_b
        Test error of each fold, two folds at least; shapes (K,) and (L,).

    Returns
    -------
    Outcome
        Where neither arm's errors spread, with K + L - 2 degrees of freedom: t = 0 and p = 1/2 if they are
        equal, else NaN, since nothing tells how much they might have spread.

    Raises
    ------
    ValueError
        If there are fewer than two folds, or an error is not finite.
    """
    a, b = _errors("errors_a", errors_a), _errors("errors_b", errors_b)
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return _without_spread(b[0] - a[0], len(a) + len(b) - 2)
    with warnings.catch_warnings():  # about an arm without spread, which the formula stands
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        found = ttest_ind(a, b, equal_var=False, alternative="less")
    return Outcome(-float(found.statistic), float(found.pvalue), float(found.df))


def stouffer(
    p_values: ArrayLike, weights: ArrayLike | None = None, correlation: ArrayLike | None = None
) -> Outcome:
    """Combine one-tailed p-values: Z = Σ w z / √(w' R w), with z = Φ⁻¹(1 - p).

    Without a correlation, R = 1 (Stouffer et al. 1949); with one, Strube 1985, Psychological Bulletin 97,
    334. A p closer to 0 or 1 than 1e-15 is moved there, so that z is finite.

    Parameters
    ----------
    p_values
        Shape (k,), in [0, 1].
    weights
        Shape (k,), not negative; None for equal ones, as in the paper.
    correlation
        R, the correlation matrix of the z, shape (k, k); None for independent ones.

    Raises
    ------
    ValueError
        If shapes or values are wrong, or R gives the sum no variance.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or len(p) == 0 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p_values must be a list of numbers in [0, 1], one at least, not {p_values!r}")
    w = np.ones(len(p)) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != p.shape or not (np.isfinite(w) & (w >= 0)).all() or not w.any():
        raise ValueError(f"weights must be {len(p)} numbers, none negative and not all 0, not {weights!r}")
    r = np.eye(len(p)) if correlation is None else np.asarray(correlation, dtype=np.float64)
    if r.shape != (len(p), len(p)) or not np.allclose(r, r.T) or not np.allclose(np.diag(r), 1):
        raise ValueError(f"correlation must be symmetric, {len(p)} x {len(p)}, with 1 on its diagonal")
    if (np.abs(r) > 1 + 1e-9).any() or not w @ r @ w > 0:
        raise ValueError("correlation must lie in [-1, 1] and leave the weighted sum of z a variance")
    z = -ndtri(p.clip(1e-15, 1 - 1e-15))
    combined = float(w @ z / np.sqrt(w @ r @ w))
    return Outcome(combined, float(ndtr(-combined)))


def paired_t(errors_a: ArrayLike, errors_b: ArrayLike) -> Outcome:
    """Compare two methods on the same folds by Student's paired t: `corrected_t` without its correction."""
    return corrected_t(errors_a, errors_b, test_to_train=0.0)


def corrected_t(errors_a: ArrayLike, errors_b: ArrayLike, test_to_train: float = 0.5) -> Outcome:
    """Compare two methods on the same folds, whose training sets overlap.

    t = d̄ / √(s² (1/K + n_test/n_train)) with K - 1 degrees of freedom (Nadeau & Bengio 2003, Machine
    Learning 52, 239). It is exact for normal differences with a correlation of
    n_test / (n_test + n_train) between any two folds.

    Parameters
    ----------
    errors_a, errors_b
        Test error of each fold, in the same order, two folds at least; shape (K,) each.
    test_to_train
        n_test / n_train; 1/2 for four rotating folds of which two train.

    Returns
    -------
    Outcome
        Where the differences don't spread: t = 0 and p = 1/2 if they are 0, else NaN.

    Raises
    ------
    ValueError
        If shapes differ, there are fewer than two folds, an error is not finite, or the ratio is negative.
    """
    if not 0 <= test_to_train < np.inf:
        raise ValueError(f"test_to_train must be a number that is not negative, not {test_to_train}")
    d = _differences(errors_a, errors_b)
    df = len(d) - 1
    if np.ptp(d) == 0:
        return _without_spread(d[0], df)
    t = float(d.mean() / np.sqrt(d.var(ddof=1) * (1 / len(d) + test_to_train)))
    return Outcome(t, float(stdtr(df, -t)), df)


def correlated_bayes_t(
    errors_a: ArrayLike, errors_b: ArrayLike, rho: float = 1 / 3, rope: float = ROPE
) -> Posterior:
    """Say how probable it is that a is better, practically equal, or worse.

    The mean difference has a Student posterior with K - 1 degrees of freedom, centre d̄ and scale
    √(s² (1/K + ρ/(1 - ρ))) (Corani & Benavoli 2015, Machine Learning 100, 285).

    Parameters
    ----------
    errors_a, errors_b
        As for `corrected_t`.
    rho
        Correlation of the folds' differences, n_test / (n_test + n_train).
    rope
        Differences up to this one are practically none (region of practical equivalence). The default is
        the last digit that the paper quotes.

    Returns
    -------
    Posterior
        Where the differences don't spread: certainly equal if they are 0, else NaN.

    Raises
    ------
    ValueError
        As `corrected_t` does, or if rho is not in [0, 1) or the rope is negative.
    """
    if not 0 <= rho < 1:
        raise ValueError(f"rho must lie in [0, 1), not {rho}")
    if not rope >= 0:
        raise ValueError(f"rope must not be negative, not {rope}")
    d = _differences(errors_a, errors_b)
    if np.ptp(d) == 0:
        return Posterior(0.0, 1.0, 0.0) if d[0] == 0 else Posterior(np.nan, np.nan, np.nan)
    scale = np.sqrt(d.var(ddof=1) * (1 / len(d) + rho / (1 - rho)))
    better, worse = (float(stdtr(len(d) - 1, (side * d.mean() - rope) / scale)) for side in (1, -1))
    return Posterior(better, 1 - better - worse, worse)


def mcnemar(wrong_a: ArrayLike, wrong_b: ArrayLike) -> Discordant:
    """Compare two methods on the same objects by the exact test of McNemar 1947, one-tailed.

    If the methods are equally good, the objects that one alone gets wrong are as likely a's as b's; p is
    the binomial chance of as few of a's as there are.

    Parameters
    ----------
    wrong_a, wrong_b
        1 where the method is wrong about an object, 0 else; shape (n,) each, in the same order.

    Returns
    -------
    Discordant
        Without discordant objects p is 1.

    Raises
    ------
    ValueError
        If shapes differ, or a value is neither 0 nor 1.
    """
    a, b = _wrong("wrong_a", wrong_a), _wrong("wrong_b", wrong_b)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"wrong_a and wrong_b must be one-dimensional and alike, not {a.shape}, {b.shape}")
    if not np.isin([a, b], (0, 1)).all():
        raise ValueError("wrong_a and wrong_b must be 0 or 1: McNemar's test takes one training of each")
    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    return Discordant(only_a, only_b, float(binom.cdf(only_a, only_a + only_b, 0.5)))


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

    Objects are drawn with replacement within each stratum and class, both methods' answers together
    (Efron & Tibshirani 1993, chapters 8 and 13).

    Parameters
    ----------
    wrong_a, wrong_b
        1 where the method is wrong about an object, 0 else; shape (n,), or (seeds, n) for several
        trainings, over which each object's are averaged. The two may have different numbers of seeds.
    label
        1 for a merger, 0 else; shape (n,).
    strata
        The fold of each object, shape (n,); None for one. Crossed with the class.
    prevalence
        Fraction of mergers that the errors are weighed to; at 0.5 they are (FNR + FPR) / 2. None for the
        data's own.
    seed
        Seed of the draws.
    draws
        Number of draws.

    Returns
    -------
    Bootstrap
        Percentile interval; p = (1 + draws in which a's error is not the smaller one) / (1 + draws), which
        is 1 where the methods never differ.

    Raises
    ------
    ValueError
        If shapes or values are wrong, a class is absent, or there is no draw.
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
    """Return the sums, shape (draws, k), of rows of values (n, k) drawn with replacement.

    Each draw has as many rows of each stratum, shape (n,), as there are. Equal rows are drawn together, as
    multinomial counts: most objects are right or wrong in both arms.

    Raises
    ------
    ValueError
        If there is no draw.
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
    """Return a difference with the 2.5 and 97.5 % quantiles of its draws, and p with the rule of +1."""
    low, high = np.quantile(drawn, [0.025, 0.975])
    p_value = (1 + int((drawn <= _TINY).sum())) / (1 + len(drawn))
    return Bootstrap(difference, float(low), float(high), p_value)


def shorthand(mean: float, sem: float) -> str:
    """Write a mean as the paper does: "0.038±1" is 0.038 with a standard error of 0.001.

    The error is rounded to one digit, and the mean to that digit's place. Without an error (NaN: one fold
    only) the mean stands alone, and with an error of 0 before "±0", to three decimals both.

    Raises
    ------
    ValueError
        If the error is negative or infinite, or the mean not finite.
    """
    if not np.isfinite(mean):
        raise ValueError(f"mean must be finite, not {mean}")
    if sem < 0 or np.isinf(sem):
        raise ValueError(f"sem must be finite and not negative, not {sem}")
    if np.isnan(sem) or sem == 0:
        return f"{mean:.3f}" + ("±0" if sem == 0 else "")
    digit, exponent = f"{sem:.0e}".split("e")
    place = int(exponent)
    if place > 0:
        return f"{round(mean, -place):.0f}±{int(digit) * 10**place}"
    return f"{mean:.{-place}f}±{digit}"


def _errors(name: str, values: ArrayLike) -> Floats:
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or len(sample) < 2 or not np.isfinite(sample).all():
        raise ValueError(f"{name} must be a list of finite numbers, one a fold and two at least")
    return sample.round(12)  # the same counts may be summed in another order: not a difference


def _differences(errors_a: ArrayLike, errors_b: ArrayLike) -> Floats:
    a, b = _errors("errors_a", errors_a), _errors("errors_b", errors_b)
    if a.shape != b.shape:
        raise ValueError(f"errors_a and errors_b must be of the same folds, not {len(a)} and {len(b)}")
    return (b - a).round(12)


def _without_spread(difference: float, df: int) -> Outcome:
    """Return what a t-test says where nothing spreads: counts of few objects may agree by chance."""
    if difference == 0:
        return Outcome(0.0, 0.5, df)
    return Outcome(np.nan, np.nan, df)


def _wrong(name: str, values: ArrayLike) -> Floats:
    wrong = np.asarray(values, dtype=np.float64)
    if wrong.ndim not in (1, 2) or wrong.size == 0 or not ((wrong >= 0) & (wrong <= 1)).all():
        raise ValueError(f"{name} must be numbers in [0, 1], of shape (n,) or (seeds, n), not empty")
    return wrong
