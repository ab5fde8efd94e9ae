"""The scores of all arms and the quality of their probabilities, measured in processes beside this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from mergerexp.analysis.intervals import mean_sem
from mergerexp.analysis.metrics import auroc, scores
from mergerexp.report.helpers import Helpers, begun
from mergerexp.report.quality import BALANCED, Quality, bootstrap, measure_quality
from mergerexp.report.settings import AggregationSettings
from mergerexp.tracking.study import Study

SCORES = ("recall", "precision", "f1", "error", "auroc")


@dataclass(frozen=True)
class Measures:
    """What takes most of the time of an aggregation; each is by arm.

    Attributes
    ----------
    scores
        The scores at the largest size, as `mergerexp.report.results.StudyResults.scores` has them.
    quality
        The quality of the networks' probabilities.
    unexamined
        Why the quality of other networks can't be measured.
    """

    scores: dict[str, pd.DataFrame]
    quality: dict[str, Quality]
    unexamined: dict[str, str]


def measure(study: Study, settings: AggregationSettings) -> Measures:
    """Measure the arms of a study in this process.

    Parameters
    ----------
    study
        A study with predictions.
    settings
        What the aggregation was asked for.
    """
    with measuring(study, settings, None) as measured:
        return measured()


@contextmanager
def measuring(
    study: Study, settings: AggregationSettings, pool: Helpers | None
) -> Iterator[Callable[[], Measures]]:
    """Measure the arms of a study in other processes while this one goes on with the block.

    Parameters
    ----------
    study
        A study with predictions.
    settings
        What the aggregation was asked for.
    pool
        The processes; None to measure in this one, once that is asked for.

    Yields
    ------
    callable
        A function that waits for the measures, and returns them.
    """
    networks, arms = study.networks, study.arms
    tasks: list[Callable[[], Any]] = [
        *(partial(_quality, study.pooled[arm].first_seed, settings) for arm in networks),
        *(partial(_scores, arm, study.pooled[arm].all_seeds, settings) for arm in arms),
    ]
    with begun(pool, tasks) as finish:

        def measured() -> Measures:
            found = finish()
            quality = dict(zip(networks, found, strict=False))
            return Measures(
                scores=dict(zip(arms, found[len(networks) :], strict=True)),
                quality={arm: one for arm, one in quality.items() if isinstance(one, Quality)},
                unexamined={arm: one for arm, one in quality.items() if isinstance(one, str)},
            )

        yield measured


def _quality(test: pd.DataFrame, settings: AggregationSettings) -> Quality | str:
    """Return the quality of an arm's probabilities, or why it can't be measured."""
    try:
        return measure_quality(test, settings)
    except ValueError as reason:
        return str(reason)


def _scores(arm: str, test: pd.DataFrame, settings: AggregationSettings) -> pd.DataFrame:
    """Score an arm's test predictions: mean and SEM over folds, and pooled with bootstrap intervals."""
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
