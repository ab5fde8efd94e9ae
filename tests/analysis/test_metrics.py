"""Scores against worked examples, scikit-learn, and the paper's arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sk

from mergerexp.analysis.metrics import auroc, scores, summary


@pytest.fixture
def predictions() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    label = (rng.random(1000) < 0.23).astype(int)
    p_m = np.round(1 / (1 + np.exp(-rng.normal(2 * label - 1, 1.2))), 2)  # with ties
    return label, p_m


def test_worked_example():
    label = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    p_m = [0.9, 0.8, 0.5, 0.1, 0.7, 0.4, 0.3, 0.2, 0.1, 0.0]
    balanced = scores(label, p_m)
    assert balanced["recall"] == pytest.approx(3 / 4)
    assert balanced["error"] == pytest.approx((1 / 4 + 1 / 6) / 2)
    assert balanced["precision"] == pytest.approx((3 / 4) / (3 / 4 + 1 / 6))
    own = scores(label, p_m, prevalence=None)
    assert own["error"] == pytest.approx(2 / 10)
    assert own["precision"] == pytest.approx(3 / 4)
    assert own["f1"] == pytest.approx(3 / 4)


def test_agrees_with_scikit_learn(predictions):
    label, p_m = predictions
    own, called = scores(label, p_m, prevalence=None), p_m >= 0.5
    assert own["error"] == pytest.approx(1 - sk.accuracy_score(label, called))
    assert own["precision"] == pytest.approx(sk.precision_score(label, called))
    assert own["recall"] == pytest.approx(sk.recall_score(label, called))
    assert own["f1"] == pytest.approx(sk.f1_score(label, called))
    assert own["log_loss"] == pytest.approx(sk.log_loss(label, np.clip(p_m, 1e-15, 1 - 1e-15)))
    assert own["brier"] == pytest.approx(sk.brier_score_loss(label, p_m))
    assert scores(label, p_m)["error"] == pytest.approx(1 - sk.balanced_accuracy_score(label, called))


def test_auroc_is_the_chance_that_a_merger_is_rated_above_another_galaxy(predictions):
    label, p_m = predictions
    above = np.subtract.outer(p_m[label == 1], p_m[label == 0])
    assert auroc(label, p_m) == pytest.approx(np.mean((np.sign(above) + 1) / 2))
    assert auroc(label, p_m) == pytest.approx(sk.roc_auc_score(label, p_m), abs=1e-14)


def test_the_paper_was_scored_with_balanced_classes():
    """Recall .96 and precision .97 (Table 1) imply an error of .035 at 1:1, .016 at 3003:10000."""
    false_positive_rate = 0.96 * (1 / 0.97 - 1)
    label = np.repeat([1, 0], 100_000)
    p_m = np.concatenate(
        [np.arange(100_000) < 96_000, np.arange(100_000) < 100_000 * false_positive_rate]
    ).astype(float)
    assert scores(label, p_m)["error"] == pytest.approx(0.035, abs=5e-4)
    assert scores(label, p_m)["precision"] == pytest.approx(0.97, abs=1e-4)
    prevalence = 3003 / 13003
    # the same precision at the data set's ratio needs a lower false-positive rate
    fpr = 0.96 * prevalence / (1 - prevalence) * (1 / 0.97 - 1)
    p_m[100_000:] = np.arange(100_000) < 100_000 * fpr
    assert scores(label, p_m, prevalence)["error"] == pytest.approx(0.016, abs=5e-4)


def test_summary_is_complete_and_finite(predictions):
    values = summary(*predictions)
    expected = {"error", "error_dataset", "error_2percent", "precision", "recall", "f1", "auroc"}
    assert expected | {"log_loss", "brier", "log_loss_dataset", "n_positives"} <= set(values)
    assert np.isfinite(list(values.values())).all()


def test_nothing_called_a_merger():
    values = scores([1, 0], [0.1, 0.2])
    assert (values["precision"], values["recall"], values["f1"]) == (0, 0, 0)
    assert np.isfinite(scores([1, 0], [0.0, 1.0])["log_loss"])


@pytest.mark.parametrize(
    ("label", "p_m", "message"),
    [
        ([1, 1], [0.5, 0.5], "both classes"),
        ([0, 2], [0.5, 0.5], "0 or 1"),
        ([0, 1], [0.5, np.nan], "NaN"),
        ([0, 1], [0.5, 1.5], r"\[0, 1\]"),
        ([0, 1], [0.5], "alike"),
    ],
)
def test_bad_input(label, p_m, message):
    with pytest.raises(ValueError, match=message):
        scores(label, p_m)
    with pytest.raises(ValueError, match="prevalence"):
        scores([0, 1], [0.1, 0.9], prevalence=1.0)
