"""Tests, on errors of folds, of whether one method's error is smaller than another's; combined p-values.

The tests are one-tailed; the alternative is always that method a has the smaller error. Statistics and
differences (the error of b less that of a) are positive where a has the smaller error in the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri, stdtr

from mergerexp.analysis.metrics import Floats

ASSUMES = {
    "welch": "The folds' errors are independent draws from normal distributions, also between the two "
    "methods.",
    "paired_t": "The folds' differences are independent draws from one normal distribution.",
    "corrected_t": "The folds' differences are normal and equally correlated, as the overlap of their "
    "training sets suggests.",
    "correlated_bayes_t": "The same as for the corrected t, with a flat prior on the mean difference.",
    "mcnemar": "Objects are independent, and every object counts the same. The two trained networks are "
    "given: the test does not allow for luck in the training.",
    "paired_bootstrap": "Objects are independent. The trained networks are given: the test does not allow "
    "for luck in the training.",
    "stouffer": "The tests at the sizes are independent, although nested subsets share their objects.",
    "strube": "The z of the sizes are as correlated as the differences of errors are when test objects are "
    "drawn anew. This leaves out the training.",
    "mean_over_sizes": "The mean difference over the sizes is tested as one number, and every size counts "
    "the same.",
}
ROPE = 0.001  # the largest difference of errors that counts as none


@dataclass(frozen=True)
class Significance:
    """The result of a test.

    Attributes
    ----------
    statistic : float
        The t or z of the test, positive where a has the smaller error.
    p_value : float
        The one-tailed p-value.
    df : float or None
        The degrees of freedom of a t; None for a z.
    """

    statistic: float
    p_value: float
    df: float | None = None


@dataclass(frozen=True)
class Posterior:
    """The probabilities of three statements about two methods; they add up to 1.

    Attributes
    ----------
    p_better : float
        The probability that the error of a is smaller by more than the region of practical equivalence.
    p_equal : float
        The probability that the errors differ by no more than that.
    p_worse : float
        The probability that the error of a is larger by more than that.
    """

    p_better: float
    p_equal: float
    p_worse: float


def welch(errors_a: ArrayLike, errors_b: ArrayLike) -> Significance:
    """Compare the errors of two sets of folds by Welch's t-test, as the paper does.

    Parameters
    ----------
    errors_a : array_like of float, shape (K,)
        The test errors of method a, one for each of at least two folds.
    errors_b : array_like of float, shape (L,)
        The test errors of method b, one for each of at least two folds.

    Returns
    -------
    Significance
        The t and p of the test. Where the errors of neither method spread, t = 0 and p = 1/2 if they are
        equal, and both are NaN if they are not, since their uncertainty is unknown; the degrees of freedom
        are K + L - 2 then.

    Raises
    ------
    ValueError
        If there are fewer than two folds, or an error is not finite.

    Examples
    --------
    >>> outcome = welch([0.03, 0.04, 0.05], [0.05, 0.06, 0.07])
    >>> round(outcome.statistic, 2), round(outcome.p_value, 3), round(outcome.df, 1)
    (2.45, 0.035, 4.0)
    """
    a, b = _errors("errors_a", errors_a), _errors("errors_b", errors_b)
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return _without_spread(b[0] - a[0], len(a) + len(b) - 2)
    # The formulas are written out since the import of scipy.stats takes as long as many tests.
    of_a, of_b = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    t = (b.mean() - a.mean()) / np.sqrt(of_a + of_b)
    df = (of_a + of_b) ** 2 / (of_a**2 / (len(a) - 1) + of_b**2 / (len(b) - 1))
    return Significance(float(t), float(stdtr(df, -t)), float(df))


def stouffer(
    p_values: ArrayLike, weights: ArrayLike | None = None, correlation: ArrayLike | None = None
) -> Significance:
    """Combine one-tailed p-values by Z = Σ w z / √(w' R w), with z = Φ⁻¹(1 - p).

    Independent p-values are combined as by Stouffer et al. 1949, with R = 1, and correlated ones as by Strube
    1985, Psychological Bulletin 97, 334. The p-values are clipped to [1e-15, 1 - 1e-15], so that z is finite.

    Parameters
    ----------
    p_values : array_like of float, shape (k,)
        The p-values, in [0, 1].
    weights : array_like of float, shape (k,), or None, default None
        The weights w, not negative; None for equal ones, as in the paper.
    correlation : array_like of float, shape (k, k), or None, default None
        The correlation matrix R of the z; None for independent ones.

    Returns
    -------
    Significance
        The combined Z and its p-value.

    Raises
    ------
    ValueError
        If shapes or values are wrong, or R leaves the sum without a variance.

    Examples
    --------
    >>> outcome = stouffer([0.05, 0.1, 0.2])
    >>> round(outcome.statistic, 2), round(outcome.p_value, 3)
    (2.18, 0.015)
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
    return Significance(combined, float(ndtr(-combined)))


def paired_t(errors_a: ArrayLike, errors_b: ArrayLike) -> Significance:
    """Compare two methods on the same folds by Student's paired t-test.

    Parameters
    ----------
    errors_a : array_like of float, shape (K,)
        The test errors of method a, one for each of at least two folds.
    errors_b : array_like of float, shape (K,)
        The test errors of method b on the same folds, in the same order.

    Returns
    -------
    Significance
        The t and p of `corrected_t` without its correction.

    Raises
    ------
    ValueError
        If shapes differ, there are fewer than two folds, or an error is not finite.

    Examples
    --------
    >>> outcome = paired_t([0.03, 0.04, 0.05], [0.05, 0.05, 0.07])
    >>> round(outcome.statistic, 2), round(outcome.p_value, 3), outcome.df
    (5.0, 0.019, 2)
    """
    return corrected_t(errors_a, errors_b, test_to_train=0.0)


def corrected_t(errors_a: ArrayLike, errors_b: ArrayLike, test_to_train: float = 0.5) -> Significance:
    """Compare two methods on the same folds by a paired t-test corrected for overlapping training sets.

    The test statistic is t = d̄ / √(s² (1/K + n_test/n_train)) with K - 1 degrees of freedom (Nadeau & Bengio
    2003, Machine Learning 52, 239). The test is exact for normal differences with a correlation of
    n_test / (n_test + n_train) between any two folds.

    Parameters
    ----------
    errors_a : array_like of float, shape (K,)
        The test errors of method a, one for each of at least two folds.
    errors_b : array_like of float, shape (K,)
        The test errors of method b on the same folds, in the same order.
    test_to_train : float, default 0.5
        The ratio n_test / n_train, which is 1/2 where two of four rotating folds are used for training.

    Returns
    -------
    Significance
        The t and p of the test. Where the differences do not spread, t = 0 and p = 1/2 if they are 0, and
        both are NaN if they are not.

    Raises
    ------
    ValueError
        If shapes differ, there are fewer than two folds, an error is not finite, or the ratio is negative.

    Examples
    --------
    >>> outcome = corrected_t([0.03, 0.04, 0.05], [0.05, 0.05, 0.07])
    >>> round(outcome.statistic, 2), round(outcome.p_value, 3), outcome.df
    (3.16, 0.044, 2)
    """
    if not 0 <= test_to_train < np.inf:
        raise ValueError(f"test_to_train must be a number that is not negative, not {test_to_train}")
    d = _differences(errors_a, errors_b)
    df = len(d) - 1
    if np.ptp(d) == 0:
        return _without_spread(d[0], df)
    t = float(d.mean() / np.sqrt(d.var(ddof=1) * (1 / len(d) + test_to_train)))
    return Significance(t, float(stdtr(df, -t)), df)


def correlated_bayes_t(
    errors_a: ArrayLike, errors_b: ArrayLike, rho: float = 1 / 3, rope: float = ROPE
) -> Posterior:
    """Return how probable it is that method a is better, practically equal, or worse.

    The posterior of the mean difference is a Student distribution with K - 1 degrees of freedom, the centre d̄
    and the scale √(s² (1/K + ρ/(1 - ρ))) (Corani & Benavoli 2015, Machine Learning 100, 285).

    Parameters
    ----------
    errors_a : array_like of float, shape (K,)
        The test errors of method a, one for each of at least two folds.
    errors_b : array_like of float, shape (K,)
        The test errors of method b on the same folds, in the same order.
    rho : float, default 1/3
        The correlation ρ of the differences of any two folds, n_test / (n_test + n_train).
    rope : float, default 0.001
        The half-width of the region of practical equivalence: the largest difference that counts as none.
        The default is one unit in the last digit that the paper quotes.

    Returns
    -------
    Posterior
        The three probabilities. Where the differences do not spread, the methods are certainly equal if the
        differences are 0, and the probabilities are NaN if they are not.

    Raises
    ------
    ValueError
        If shapes differ, there are fewer than two folds, an error is not finite, rho is not in [0, 1), or
        the rope is negative.

    Examples
    --------
    >>> posterior = correlated_bayes_t([0.03, 0.04, 0.05], [0.05, 0.05, 0.07])
    >>> round(posterior.p_better, 2), round(posterior.p_equal, 2), round(posterior.p_worse, 2)
    (0.95, 0.01, 0.04)
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


def shorthand(mean: float, sem: float) -> str:
    """Write a mean with its standard error in brackets, in units of the last digit.

    The error is rounded to one digit, and the mean to the place of that digit.

    Parameters
    ----------
    mean : float
        The mean.
    sem : float
        The standard error of the mean; NaN where it is unknown, as for one fold.

    Returns
    -------
    str
        The mean and, in brackets, the error in units of the last digit. The mean has three decimals where the
        error is 0, and three decimals and no brackets where the error is unknown.

    Raises
    ------
    ValueError
        If the error is negative or infinite, or the mean is not finite.

    Examples
    --------
    >>> shorthand(0.0382, 0.0011)
    '0.038(1)'
    """
    if not np.isfinite(mean):
        raise ValueError(f"mean must be finite, not {mean}")
    if sem < 0 or np.isinf(sem):
        raise ValueError(f"sem must be finite and not negative, not {sem}")
    if np.isnan(sem) or sem == 0:
        return f"{mean:.3f}" + ("(0)" if sem == 0 else "")
    digit, exponent = f"{sem:.0e}".split("e")
    place = int(exponent)
    if place > 0:
        return f"{round(mean, -place):.0f}({int(digit) * 10**place})"
    return f"{mean:.{-place}f}({digit})"


def _errors(name: str, values: ArrayLike) -> Floats:
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or len(sample) < 2 or not np.isfinite(sample).all():
        raise ValueError(f"{name} must be a list of finite numbers, one a fold and two at least")
    return sample.round(12)  # equal counts summed in different orders must not look different


def _differences(errors_a: ArrayLike, errors_b: ArrayLike) -> Floats:
    a, b = _errors("errors_a", errors_a), _errors("errors_b", errors_b)
    if a.shape != b.shape:
        raise ValueError(f"errors_a and errors_b must be of the same folds, not {len(a)} and {len(b)}")
    return (b - a).round(12)


def _without_spread(difference: float, df: int) -> Significance:
    """Return the outcome of a t-test where nothing spreads, as counts of few objects may by chance."""
    if difference == 0:
        return Significance(0.0, 0.5, df)
    return Significance(np.nan, np.nan, df)
