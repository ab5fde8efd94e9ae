"""The folder of a study: all of it is written, and its numbers are those of the predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import f1_score, log_loss, roc_auc_score

from mergerexp.analysis.calibrators import calibrator_class, calibrator_from_dict
from mergerexp.analysis.recalibration import recalibrate, split_test_folds
from mergerexp.errors import UserError
from mergerexp.files import read_json
from mergerexp.report.study_folder import KIND, reserve

pytestmark = pytest.mark.slow

FIGURES = {
    "fig02_lesion", "fig03_histogram", "fig04_calibration", "fig05_histogram_recalibrated",
    "fig06_calibration_recalibrated", "fig07_roc", "precision_recall", "fig08_true_positives",
    "fig09_false_positives", "fig10_true_negatives", "fig11_false_negatives", "most_confident_mistakes",
    "training_curves",
}  # fmt: skip


def pooled(study: Path, arm: str) -> pd.DataFrame:
    predictions = pd.read_parquet(study / "predictions.parquet")
    return predictions[
        (predictions["arm"] == arm) & (predictions["split"] == "test") & (predictions["subset"] == 1.0)
    ]


def test_everything_is_written(small_study):
    assert {path.stem for path in (small_study / "figures").glob("*.png")} == FIGURES
    assert {path.stem for path in (small_study / "figures").glob("*.pdf")} == FIGURES
    for table in ("table1_scores", "scores_by_prevalence", "lesion_errors", "lesion_tests", "calibration"):
        assert len(pd.read_csv(small_study / "tables" / f"{table}.csv"))
        assert (small_study / "tables" / f"{table}.md").read_text().count("|") >= 20
    page = (small_study / "report.html").read_text()
    assert "0.9922" not in page  # simulated galaxies are not the published sample
    assert page.count("data:image/") > len(FIGURES)
    study = read_json(small_study / "study.json")
    assert study["gaps"] == []
    assert study["provenance"]["runs"]["commit"] == ["0123abc"]
    assert len(study["runs"]) == 24


def test_numbers_are_those_of_the_predictions(small_study):
    table = pd.read_csv(small_study / "tables" / "table1_scores.csv").set_index(["arm", "metric"])
    for arm in ("imagenet", "random"):
        own = pooled(small_study, arm)
        aurocs = [roc_auc_score(part["label"], part["p_m"]) for _, part in own.groupby("fold")]
        assert table.loc[(arm, "auroc"), "mean"] == pytest.approx(np.mean(aurocs))
        assert table.loc[(arm, "auroc"), "sem"] == pytest.approx(stats.sem(aurocs))
        weight = np.where(own["label"] == 1, 1 / own["label"].sum(), 1 / (1 - own["label"]).sum())
        f1 = f1_score(own["label"], own["p_m"] >= 0.5, sample_weight=weight)
        assert table.loc[(arm, "f1"), "pooled"] == pytest.approx(f1)
    tests = pd.read_csv(small_study / "tables" / "lesion_tests.csv")
    errors = {arm: balanced_errors(pooled(small_study, arm)) for arm in ("imagenet", "random")}
    welch = stats.ttest_ind(errors["imagenet"], errors["random"], equal_var=False, alternative="less")
    ours = tests[(tests["test"] == "welch") & (tests["subset"] == 1.0)]["p_value"].item()
    assert ours == pytest.approx(welch.pvalue)


def test_confident_mistakes_are_listed_to_be_looked_at_again(small_study):
    """The worst of each class, by the file as it is named, which a spreadsheet must not run."""
    table = pd.read_csv(small_study / "tables" / "confident_mistakes.csv")
    assert list(table) == ["file", "objid", "label", "predicted", "p_m", "arm", "fold"]
    own = pooled(small_study, "imagenet")
    wrong = own[(own["p_m"] >= 0.5) != (own["label"] == 1)]
    for label, (name, other) in enumerate([("noninteracting", "merger"), ("merger", "noninteracting")]):
        listed = table[table["label"] == name]
        expected = wrong[wrong["label"] == label].sort_values("p_m", ascending=bool(label)).head(50)
        assert listed["objid"].tolist() == expected["objid"].tolist()
        assert listed["p_m"].to_numpy() == pytest.approx(expected["p_m"].to_numpy())
        assert set(listed["predicted"]) == {other}
    assert (table["file"] == "'=" + table["objid"].astype(str) + ".png").all()
    page = (small_study / "report.html").read_text()
    assert f">={wrong.loc[(wrong['p_m'] - 0.5).abs().idxmax(), 'objid']}.png</span>" in page
    assert f"16 of {len(wrong)} shown" in page


def balanced_errors(own: pd.DataFrame) -> list[float]:
    errors = []
    for _, part in own.groupby("fold"):
        wrong = (part["p_m"] >= 0.5) != (part["label"] == 1)
        errors.append(wrong.groupby(part["label"]).mean().mean())
    return errors


def test_calibrators_of_every_fold(small_study):
    """They are fitted on a third of their own fold's test galaxies, and on nothing else."""
    entries = read_json(small_study / "calibrators.json")["calibrators"]
    assert len(entries) == 2 * 2 * 4
    for entry in entries:
        own = pooled(small_study, entry["arm"])
        own = own[own["fold"] == entry["fold"]]
        fitting = split_test_folds(own, seed=0).query("fitting")
        again = calibrator_class(entry["method"]).fit(fitting["label"], fitting["p_m"])
        p_m = np.linspace(0, 1, 21)
        assert (calibrator_from_dict(entry["calibrator"]).apply(p_m) == again.apply(p_m)).all()


def test_recalibration_helps_an_overconfident_network(small_study):
    table = pd.read_csv(small_study / "tables" / "calibration.csv")
    ours = table[table["arm"] == "imagenet"].set_index(["p", "prevalence"])["ece"]
    assert ours[("platt", 0.5)] < ours[("as trained", 0.5)]
    assert ours[("platt, prior shifted", 0.02)] < ours[("isotonic", 0.02)]


def test_log_loss_of_isotonic_probabilities_is_of_clipped_ones(small_study):
    """0 and 1, of which isotonic regression gives many, would make any log-loss that of the clipping."""
    scores = pd.read_csv(small_study / "tables" / "calibration.csv")
    survey = scores[(scores["arm"] == "imagenet") & (scores["prevalence"] == 0.02)].set_index("p")
    predictions = pd.read_parquet(small_study / "predictions.parquet")
    own = predictions[(predictions["arm"] == "imagenet") & (predictions["subset"] == 1.0)]
    calibrated, _ = recalibrate(own, "isotonic", 0, 0.5)
    of_class = calibrated.groupby("label")["label"].transform("size")
    weights = np.where(calibrated["label"] == 1, 0.02, 0.98) / of_class
    expected = log_loss(calibrated["label"], calibrated["p_cal_clipped"], sample_weight=weights)
    assert survey.loc["isotonic", "log_loss"] == pytest.approx(expected, rel=1e-9)


def test_killed_between_two_renames(tmp_path):
    """The old study was out of the way and the new one not yet in its place."""
    old = tmp_path / ".mine.old"
    old.mkdir()
    (old / KIND.mark).write_text("{}")
    with reserve(tmp_path / "mine"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"mine", ".mine.lock"}
    assert (tmp_path / "mine" / KIND.mark).read_text() == "{}"


def test_two_processes_do_not_write_one_study(tmp_path):
    refused = pytest.raises(UserError, match="another process is making this study")
    with reserve(tmp_path / "mine"), refused, reserve(tmp_path / "mine"):
        pass
    with reserve(tmp_path / "other"):
        pass
