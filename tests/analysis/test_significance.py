"""Tests of significance against the paper's p-values, hand-worked numbers, scipy, and simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mergerexp.analysis.paired_objects import Discordant, mcnemar, paired_bootstrap, resample_sums
from mergerexp.analysis.significance import (
    ASSUMES,
    Posterior,
    Significance,
    corrected_t,
    correlated_bayes_t,
    paired_t,
    shorthand,
    stouffer,
    welch,
)

N = np.array([300, 500, 900, 1500, 3000])
PUBLISHED = [0.05, 0.72, 0.32, 0.12, 0.03]  # Ackermann et al. 2018, for these N
A = [0.030, 0.034, 0.029, 0.035]
B = [0.036, 0.041, 0.033, 0.042]


def equal_correlation(rho: float, size: int = 5) -> np.ndarray:
    return rho + (1 - rho) * np.eye(size)


def test_the_published_p_values_combine_to_the_published_one():
    combined = stouffer(PUBLISHED)
    assert combined.statistic == pytest.approx(2.051, abs=5e-4)
    assert combined.p_value == pytest.approx(0.0201, abs=5e-5)
    assert stouffer(PUBLISHED, np.sqrt(N)).p_value == pytest.approx(0.0119, abs=5e-5)
    assert stouffer(PUBLISHED, N).p_value == pytest.approx(0.0113, abs=5e-5)
    assert stats.combine_pvalues(PUBLISHED, "fisher").pvalue == pytest.approx(0.0276, abs=5e-5)


@pytest.mark.parametrize(("rho", "p_value"), [(0.1, 0.042), (0.2, 0.063), (0.3, 0.083), (0.5, 0.118)])
def test_the_published_p_values_of_correlated_sizes(rho, p_value):
    combined = stouffer(PUBLISHED, correlation=equal_correlation(rho))
    assert combined.p_value == pytest.approx(p_value, abs=5e-4)
    assert combined.statistic == pytest.approx(stouffer(PUBLISHED).statistic / math.sqrt(1 + 4 * rho))


def test_stouffer_agrees_with_scipy_and_is_finite_at_the_ends():
    found = stats.combine_pvalues(PUBLISHED, "stouffer", weights=N)
    assert stouffer(PUBLISHED, N).statistic == pytest.approx(found.statistic)
    assert stouffer(PUBLISHED, N).p_value == pytest.approx(found.pvalue)
    assert stouffer([0, 1]).statistic == pytest.approx(0, abs=0.02)
    assert stouffer([0]).statistic == pytest.approx(7.94, abs=0.01)
    assert stouffer([0.2]).p_value == pytest.approx(0.2)
    # fully correlated sizes are one test
    assert stouffer([0.03] * 5, correlation=np.ones((5, 5))).p_value == pytest.approx(0.03)


def test_welch_worked_by_hand():
    """a = 1, 2, 3, 4: mean 2.5, s²/K = (5/3)/4; b = 2, 4, 6, 8: mean 5, s²/K = (20/3)/4 (in per cent)."""
    outcome = welch([0.01, 0.02, 0.03, 0.04], [0.02, 0.04, 0.06, 0.08])
    va, vb = 5 / 12, 20 / 12
    assert outcome.statistic == pytest.approx(2.5 / math.sqrt(va + vb))  # 1.7320508
    assert outcome.df == pytest.approx((va + vb) ** 2 / (va**2 / 3 + vb**2 / 3))  # 75 / 17
    assert outcome.df == pytest.approx(75 / 17)
    assert outcome.p_value == pytest.approx(stats.t.sf(math.sqrt(3), 75 / 17))


def test_welch_agrees_with_scipy():
    rng = np.random.default_rng(1)
    for size in (2, 4, 9):
        a, b = rng.normal(0.03, 0.002, 4), rng.normal(0.032, 0.004, size)
        found = stats.ttest_ind(a, b, equal_var=False, alternative="less")
        outcome = welch(a, b)
        assert outcome.p_value == pytest.approx(found.pvalue)
        assert outcome.statistic == pytest.approx(-found.statistic)
        assert welch(b, a).p_value == pytest.approx(1 - outcome.p_value)


def test_paired_t_agrees_with_scipy():
    found = stats.ttest_rel(A, B, alternative="less")
    outcome = paired_t(A, B)
    assert (outcome.df, outcome.p_value) == (3, pytest.approx(found.pvalue))
    assert outcome.statistic == pytest.approx(-found.statistic)


def test_corrected_t_worked_by_hand():
    """d = 6, 7, 4, 7 (per mille): mean 6, s² = 2, so that t = 6 / √(2 · (1/4 + 1/2)) = √24."""
    outcome = corrected_t(A, B)
    assert outcome.statistic == pytest.approx(math.sqrt(24))
    assert outcome.df == 3
    # Student's t with 3 degrees of freedom in closed form
    x = math.sqrt(24) / math.sqrt(3)
    assert outcome.p_value == pytest.approx(0.5 - (math.atan(x) + x / (1 + x**2)) / math.pi)
    assert corrected_t(A, B, 0) == paired_t(A, B)


@pytest.mark.parametrize("rho", [0.0, 0.2, 1 / 3, 0.5])
def test_bayes_t_is_the_corrected_t_without_a_rope(rho):
    posterior = correlated_bayes_t(A, B, rho, rope=0)
    assert 1 - posterior.p_better == pytest.approx(corrected_t(A, B, rho / (1 - rho)).p_value)
    assert posterior.p_equal == pytest.approx(0)


def test_bayes_t_is_the_integral_of_its_posterior():
    rope = 0.005
    posterior = correlated_bayes_t(A, B, 1 / 3, rope)
    draws = 0.006 + math.sqrt(2e-6 * (1 / 4 + 1 / 2)) * np.random.default_rng(2).standard_t(3, 400_000)
    shares = [(draws > rope).mean(), (np.abs(draws) <= rope).mean(), (draws < -rope).mean()]
    np.testing.assert_allclose([posterior.p_better, posterior.p_equal, posterior.p_worse], shares, atol=0.003)
    assert sum(vars(posterior).values()) == pytest.approx(1)
    swapped = correlated_bayes_t(B, A, 1 / 3, rope)
    assert (swapped.p_worse, swapped.p_better) == pytest.approx((posterior.p_better, posterior.p_worse))


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 1), (3, 9), (9, 3), (7, 7), (40, 61)])
def test_mcnemar_agrees_with_the_binomial_test(only_a, only_b):
    wrong_a = np.repeat([1, 0, 1, 0], [only_a, only_b, 5, 50])
    wrong_b = np.repeat([0, 1, 1, 0], [only_a, only_b, 5, 50])
    p_value = stats.binomtest(only_a, only_a + only_b, 0.5, alternative="less").pvalue
    assert mcnemar(wrong_a, wrong_b) == Discordant(only_a, only_b, pytest.approx(p_value))


def test_equal_errors_and_no_spread():
    assert welch(A, A).p_value == pytest.approx(0.5)
    even = Significance(0.0, 0.5, 3)
    assert paired_t(A, A) == corrected_t(A, A) == even
    assert welch([0.1] * 3, [0.1] * 2) == even
    for nothing in (welch([0.1] * 3, [0.2] * 2), corrected_t([0.2] * 4, [0.1] * 4)):
        assert (math.isnan(nothing.statistic), math.isnan(nothing.p_value), nothing.df) == (True, True, 3)
    one_sided = welch([0.1] * 4, [0.1, 0.2, 0.3])  # the other arm's variance alone: t = 0.1 / (0.1 / √3)
    assert (one_sided.statistic, one_sided.df) == (pytest.approx(math.sqrt(3)), pytest.approx(2))
    assert correlated_bayes_t(A, A, rope=0) == Posterior(0, 1, 0)
    assert math.isnan(correlated_bayes_t([0.1] * 2, [0.2] * 2, rope=0.01).p_better)
    assert mcnemar([0, 1, 0], [0, 1, 0]) == Discordant(0, 0, 1.0)
    same = paired_bootstrap([0, 1, 1], [0, 1, 1], [0, 1, 0], seed=1, draws=99)
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)


def test_what_rounding_leaves_is_no_difference():
    """0.1 + 0.2 is not 0.3 to a computer."""
    rounded = [0.1 + 0.2, 0.3, 0.1 + 0.2, 0.3]
    assert paired_t(rounded, [0.3] * 4) == Significance(0.0, 0.5, 3)
    assert welch(rounded, [0.3] * 4).p_value == 0.5
    assert math.isnan(paired_t([0.1, 0.2, 0.3], [0.4, 0.5, 0.1 + 0.2 + 0.3]).p_value)


def simulated(rng, n=800, disagree=0.08, lead=0.0):
    """Labels, and two answers of which 2 * disagree + 2 % are wrong; a's fewer by the lead."""
    kind = rng.choice(4, size=n, p=[0.98 - 2 * disagree, 0.02, disagree - lead / 2, disagree + lead / 2])
    return np.arange(n) % 4 == 0, np.isin(kind, (1, 2)).astype(int), np.isin(kind, (1, 3)).astype(int)


def test_bootstrap_agrees_with_the_normal_approximation():
    label, wrong_a, wrong_b = simulated(np.random.default_rng(3), n=4000, lead=0.02)
    outcome = paired_bootstrap(wrong_a, wrong_b, label, seed=1)
    d = wrong_b - wrong_a
    difference = (d[label].mean() + d[~label].mean()) / 2
    se = math.sqrt(sum(d[own].var() / own.sum() for own in (label, ~label)) / 4)
    assert outcome.difference == pytest.approx(difference)
    assert outcome.low == pytest.approx(difference - 1.96 * se, abs=0.06 * se)
    assert outcome.high == pytest.approx(difference + 1.96 * se, abs=0.06 * se)
    assert outcome.p_value == pytest.approx(stats.norm.sf(difference / se), rel=0.25, abs=2e-4)
    swapped = paired_bootstrap(wrong_b, wrong_a, label, seed=1)
    assert swapped.difference == pytest.approx(-difference)
    assert swapped.p_value > 0.95


def test_bootstrap_at_other_prevalences():
    label, wrong_a, wrong_b = simulated(np.random.default_rng(4))
    d = wrong_b - wrong_a
    for prevalence, expected in ((None, d.mean()), (0.02, 0.02 * d[label].mean() + 0.98 * d[~label].mean())):
        outcome = paired_bootstrap(wrong_a, wrong_b, label, prevalence=prevalence, seed=1, draws=100)
        assert outcome.difference == pytest.approx(expected)


def test_bootstrap_keeps_strata():
    """Folds without spread of their own add none, however much they differ."""
    fold = np.repeat(list("abcd"), 20)
    label = np.arange(80) % 2
    wrong_b = np.isin(fold, ("a", "c")).astype(int)
    outcome = paired_bootstrap(np.zeros(80), wrong_b, label, fold, seed=1, draws=200)
    assert outcome.low == pytest.approx(0.5)
    assert outcome.high == pytest.approx(0.5)
    assert outcome.p_value == pytest.approx(1 / 201)
    without = paired_bootstrap(np.zeros(80), wrong_b, label, seed=1, draws=200)
    assert without.high - without.low > 0.1


def test_several_seeds_are_averaged_per_object():
    rng = np.random.default_rng(5)
    label = np.arange(600) % 2
    wrong_a, wrong_b = rng.random((3, 600)) < 0.1, rng.random((5, 600)) < 0.12
    outcome = paired_bootstrap(wrong_a, wrong_b, label, seed=1)
    averaged = paired_bootstrap(wrong_a.mean(axis=0), wrong_b.mean(axis=0), label, seed=1)
    assert outcome == averaged
    assert outcome.difference == pytest.approx(wrong_b.mean() - wrong_a.mean())
    single = paired_bootstrap(wrong_a[0], wrong_b[0], label, seed=1)
    assert outcome.high - outcome.low < 0.7 * (single.high - single.low)


def test_bootstrap_coverage_and_type_one_error():
    rng = np.random.default_rng(6)
    covered, rejected = [], []
    for number in range(300):
        label, wrong_a, wrong_b = simulated(rng, lead=0.03)
        outcome = paired_bootstrap(wrong_a, wrong_b, label, np.arange(800) % 5, seed=number, draws=400)
        covered.append(outcome.low <= 0.03 <= outcome.high)
        label, wrong_a, wrong_b = simulated(rng)
        rejected.append(paired_bootstrap(wrong_a, wrong_b, label, seed=number, draws=400).p_value < 0.05)
    assert 0.92 < np.mean(covered) < 0.98  # ±1.3 %
    assert 0.025 < np.mean(rejected) < 0.08


def test_resampled_sums_have_the_moments_of_a_bootstrap():
    rng = np.random.default_rng(7)
    values, stratum = rng.normal(size=(60, 2)).round(1), np.arange(60) % 3
    drawn = resample_sums(values, stratum, 40_000, rng)
    np.testing.assert_allclose(drawn.mean(axis=0), values.sum(axis=0), atol=0.15)
    covariance = sum(
        len(own) * np.cov(own.T, ddof=0) for own in (values[stratum == code] for code in range(3))
    )
    np.testing.assert_allclose(np.cov(drawn.T), covariance, rtol=0.05, atol=1)
    assert (resample_sums(np.ones((60, 1)), stratum, 50, rng) == 60).all()


def test_repeatable_and_in_any_order():
    label, wrong_a, wrong_b = simulated(np.random.default_rng(8))
    fold = np.arange(800) % 4
    first = paired_bootstrap(wrong_a, wrong_b, label, fold, seed=3, draws=500)
    order = np.lexsort((np.random.default_rng(9).random(800), fold))
    again = paired_bootstrap(wrong_a[order], wrong_b[order], label[order], fold[order], seed=3, draws=500)
    assert vars(again) == pytest.approx(vars(first))
    assert paired_bootstrap(wrong_a, wrong_b, label, fold, seed=4, draws=500) != first


def rate(rejects, replicates=4000) -> float:
    """Share of simulated data sets; the standard error at 5 % is 0.34 % for 4000, 0.7 % for 1000."""
    rng = np.random.default_rng(10)
    return float(np.mean([rejects(rng) for _ in range(replicates)]))


def correlated(rng, rho, size=4) -> np.ndarray:
    return math.sqrt(rho) * rng.normal() + math.sqrt(1 - rho) * rng.normal(size=size)


@pytest.mark.slow
def test_type_one_error_where_the_assumption_holds():
    """Welch's t is a little cautious for four folds; McNemar's, which counts, too."""
    zeros, third = np.zeros(4), 1 / 3
    assert (
        0.025 < rate(lambda rng: welch(rng.normal(size=4), rng.normal(size=4)).p_value < 0.05, 1000) < 0.065
    )
    assert 0.04 < rate(lambda rng: paired_t(zeros, rng.normal(size=4)).p_value < 0.05) < 0.06
    assert 0.04 < rate(lambda rng: corrected_t(zeros, correlated(rng, third)).p_value < 0.05) < 0.06
    bayes = rate(lambda rng: correlated_bayes_t(zeros, correlated(rng, third), third, 0).p_worse > 0.95)
    assert 0.04 < bayes < 0.06
    assert 0.02 < rate(lambda rng: mcnemar(*simulated(rng)[1:]).p_value < 0.05, 1000) < 0.06
    assert 0.04 < rate(lambda rng: stouffer(rng.random(5)).p_value < 0.05) < 0.06


def test_type_one_error_where_it_does_not():
    """Correlated folds or sizes are not independent evidence."""
    zeros, half = np.zeros(4), equal_correlation(0.5)
    assert rate(lambda rng: paired_t(zeros, correlated(rng, 1 / 3)).p_value < 0.05) > 0.10
    assert rate(lambda rng: stouffer(stats.norm.sf(correlated(rng, 0.5, 5))).p_value < 0.05) > 0.13
    corrected = rate(lambda rng: stouffer(stats.norm.sf(correlated(rng, 0.5, 5)), None, half).p_value < 0.05)
    assert 0.04 < corrected < 0.06


@pytest.mark.parametrize(
    ("mean", "sem", "text"),
    [
        (0.0382, 0.00123, "0.038(1)"),
        (0.0317, 0.00096, "0.032(1)"),
        (0.0317, 0.012, "0.03(1)"),
        (0.1234, 0.00456, "0.123(5)"),
        (0.1234, 0.000098, "0.1234(1)"),
        (12.3, 2.2, "12(2)"),
        (1234, 56, "1230(60)"),
        (0.05, 0, "0.050(0)"),
        (0.05, math.nan, "0.050"),
    ],
)
def test_shorthand(mean, sem, text):
    assert shorthand(mean, sem) == text


def test_every_test_says_what_it_assumes():
    assert {"welch", "paired_t", "corrected_t", "correlated_bayes_t", "mcnemar"} < set(ASSUMES)
    assert {"paired_bootstrap", "stouffer", "strube", "mean_over_sizes"} < set(ASSUMES)
    assert all(sentence.endswith(".") for sentence in ASSUMES.values())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: welch([0.1], A), "errors_a must be"),
        (lambda: welch(A, [0.1, np.nan]), "errors_b must be"),
        (lambda: paired_t(A, B[:3]), "same folds, not 4 and 3"),
        (lambda: corrected_t(A, B, -0.1), "test_to_train"),
        (lambda: correlated_bayes_t(A, B, rho=1), "rho"),
        (lambda: correlated_bayes_t(A, B, rope=-1), "rope"),
        (lambda: stouffer([]), "p_values"),
        (lambda: stouffer([0.1, 1.1]), "p_values"),
        (lambda: stouffer([0.1, 0.2], [1, 2, 3]), "weights must be 2"),
        (lambda: stouffer([0.1, 0.2], [0, 0]), "weights"),
        (lambda: stouffer([0.1, 0.2], [1, -1]), "weights"),
        (lambda: stouffer([0.1, 0.2], None, np.eye(3)), "correlation must be symmetric, 2 x 2"),
        (lambda: stouffer([0.1, 0.2], None, [[1, 0.5], [0.2, 1]]), "symmetric"),
        (lambda: stouffer([0.1, 0.2], None, [[1, 2], [2, 1]]), r"\[-1, 1\]"),
        (lambda: stouffer([0.1, 0.2], None, [[1, -1], [-1, 1]]), "variance"),
        (lambda: mcnemar([0, 1], [0, 1, 1]), "alike"),
        (lambda: mcnemar([0, 0.5], [0, 1]), "one training"),
        (lambda: mcnemar([], []), "wrong_a"),
        (lambda: paired_bootstrap([0, 2], [0, 1], [0, 1], seed=1), "wrong_a"),
        (lambda: paired_bootstrap([0, 1], [0, np.nan], [0, 1], seed=1), "wrong_b"),
        (lambda: paired_bootstrap([0, 1], [0, 1], [0, 1, 1], seed=1), "same objects"),
        (lambda: paired_bootstrap([0, 1], [0, 1], [1, 1], seed=1), "label"),
        (lambda: paired_bootstrap([0, 1], [0, 1], [0, 1], [0, np.nan], seed=1), "strata"),
        (lambda: paired_bootstrap([0, 1], [0, 1], [0, 1], prevalence=0, seed=1), "prevalence"),
        (lambda: paired_bootstrap([0, 1], [0, 1], [0, 1], seed=1, draws=0), "draws"),
        (lambda: shorthand(math.nan, 0.1), "mean"),
        (lambda: shorthand(0.1, -0.1), "sem"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
