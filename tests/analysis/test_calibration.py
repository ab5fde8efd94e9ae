"""Calibration against the figures of docs/science.md, §3, closed forms and simulated truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit, logit

from mergerexp.analysis.calibration import (
    calibration_curve,
    ece,
    ece_null,
    jeffreys,
    prior_shift,
    spiegelhalter,
)
from mergerexp.analysis.metrics import scores


def calibrated(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    p = expit(rng.normal(0, 2, n))
    return (rng.random(n) < p).astype(int), p


def one_to_one(n1: int, n0: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Galaxies whose p_m is the true probability where there are as many mergers as others."""
    label = np.repeat([1, 0], [n1, n0])
    return label, expit(2 * 1.3 * rng.normal(1.3 * (2 * label - 1), 1.0))


def test_jeffreys_published_and_at_the_ends():
    low, high = jeffreys([3, 0, 150], [10, 10, 3000])
    np.testing.assert_allclose(low, [0.0898, 0, 0.04249], atol=5e-5)
    np.testing.assert_allclose(high, [0.6118, 0.2234, 0.05841], atol=5e-5)
    assert jeffreys(10, 10)[1] == 1
    assert jeffreys(0, 0) == (0, 1)
    np.testing.assert_allclose(jeffreys(7, 10)[0], 1 - jeffreys(3, 10)[1])
    one_sigma = stats.beta.ppf(stats.norm.cdf([-1, 1]), 3.5, 7.5)
    np.testing.assert_allclose(jeffreys(3, 10, sigma=1), one_sigma)


@pytest.mark.parametrize("p", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("n", [30, 100, 1000])
def test_jeffreys_coverage_is_near_nominal(n, p):
    """Exact, as a sum over the binomial; it oscillates about 95.45 %, and more for small n p."""
    k = np.arange(n + 1)
    low, high = jeffreys(k, n)
    coverage = stats.binom.pmf(k, n, p)[(low <= p) & (p <= high)].sum()
    assert 0.93 < coverage < 0.985


def test_jeffreys_coverage_averaged_over_p():
    """Averaged over the Jeffreys prior itself, coverage is nominal, but for the closed ends."""
    n, k = 50, np.arange(51)
    low, high = (stats.beta.cdf(x, k + 0.5, n - k + 0.5) for x in jeffreys(k, n))
    predictive = stats.betabinom.pmf(k, n, 0.5, 0.5)
    assert predictive[1:-1] @ (high - low)[1:-1] / predictive[1:-1].sum() == pytest.approx(0.9545, abs=1e-4)
    assert predictive @ (high - low) > 0.9545


def test_curve_worked_example():
    label = [0, 0, 1, 0, 1, 1, 1]
    p_m = [0.0, 0.1, 0.15, 0.3, 0.95, 1.0, 0.9]
    curve = calibration_curve(label, p_m)
    assert list(curve.columns) == ["low", "high", "n", "mean_p", "fraction", "fraction_low", "fraction_high"]
    assert curve["n"].tolist() == [1, 2, 0, 1, 0, 0, 0, 0, 0, 3]  # a limit belongs to the bin above it
    np.testing.assert_allclose(curve["low"], np.arange(10) / 10)
    empty = curve["n"] == 0
    assert curve.loc[empty, "mean_p":].isna().all(axis=None)
    assert curve.loc[~empty].notna().all(axis=None)
    assert curve.loc[1, ["mean_p", "fraction"]].tolist() == [0.125, 0.5]
    assert (curve.loc[9, "fraction"], curve.loc[9, "fraction_high"]) == (1, 1)
    assert curve.loc[9, "fraction_low"] == pytest.approx(jeffreys(3, 3)[0])
    assert ece(label, p_m) == pytest.approx((2 * abs(0.5 - 0.125) + 0.3 + abs(3 - 2.85)) / 7)


def test_bins_of_equal_mass():
    rng = np.random.default_rng(1)
    label, p = calibrated(1000, rng)
    curve = calibration_curve(label, p, kind="mass")
    assert curve["n"].tolist() == [100] * 10
    assert (curve["low"].iloc[0], curve["high"].iloc[-1]) == (0, 1)
    np.testing.assert_array_equal(curve["high"][:-1], curve["low"][1:])
    np.testing.assert_allclose(curve["mean_p"], pd.Series(np.sort(p)).groupby(np.arange(1000) // 100).mean())
    ties = calibration_curve([0] * 60 + [1] * 40, [0.2] * 50 + [0.2, 1.0] * 25, kind="mass")
    assert ties["n"].tolist() == [75, 25]
    assert (calibration_curve([0, 1, 1], [0.1, 0.5, 0.5], kind="mass")["n"] > 0).all()


@pytest.mark.parametrize("kind", ["width", "mass"])
@pytest.mark.parametrize("prevalence", [None, 0.5, 0.02])
def test_prevalence_is_the_same_as_repeating_a_class(kind, prevalence):
    """Weighted to 2 %, the ECE is that of the sample with each non-merger there 49 times (bins alike)."""
    rng = np.random.default_rng(2)
    label, p = one_to_one(200, 200, rng)
    if prevalence is not None:
        times = round((1 - prevalence) / prevalence)
        repeated = np.repeat(np.arange(400), np.where(label == 1, 1, times))
        width = {"bins": 10, "kind": "width"}
        expected = ece(label[repeated], p[repeated], **width)
        assert ece(label, p, prevalence=prevalence, **width) == pytest.approx(expected)
        plain = calibration_curve(label[repeated], p[repeated], **width)
        weighted = calibration_curve(label, p, prevalence=prevalence, **width)
        np.testing.assert_allclose(weighted[["mean_p", "fraction"]], plain[["mean_p", "fraction"]])
    curve = calibration_curve(label, p, kind=kind, prevalence=prevalence).dropna()
    assert (curve["fraction_low"] <= curve["fraction"]).all()
    assert (curve["fraction"] <= curve["fraction_high"]).all()
    if prevalence is None:
        expected = np.average((curve["fraction"] - curve["mean_p"]).abs(), weights=curve["n"])
        assert ece(label, p, kind=kind) == pytest.approx(expected)


def test_curve_of_true_probabilities_crosses_the_diagonal_as_often_as_it_should():
    rng = np.random.default_rng(3)
    inside = []
    for _ in range(100):
        curve = calibration_curve(*calibrated(2000, rng))
        inside += (
            (curve["fraction_low"] <= curve["mean_p"]) & (curve["mean_p"] <= curve["fraction_high"])
        ).tolist()
    assert np.mean(inside) == pytest.approx(0.9545, abs=0.02)


@pytest.mark.parametrize("prevalence", [None, 0.1])
def test_ece_null_of_true_probabilities_has_uniform_p_values(prevalence):
    rng = np.random.default_rng(4)
    p_values, z = [], []
    for number in range(200):
        label, p = calibrated(400, rng)
        meant = p if prevalence is None else prior_shift(p, label.mean(), prevalence)
        null = ece_null(label, meant, prevalence=prevalence, seed=number, draws=200)
        p_values.append(null["p_value"])
        z.append((null["ece"] - null["mean"]) / null["sd"])
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    assert np.mean(z) == pytest.approx(0, abs=0.25)
    assert np.std(z) == pytest.approx(1, abs=0.2)


def test_ece_null_and_spiegelhalter_flag_overconfidence():
    rng = np.random.default_rng(5)
    flagged = []
    for number in range(30):
        label, p = calibrated(1500, rng)
        claimed = expit(1.8 * logit(p))
        null = ece_null(label, claimed, seed=number, draws=200)
        z, p_value = spiegelhalter(label, claimed)
        assert z > 0
        flagged.append((null["p_value"] < 0.01, p_value < 0.01))
    assert np.mean(flagged, axis=0).min() == 1


def test_ece_null_is_repeatable_and_does_not_depend_on_blocks():
    label, p = calibrated(300, np.random.default_rng(6))
    first = ece_null(label, p, seed=1, draws=50)
    assert ece_null(label, p, seed=1, draws=50) == first
    assert ece_null(label, p, seed=2, draws=50)["mean"] != first["mean"]
    big_label, big_p = np.tile(label, 100), np.tile(p, 100)  # 30000 galaxies: blocks of 66 draws
    null = ece_null(big_label, big_p, seed=1, draws=200)
    assert null["mean"] == pytest.approx(first["mean"] / 10, rel=0.15)  # noise falls with the root of n


def test_spiegelhalter_is_standard_normal_for_true_probabilities():
    rng = np.random.default_rng(7)
    results = np.array([spiegelhalter(*calibrated(500, rng)) for _ in range(1000)])
    assert stats.kstest(results[:, 0], "norm").pvalue > 0.01
    assert stats.kstest(results[:, 1], "uniform").pvalue > 0.01


def test_spiegelhalter_closed_forms():
    z, p_value = spiegelhalter([1, 0, 0, 0], [0.2] * 4)  # one merger where 0.8 are expected
    assert z == pytest.approx((1 - 0.8) / (4 * 0.16) ** 0.5)
    assert p_value == pytest.approx(2 * stats.norm.sf(0.25))
    assert spiegelhalter([0, 1], [0.0, 1.0]) == (0, 1)
    assert spiegelhalter([0, 1], [0.5, 0.5]) == (0, 1)
    assert spiegelhalter([0, 1, 0], [0.0, 1.0, 1.0]) == (np.inf, 0)


def test_prior_shift_closed_forms():
    assert prior_shift(0.95, 0.5, 0.02) == pytest.approx(0.28, abs=5e-3)
    p = np.array([0.0, 1e-300, 0.2, 0.5, 1 - 1e-16, 1.0])
    shifted = prior_shift(p, 0.5, 0.02)
    assert (shifted[0], shifted[3], shifted[-1]) == (0, pytest.approx(0.02), 1)
    np.testing.assert_allclose(prior_shift(shifted, 0.02, 0.5)[:4], p[:4])
    assert (np.diff(shifted) > 0).all()
    assert prior_shift(p, 0.3, 0.3) == pytest.approx(p)


def test_prior_shift_mends_a_model_for_one_to_one_on_a_survey():
    rng = np.random.default_rng(8)
    label, p = one_to_one(400, 19_600, rng)
    before = ece_null(label, p, seed=1, draws=200)
    after = ece_null(label, prior_shift(p, 0.5, 0.02), seed=1, draws=200)
    assert before["ece"] > 0.08
    assert after["ece"] < 0.005
    assert before["p_value"] == pytest.approx(1 / 201)
    assert after["p_value"] > 0.01
    # weighted to 1:1, the same survey says that the probabilities for 1:1 were right
    assert ece_null(label, p, prevalence=0.5, seed=1, draws=200)["p_value"] > 0.01
    assert scores(label, prior_shift(p, 0.5, 0.02), None)["brier"] < scores(label, p, None)["brier"] / 2


@pytest.mark.parametrize("call", [ece, calibration_curve, spiegelhalter, lambda y, p: ece_null(y, p, seed=1)])
def test_bad_predictions(call):
    with pytest.raises(ValueError, match="both classes"):
        call([1, 1], [0.2, 0.3])
    with pytest.raises(ValueError, match="NaN"):
        call([0, 1], [0.2, np.nan])
    with pytest.raises(ValueError, match="alike"):
        call([0, 1], [0.2])


def test_bad_options():
    label, p = [0, 1], [0.2, 0.7]
    for k, n in ((-1, 3), (4, 3), (np.nan, 3), (1, np.inf)):
        with pytest.raises(ValueError, match="0 <= k <= n"):
            jeffreys(k, n)
    with pytest.raises(ValueError, match="sigma"):
        jeffreys(1, 3, sigma=0)
    with pytest.raises(ValueError, match="bins"):
        ece(label, p, bins=0)
    with pytest.raises(ValueError, match="'width' or 'mass'"):
        calibration_curve(label, p, kind="depth")
    with pytest.raises(ValueError, match="prevalence"):
        ece(label, p, prevalence=0)
    with pytest.raises(ValueError, match="draws"):
        ece_null(label, p, seed=1, draws=0)
    with pytest.raises(ValueError, match="new"):
        prior_shift(p, 0.5, 1.0)
    with pytest.raises(ValueError, match="NaN"):
        prior_shift([np.nan], 0.5, 0.1)
