"""ROC and precision-recall curves against counts at each threshold and closed forms, ties included."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_curve

from mergerexp.analysis.curves import precision_recall, roc
from mergerexp.analysis.metrics import auroc, scores


def predictions(decimals: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = (rng.random(500) < 0.3).astype(int)
    return label, np.round(1 / (1 + np.exp(-rng.normal(2 * label - 1, 1.2))), decimals)


@pytest.mark.parametrize("decimals", [16, 2, 1, 0])
@pytest.mark.parametrize("seed", [1, 2])
def test_roc_counts_galaxies_at_each_distinct_p_m(decimals, seed):
    label, p_m = predictions(decimals, seed)
    curve = roc(label, p_m)
    assert (curve.fpr[0], curve.tpr[0], curve.threshold[0]) == (0, 0, np.inf)
    np.testing.assert_array_equal(curve.threshold[1:], np.unique(p_m)[::-1])
    called = p_m >= curve.threshold[:, None]
    np.testing.assert_allclose(curve.fpr, called[:, label == 0].mean(axis=1))
    np.testing.assert_allclose(curve.tpr, called[:, label == 1].mean(axis=1))
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(auroc(label, p_m), abs=1e-12)


@pytest.mark.parametrize("decimals", [16, 1, 0])
@pytest.mark.parametrize("prevalence", [None, 0.5, 0.02])
def test_precision_and_recall_are_the_scores_at_their_thresholds(decimals, prevalence):
    label, p_m = predictions(decimals, 4)
    curve = precision_recall(label, p_m, prevalence)
    assert (curve.precision[0], curve.recall[0], curve.threshold[0]) == (1, 0, np.inf)
    np.testing.assert_array_equal(curve.threshold[1:], np.unique(p_m)[::-1])
    for precision, recall, threshold in list(zip(*curve, strict=True))[1:]:
        at = scores(label, p_m, prevalence, threshold)
        assert (precision, recall) == (pytest.approx(at["precision"]), pytest.approx(at["recall"]))
    assert curve.precision[-1] == pytest.approx(label.mean() if prevalence is None else prevalence)


@pytest.mark.parametrize("decimals", [16, 1])
def test_both_curves_are_those_of_scikit_learn(decimals):
    label, p_m = predictions(decimals, 5)
    for ours, theirs in zip(roc(label, p_m), roc_curve(label, p_m, drop_intermediate=False), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-14)
    precision, recall, threshold = precision_recall_curve(label, p_m)
    curve = precision_recall(label, p_m)
    np.testing.assert_allclose(curve.precision, precision[::-1], atol=1e-14)
    np.testing.assert_allclose(curve.recall, recall[::-1], atol=1e-14)
    np.testing.assert_array_equal(curve.threshold[1:], threshold[::-1])


def test_worked_examples():
    fpr, tpr, threshold = roc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    assert fpr.tolist() == [0, 0, 0.5, 0.5, 1]
    assert tpr.tolist() == [0, 0.5, 0.5, 1, 1]
    assert threshold.tolist() == [np.inf, 0.8, 0.4, 0.35, 0.1]
    assert [values.tolist() for values in roc([0, 1], [0.5, 0.5])[:2]] == [[0, 1], [0, 1]]


@pytest.mark.parametrize("call", [roc, precision_recall])
def test_bad_input(call):
    with pytest.raises(ValueError, match="both classes"):
        call([0, 0], [0.1, 0.2])
    with pytest.raises(ValueError, match="NaN"):
        call([0, 1], [0.1, np.nan])


def test_bad_prevalence():
    with pytest.raises(ValueError, match="prevalence"):
        precision_recall([0, 1], [0.1, 0.2], prevalence=1.5)
