"""How far a method's probabilities can be trusted: calibration, recalibration, and the shift to a survey."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mergerexp.analysis.calibration import ece_null, prior_shift, spiegelhalter
from mergerexp.analysis.calibrators import Calibrator
from mergerexp.analysis.intervals import bootstrap_recalibrated, bootstrap_scores
from mergerexp.analysis.recalibration import recalibrate
from mergerexp.report.settings import AggregationSettings

METHODS = ("isotonic", "platt")
QUALITIES = ("auroc", "brier", "log_loss", "ece")
REFITS = 1000  # the largest number of bootstrap draws where each draw fits the calibrators again
BALANCED = 0.5


@dataclass(frozen=True)
class Quality:
    """How far the probabilities of one arm can be trusted, at its largest size and first seed.

    Attributes
    ----------
    recalibrated
        The two thirds of the test galaxies that are scored, with p_m as it was and p_cal by isotonic
        regression for equally many mergers and other galaxies.
    calibrators
        The calibrators of each method, by seed and fold.
    scores
        A row for each of the raw, isotonic and Platt-scaled probabilities at equal class frequencies, at the
        survey's prevalence with the probabilities as they are, and there with the prior shifted. The tests
        of whether probabilities are true are NaN where they mean nothing, which is where the probabilities
        are meant for another prevalence or are all the same.
    """

    recalibrated: pd.DataFrame
    calibrators: dict[str, dict[tuple[int, int], Calibrator]]
    scores: pd.DataFrame


def measure_quality(test: pd.DataFrame, settings: AggregationSettings) -> Quality:
    """Calibrate on a third of each test fold, and score the rest with and without calibration.

    Parameters
    ----------
    test
        The test predictions of one method at one size, of each fold's first seed.
    settings
        What the aggregation was asked for.

    Raises
    ------
    ValueError
        If a fold has too few galaxies, or the predictions are of several seeds.
    """
    fitted = {method: recalibrate(test, method, settings.seed, BALANCED) for method in METHODS}
    raw, _ = fitted["isotonic"]  # The galaxies are the same with every method.
    survey = settings.prevalence
    shifted = raw.assign(p_m=prior_shift(raw["p_m"], BALANCED, survey))
    as_trained, at_survey = _score_given(raw, "p_m", [BALANCED, survey], settings, meant=BALANCED)
    refitted = _score_refitted(test, [BALANCED, survey], settings)
    rows = [{"p": "as trained", **as_trained}, *(balanced for balanced, _ in refitted)]
    of_survey = [
        {"p": "as trained", **at_survey},
        {"p": "isotonic", **_score_given(raw, "p_cal", [survey], settings, meant=BALANCED)[0]},
        {"p": "as trained, prior shifted", **_score_given(shifted, "p_m", [survey], settings)[0]},
        *(shifted_too for _, shifted_too in refitted),
    ]
    rows += of_survey if survey != BALANCED else []  # which would be the same once more
    calibrators = {method: of_folds for method, (_, of_folds) in fitted.items()}
    return Quality(raw, calibrators, pd.DataFrame(rows))


def quality_or_reason(test: pd.DataFrame, settings: AggregationSettings) -> Quality | str:
    """Do what `measure_quality` does, or return why the probabilities of an arm can't be measured."""
    try:
        return measure_quality(test, settings)
    except ValueError as reason:
        return str(reason)


def bootstrap(
    test: pd.DataFrame,
    column: str,
    prevalences: Sequence[float | None],
    settings: AggregationSettings,
    for_log: str | None = None,
) -> list[pd.DataFrame]:
    """Score a column of probabilities at each prevalence; the indices of the tables name the scores."""
    known: dict[str, Any] = {"seed": settings.seed, "draws": settings.draws, "unit": test["group"]}
    known["for_log"] = None if for_log is None else test[for_log]
    return _tables(bootstrap_scores(test["label"], test[column], test["fold"], prevalences, **known))


def _tables(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the table of each prevalence, whose rows follow one another."""
    step = rows["metric"].nunique()
    return [rows[start : start + step].set_index("metric") for start in range(0, len(rows), step)]


def _score_given(
    frame: pd.DataFrame,
    column: str,
    prevalences: Sequence[float],
    settings: AggregationSettings,
    meant: float | None = None,
) -> list[dict[str, Any]]:
    """Score given probabilities at some prevalences.

    Parameters
    ----------
    frame
        The galaxies with their probabilities.
    column
        The column of the probabilities. The log-loss of calibrated ones is that of the clipped ones.
    prevalences
        The prevalences at which they are scored.
    settings
        What the aggregation was asked for.
    meant
        The prevalence for which the probabilities hold; None if that is the one at which they are scored.
    """
    tables = bootstrap(frame, column, prevalences, settings, "p_cal_clipped" if column == "p_cal" else column)
    return [
        _row(table, frame, column, prevalence, settings, meant)
        for table, prevalence in zip(tables, prevalences, strict=True)
    ]


def _score_refitted(
    test: pd.DataFrame, prevalences: Sequence[float], settings: AggregationSettings
) -> list[list[dict[str, Any]]]:
    """Score the probabilities that each of `METHODS` calibrates, at some prevalences.

    Intervals include the noise of the calibrators.
    """
    draws = min(settings.draws, REFITS)
    rows = bootstrap_recalibrated(test, METHODS, prevalences, seed=settings.seed, draws=draws, unit="group")
    tables, scored = iter(_tables(rows)), list[list[dict[str, Any]]]()
    for method in METHODS:
        scored.append([])
        for prevalence in prevalences:
            frame, _ = recalibrate(test, method, settings.seed, prevalence)
            name = method if prevalence == BALANCED else f"{method}, prior shifted"
            row = _row(next(tables), frame, "p_cal", prevalence, settings)
            scored[-1].append({"p": name, **row})
    return scored


def _row(
    table: pd.DataFrame,
    frame: pd.DataFrame,
    column: str,
    prevalence: float,
    settings: AggregationSettings,
    meant: float | None = None,
) -> dict[str, Any]:
    """Return a row of `Quality.scores`: bootstrapped scores, and tests of whether probabilities are true."""
    row: dict[str, Any] = {"prevalence": prevalence}
    for name in QUALITIES:
        row[name], row[f"{name}_low"], row[f"{name}_high"] = table.loc[name, ["value", "low", "high"]]
    if meant not in (None, prevalence) or frame[column].nunique() < 2:
        return row | dict.fromkeys(("ece_null", "ece_p", "spiegelhalter_z", "spiegelhalter_p"), math.nan)
    null = ece_null(frame["label"], frame[column], prevalence=prevalence, seed=settings.seed, draws=REFITS)
    at_hand = prior_shift(frame[column], prevalence, frame["label"].mean())
    z, p_value = spiegelhalter(frame["label"], at_hand)
    return row | {
        "ece_null": null["mean"],
        "ece_p": null["p_value"],
        "spiegelhalter_z": z,
        "spiegelhalter_p": p_value,
    }
