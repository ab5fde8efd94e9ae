"""The scores of a method: over its folds, and pooled with their intervals."""

from __future__ import annotations

import pandas as pd

from mergerexp.analysis.intervals import mean_sem
from mergerexp.analysis.metrics import auroc, scores
from mergerexp.report.quality import BALANCED, bootstrap
from mergerexp.report.settings import AggregationSettings

SCORES = ("recall", "precision", "f1", "error", "auroc")


def scores_of_arm(arm: str, test: pd.DataFrame, settings: AggregationSettings) -> pd.DataFrame:
    """Score an arm's test predictions: mean and SEM over folds, and pooled with bootstrap intervals.

    Parameters
    ----------
    arm
        The name of the arm.
    test
        Its test predictions at its largest size, of all seeds.
    settings
        What the aggregation was asked for.

    Returns
    -------
    DataFrame
        The rows of `mergerexp.report.results.StudyResults.scores` that are of this arm.
    """
    truth = test["label"].mean()
    parts = []
    at = {"balanced": BALANCED, "data set": None, "survey": settings.prevalence}
    for (name, prevalence), pooled in zip(
        at.items(), bootstrap(test, "p_m", list(at.values()), settings), strict=True
    ):
        folds = [
            {"fold": fold, **_fold_scores(part, prevalence)}
            for (fold, _), part in test.groupby(["fold", "seed"])
        ]
        by_fold = pd.DataFrame(folds).groupby("fold").mean()  # The seeds of a fold are one measurement.
        for metric in SCORES:
            mean, sem = mean_sem(by_fold[metric])
            value, low, high = pooled.loc[metric, ["value", "low", "high"]]
            row = {"arm": arm, "n_train": round(test["n_train"].mean()), "at": name}
            row |= {"prevalence": truth if prevalence is None else prevalence, "metric": metric}
            row |= {"mean": mean, "sem": sem, "folds": len(by_fold)}
            row |= {"pooled": value, "low": low, "high": high}
            parts.append(row)
    return pd.DataFrame(parts)


def _fold_scores(part: pd.DataFrame, prevalence: float | None) -> dict[str, float]:
    return {**scores(part["label"], part["p_m"], prevalence), "auroc": auroc(part["label"], part["p_m"])}
