"""The stored predictions of runs: reading them, and comparing them with everything else that is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mergerexp.analysis.metrics import scores
from mergerexp.errors import UserError
from mergerexp.runs.run_folder import PREDICTIONS

COLUMNS = ["objid", "group", "split", "label", "p_m"]
FILE = "file"  # which data sets made of files have


def read_predictions(path: Path) -> pd.DataFrame:
    """Read the predictions of a run, with the names of the files where they are recorded.

    Raises
    ------
    UserError
        If columns are missing or values are out of range.
    """
    predictions = pd.read_parquet(path)
    if missing := set(COLUMNS) - set(predictions.columns):
        raise UserError(f"{PREDICTIONS} lacks the columns {', '.join(sorted(missing))}")
    if not predictions["p_m"].between(0, 1).all() or not predictions["label"].isin((0, 1)).all():
        raise UserError(f"{PREDICTIONS} has p_m outside [0, 1] or labels other than 0 and 1")
    if set(predictions["split"]) != {"val", "test"}:
        raise UserError(f"{PREDICTIONS} needs rows of the splits val and test, and no others")
    if predictions["objid"].duplicated().any():
        raise UserError(f"{PREDICTIONS} rates an object twice")
    return predictions[COLUMNS + [FILE] * (FILE in predictions)]


class ConsistencyCheck:
    """Compares the predictions of one run after another with its metrics and with the runs before it."""

    def __init__(self) -> None:
        self._labels: dict[int, int] = {}
        self._test_folds: dict[tuple[Any, ...], dict[int, int]] = {}

    def problem(
        self, run: Mapping[str, Any], predictions: pd.DataFrame, metrics: Mapping[str, float]
    ) -> str | None:
        """Return what is wrong with the predictions of a run; None if nothing is.

        Later runs are compared only with predictions in which nothing was wrong.

        Parameters
        ----------
        run
            The run's row of `Study.runs`.
        predictions
            The run's predictions, as `read_predictions` returns them.
        metrics
            The metrics that MLflow has of the run.
        """
        test_folds = self._test_folds.setdefault((run["arm"], run["subset"], run["seed"]), {})
        tested = predictions.loc[predictions["split"] == "test", "objid"].tolist()
        found = (
            self._other_labels(predictions)
            or _not_as_recorded(predictions, metrics)
            or _in_another_fold(tested, test_folds)
        )
        if found is None:
            self._labels.update(_label_of(predictions))
            test_folds.update(dict.fromkeys(tested, run["fold"]))
        return found

    def _other_labels(self, predictions: pd.DataFrame) -> str | None:
        """Tell how a run's labels differ from those of the runs before it, if they do."""
        labels = _label_of(predictions)
        wrong = [objid for objid, label in labels.items() if self._labels.get(objid, label) != label]
        if wrong:
            return f"the label of object {wrong[0]} is not that of other runs ({len(wrong)} such objects)"
        return None


def _label_of(predictions: pd.DataFrame) -> dict[int, int]:
    return dict(zip(predictions["objid"].tolist(), predictions["label"].tolist(), strict=True))


def _not_as_recorded(predictions: pd.DataFrame, metrics: Mapping[str, float]) -> str | None:
    """Tell how predictions differ from those that the run's metrics were computed from, if they do."""
    if "train/n_balanced" not in metrics:
        return "MLflow lacks its metrics"
    for name, part in predictions.groupby("split"):
        positives = int(part["label"].sum())
        counts = {"n_positives": positives, "n_negatives": len(part) - positives}
        expected = {key: metrics.get(f"{name}/{key}", value) for key, value in counts.items()}
        if counts != expected:
            return (
                f"{PREDICTIONS} has {positives} + {len(part) - positives} objects of the two classes in "
                f"its {name} fold, not {expected['n_positives']:.0f} + {expected['n_negatives']:.0f}"
            )
        if not positives or positives == len(part):
            return f"its {name} fold has objects of one class only"
        error = scores(part["label"], part["p_m"])["error"]
        if not math.isclose(error, metrics.get(f"{name}/error", error), abs_tol=1e-6):
            return f"{PREDICTIONS} has not the {name} error that the run had"
    return None


def _in_another_fold(tested: list[int], test_folds: Mapping[int, int]) -> str | None:
    """Tell which other fold has some of the same test objects, if one does."""
    twice = [objid for objid in tested if objid in test_folds]
    if twice:
        fold = test_folds[twice[0]]
        return f"object {twice[0]} is in the test fold {fold} too ({len(twice)} such objects)"
    return None
