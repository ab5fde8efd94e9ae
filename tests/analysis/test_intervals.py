"""Bootstrap intervals: agreement with the metrics, and coverage of simulated truth."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import norm

from mergerexp.analysis import intervals
from mergerexp.analysis.calibration import ece, prior_shift
from mergerexp.analysis.drawn_scores import METRICS, FixedScorer, scores_of_draws
from mergerexp.analysis.intervals import bootstrap_recalibrated, bootstrap_scores, mean_sem
from mergerexp.analysis.metrics import auroc, scores
from mergerexp.analysis.recalibration import recalibrate


def simulated(
    n1: int, n0: int, rng: np.random.Generator, apart: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """A calibrated binormal classifier: its error at 1:1 is Φ(-apart), its AUROC Φ(√2 apart)."""
    label = np.repeat([1, 0], [n1, n0])
    return label, expit(2 * apart * rng.normal(apart * (2 * label - 1), 1.0))


def frame(n1: int, n0: int, rng: np.random.Generator) -> pd.DataFrame:
    label, p_m = simulated(n1, n0, rng)
    n = len(label)
    table = pd.DataFrame({"objid": np.arange(n), "label": label, "p_m": expit(1.8 * np.log(p_m / (1 - p_m)))})
    return table.assign(split="test", seed=0, fold=np.arange(n) % 4)


@pytest.mark.parametrize("prevalence", [0.5, 0.02, None])
def test_values_are_the_metrics(prevalence):
    label, p = simulated(100, 250, np.random.default_rng(1))
    table = bootstrap_scores(label, p, np.arange(350) % 4, prevalence, seed=1, draws=50)
    assert table["metric"].tolist() == list(METRICS)
    value = table.set_index("metric")["value"]
    expected = scores(label, p, prevalence) | {
        "auroc": auroc(label, p),
        "ece": ece(label, p, prevalence=prevalence),
    }
    assert value.to_dict() == expected
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    assert (table["low"] < table["high"]).all()


@pytest.mark.parametrize("prevalence", [0.5, 0.02, None])
@pytest.mark.parametrize("decimals", [16, 1, 0])
@pytest.mark.parametrize("fixed", [True, False])
def test_a_draw_is_scored_as_the_rows_repeated(prevalence, decimals, fixed):
    rng = np.random.default_rng(2)
    label, p = simulated(60, 90, rng)
    p = np.round(p, decimals if fixed else min(decimals, 2))  # else some would be in one level
    counts = rng.integers(0, 4, (5, 150)).astype(float)
    if fixed:
        (drawn,) = FixedScorer(label == 1, p, p)(counts, [prevalence])
    else:
        each = p[None].repeat(5, 0)
        (drawn,) = scores_of_draws(label == 1, each, each, counts, [prevalence])
    for row, times in zip(drawn, counts.astype(int), strict=True):
        again, p_again = np.repeat(label, times), np.repeat(p, times)
        expected = scores(again, p_again, prevalence) | {
            "auroc": auroc(again, p_again),
            "ece": ece(again, p_again, prevalence=prevalence),
        }
        np.testing.assert_allclose(row, [expected[name] for name in METRICS], atol=1e-12)


@pytest.mark.parametrize("edge", np.linspace(0, 1, 11).tolist())
@pytest.mark.parametrize("toward", [0, 1])
def test_probabilities_at_the_edges_of_bins_are_in_the_bins_of_the_ece(edge, toward):
    """A merger's excess is reduced by the other galaxy in its bin: that below the edge or that above."""
    for p_m in (edge, np.nextafter(edge, toward)):
        label, p = np.array([1, 0, 0]), np.array([p_m, max(edge - 0.05, 0.0), min(edge + 0.05, 1.0)])
        (drawn,) = FixedScorer(label == 1, p, p)(np.ones((1, 3)), [0.99])
        assert drawn[0, METRICS.index("ece")] == pytest.approx(ece(label, p, prevalence=0.99), abs=1e-12)


def test_draws_keep_strata_classes_and_units_whole():
    label = np.repeat([1, 0], [30, 90])
    fold, unit = np.arange(120) % 4, np.arange(120) // 12  # units of 12 span all folds and the classes
    counts = intervals._Drawer(label == 1, fold, None).counts(40, np.random.default_rng(3))
    for k in range(4):
        for kind in (0, 1):
            here = (fold == k) & (label == kind)
            assert (counts[:, here].sum(axis=1) == here.sum()).all()
    assert counts.std(axis=0).min() > 0
    whole = intervals._Drawer(label == 1, None, unit).counts(40, np.random.default_rng(3))
    for kind in (0, 1):
        for name in range(10):
            here = (unit == name) & (label == kind)
            assert (whole[:, here] == whole[:, here][:, :1]).all()
    assert (whole[:, label == 1].sum(axis=1) > 0).all()


def test_precision_and_f1_where_nothing_is_called():
    table = bootstrap_scores([1, 1, 0, 0], [0.1, 0.6, 0.2, 0.3], seed=1, draws=200).set_index("metric")
    assert table.loc["precision", "low"] == 0
    assert table.loc["f1", "low"] == 0
    assert np.isfinite(table.to_numpy()).all()


def test_coverage_of_error_and_auroc():
    """At 2σ, 95.45 % is nominal; the error's, of few misclassified galaxies, is a little less."""
    rng = np.random.default_rng(4)
    truth = {"error": norm.cdf(-1), "auroc": norm.cdf(2**0.5), "recall": norm.cdf(1), "brier": None}
    big_label, big_p = simulated(400_000, 400_000, rng)
    truth["brier"] = scores(big_label, big_p)["brier"]
    covered = []
    for number in range(250):
        label, p = simulated(100, 200, rng)
        table = bootstrap_scores(label, p, np.arange(300) % 4, seed=number, draws=300).set_index("metric")
        covered.append(
            [table.loc[name, "low"] <= value <= table.loc[name, "high"] for name, value in truth.items()]
        )
    coverage = np.mean(covered, axis=0)
    assert ((coverage > 0.91) & (coverage < 0.99)).all(), dict(zip(truth, coverage, strict=True))


@pytest.mark.parametrize("overconfidence", [1.0, 1.8])
def test_coverage_of_the_ece(overconfidence):
    rng = np.random.default_rng(5)

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        label, p = simulated(n, n, rng)
        return label, expit(overconfidence * np.log(p / (1 - p)))

    truth = ece(*draw(1_000_000))
    covered = []
    for number in range(120):
        row = bootstrap_scores(*draw(400), seed=number, draws=200).set_index("metric").loc["ece"]
        covered.append(row["low"] <= truth <= row["high"])
    assert np.mean(covered) > 0.86  # .93 and 1 in long runs


def test_images_of_one_galaxy_are_no_independent_evidence():
    rng = np.random.default_rng(6)
    label, p = (np.repeat(values, 4) for values in simulated(100, 100, rng))
    width = {}
    for name, unit in (("rows", None), ("galaxies", np.repeat(np.arange(200), 4))):
        table = bootstrap_scores(label, p, seed=1, unit=unit).set_index("metric")
        width[name] = (table["high"] - table["low"])[["error", "auroc", "brier"]]
    np.testing.assert_allclose(width["galaxies"] / width["rows"], 2, rtol=0.12)


def test_quick_repeatable_and_whatever_the_strata_are_called():
    label, p = simulated(800, 800, np.random.default_rng(7))
    fold = np.arange(1600) % 4
    start = time.process_time()
    table = bootstrap_scores(label, p, fold, seed=1, draws=1000)
    assert time.process_time() - start < 3
    pd.testing.assert_frame_equal(bootstrap_scores(label, p, fold, seed=1, draws=1000), table)
    pd.testing.assert_frame_equal(bootstrap_scores(label, p, np.array(list("abcd"))[fold], seed=1), table)
    assert not bootstrap_scores(label, p, fold, seed=2)["low"].equals(table["low"])


@pytest.mark.parametrize("method", ["isotonic", "platt"])
@pytest.mark.parametrize("prevalence", [None, 0.5])
def test_recalibrated_values_and_limits(method, prevalence):
    predictions = frame(160, 320, np.random.default_rng(8))
    table = bootstrap_recalibrated(predictions, method, prevalence, seed=3, draws=60).set_index("metric")
    pooled, _ = recalibrate(predictions, method, 3, prevalence)
    expected = scores(pooled["label"], pooled["p_cal"], prevalence) | {
        "log_loss": scores(pooled["label"], pooled["p_cal_clipped"], prevalence)["log_loss"],
        "auroc": auroc(pooled["label"], pooled["p_cal"]),
        "ece": ece(pooled["label"], pooled["p_cal"], prevalence=prevalence),
    }
    assert table["value"].to_dict() == expected
    assert (table["low"] < table["high"]).all()
    shuffled = predictions.sample(frac=1, random_state=1)
    again = bootstrap_recalibrated(shuffled, method, prevalence, seed=3, draws=60).set_index("metric")
    pd.testing.assert_frame_equal(again, table)


def test_limits_do_not_depend_on_the_memory_that_a_block_of_draws_may_take(monkeypatch):
    """Neither the random numbers nor the fits: what one draw after the other gives."""
    predictions = frame(40, 60, np.random.default_rng(9))
    whole = bootstrap_recalibrated(predictions, "platt", seed=1, draws=20)
    monkeypatch.setattr(intervals, "BLOCK", 1)
    one_by_one = bootstrap_recalibrated(predictions, "platt", seed=1, draws=20)
    pd.testing.assert_frame_equal(one_by_one, whole, rtol=0, atol=1e-12)


def test_several_prevalences_are_scored_as_each_by_itself():
    predictions = frame(40, 60, np.random.default_rng(9))
    label, p, fold = (predictions[name] for name in ("label", "p_m", "fold"))
    at = [0.5, None, 0.02]
    given = [bootstrap_scores(label, p, fold, one, seed=1, draws=20) for one in at]
    together = bootstrap_scores(label, p, fold, at, seed=1, draws=20)
    pd.testing.assert_frame_equal(together, pd.concat(given, ignore_index=True))
    methods = ("isotonic", "platt")
    given = [
        bootstrap_recalibrated(predictions, method, one, seed=1, draws=20) for method in methods for one in at
    ]
    together, apart = (
        bootstrap_recalibrated(predictions, methods, at, seed=1, draws=20),
        pd.concat(given, ignore_index=True),
    )
    # The AUROC is that of the first prevalence, and each counts other pairs as ties, of which there are few.
    ordered = apart["metric"] == "auroc"
    pd.testing.assert_frame_equal(together[~ordered], apart[~ordered])
    pd.testing.assert_frame_equal(together[ordered], apart[ordered], atol=2e-3)


def test_refitting_widens_the_interval():
    """What the calibrator's own noise adds: with it held fixed, the log-loss would look too certain."""
    predictions = frame(60, 60, np.random.default_rng(9))
    pooled, _ = recalibrate(predictions, "platt", 1)
    held = bootstrap_scores(
        pooled["label"], pooled["p_cal"], pooled["fold"], None, seed=1, draws=200
    ).set_index("metric")
    refitted = bootstrap_recalibrated(predictions, "platt", seed=1, draws=200).set_index("metric")
    for name in ("log_loss", "brier"):
        widths = [table.loc[name, "high"] - table.loc[name, "low"] for table in (refitted, held)]
        assert widths[0] > 1.1 * widths[1]


def test_recalibrated_units():
    rng = np.random.default_rng(10)
    table = frame(60, 60, rng)
    views = pd.concat(
        [table.assign(objid=table["objid"] + 1000 * k, encounter=table["objid"]) for k in range(3)]
    )
    rows = bootstrap_recalibrated(views, "platt", seed=1, draws=100).set_index("metric")
    whole = bootstrap_recalibrated(views, "platt", seed=1, draws=100, unit="encounter").set_index("metric")
    assert (whole["high"] - whole["low"])["error"] > 1.2 * (rows["high"] - rows["low"])["error"]


def test_mean_sem():
    mean, sem = mean_sem([0.03, 0.04, 0.035, 0.031])
    assert mean == pytest.approx(0.034)
    assert sem == pytest.approx(np.std([0.03, 0.04, 0.035, 0.031], ddof=1) / 2)
    assert mean_sem([1, 3]) == (2, 1)
    assert mean_sem([0.1 + 0.2, 0.3, 0.3])[1] == 0  # what rounding leaves is no spread
    assert np.isnan(mean_sem([0.1])[1])
    for wrong in ([], [0.1, np.nan], 0.1):
        with pytest.raises(ValueError, match="values"):
            mean_sem(wrong)


def test_bad_input():
    label, p = [0, 0, 1, 1], [0.1, 0.6, 0.4, 0.8]
    for change, message in (
        ({"strata": [0, 1]}, "each of the 4"),
        ({"unit": [0, 1, 2, None]}, "NaN"),
        ({"prevalence": 0.0}, "prevalence"),
        ({"draws": 0}, "draws"),
        ({"sigma": -1}, "sigma"),
        ({"p_m": [0.1, 0.2, 0.3, np.nan]}, "NaN"),
        ({"label": [1, 1, 1, 1]}, "both classes"),
    ):
        with pytest.raises(ValueError, match=message):
            bootstrap_scores(**({"label": label, "p_m": p, "seed": 1} | change))
    predictions = frame(20, 20, np.random.default_rng(11))
    with pytest.raises(ValueError, match="one at a time"):
        bootstrap_recalibrated(pd.concat([predictions, predictions.assign(seed=1)]), "platt", seed=1)
    with pytest.raises(ValueError, match="lack the columns"):
        bootstrap_recalibrated(predictions.drop(columns="seed"), "platt", seed=1)
    with pytest.raises(ValueError, match="'field'"):
        bootstrap_recalibrated(predictions, "platt", seed=1, unit="field")


@pytest.mark.parametrize("prevalence", [0.5, 0.02, 0.002])
def test_levels_of_probability_do_not_change_the_auroc(prevalence):
    """Another prevalence moves probabilities toward 0, but does not change their order."""
    rng = np.random.default_rng(7)
    label, p = simulated(800, 3200, rng, apart=1.6)
    moved = prior_shift(p, 0.2, prevalence)
    counts = rng.integers(0, 3, (4, 4000)).astype(float)
    (exact,) = FixedScorer(label == 1, moved, moved)(counts, [0.5])
    each = moved[None].repeat(4, 0)
    (levels,) = scores_of_draws(label == 1, each, each, counts, [0.5])
    np.testing.assert_allclose(levels, exact, rtol=0, atol=2e-5)
