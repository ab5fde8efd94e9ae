"""ROC and precision-recall curves against scikit-learn, ties included."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sk

from mergerexp.analysis.curves import average_precision, precision_recall, roc
from mergerexp.analysis.metrics import auroc, scores


def predictions(decimals: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = (rng.random(500) < 0.3).astype(int)
    return label, np.round(1 / (1 + np.exp(-rng.normal(2 * label - 1, 1.2))), decimals)


@pytest.mark.parametrize("decimals", [16, 2, 1, 0])
@pytest.mark.parametrize("seed", [1, 2])
def test_agrees_with_scikit_learn(decimals, seed):
    label, p_m = predictions(decimals, seed)
    fpr, tpr, threshold = roc(label, p_m)
    for ours, theirs in zip(
        (fpr, tpr, threshold), sk.roc_curve(label, p_m, drop_intermediate=False), strict=True
    ):
        np.testing.assert_allclose(ours, theirs)
    assert np.trapezoid(tpr, fpr) == pytest.approx(auroc(label, p_m), abs=1e-12)

    curve = precision_recall(label, p_m)
    precision, recall, cuts = sk.precision_recall_curve(label, p_m)
    np.testing.assert_allclose(curve.precision, precision[::-1])
    np.testing.assert_allclose(curve.recall, recall[::-1])
    np.testing.assert_allclose(curve.threshold[1:], cuts[::-1])
    assert average_precision(label, p_m) == pytest.approx(sk.average_precision_score(label, p_m))


@pytest.mark.parametrize("prevalence", [0.5, 0.02])
def test_prevalence_agrees_with_weights_in_scikit_learn(prevalence):
    label, p_m = predictions(2, 3)
    weight = np.where(label == 1, prevalence / label.mean(), (1 - prevalence) / (1 - label.mean()))
    precision, recall, _ = sk.precision_recall_curve(label, p_m, sample_weight=weight)
    curve = precision_recall(label, p_m, prevalence)
    np.testing.assert_allclose(curve.precision, precision[::-1])
    np.testing.assert_allclose(curve.recall, recall[::-1], atol=1e-12)
    expected = sk.average_precision_score(label, p_m, sample_weight=weight)
    assert average_precision(label, p_m, prevalence) == pytest.approx(expected)
    assert curve.precision[-1] == pytest.approx(prevalence)


def test_points_are_the_scores_at_their_thresholds():
    label, p_m = predictions(1, 4)
    curve = precision_recall(label, p_m, prevalence=0.02)
    for precision, recall, threshold in list(zip(*curve, strict=True))[1:]:
        at = scores(label, p_m, prevalence=0.02, threshold=threshold)
        assert (precision, recall) == (pytest.approx(at["precision"]), pytest.approx(at["recall"]))


def test_worked_examples():
    fpr, tpr, threshold = roc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    assert fpr.tolist() == [0, 0, 0.5, 0.5, 1]
    assert tpr.tolist() == [0, 0.5, 0.5, 1, 1]
    assert threshold.tolist() == [np.inf, 0.8, 0.4, 0.35, 0.1]
    assert average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert [values.tolist() for values in roc([0, 1], [0.5, 0.5])[:2]] == [[0, 1], [0, 1]]
    assert average_precision([0, 1], [0.0, 1.0], prevalence=0.02) == 1


@pytest.mark.parametrize("call", [roc, precision_recall, average_precision])
def test_bad_input(call):
    with pytest.raises(ValueError, match="both classes"):
        call([0, 0], [0.1, 0.2])
    with pytest.raises(ValueError, match="NaN"):
        call([0, 1], [0.1, np.nan])


def test_bad_prevalence():
    with pytest.raises(ValueError, match="prevalence"):
        precision_recall([0, 1], [0.1, 0.2], prevalence=1.5)
