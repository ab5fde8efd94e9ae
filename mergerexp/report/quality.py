"""How far an arm's probabilities can be trusted: calibration, recalibration, and the shift to a survey."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from mergerexp.analysis.calibration import ece_null, prior_shift, spiegelhalter
from mergerexp.analysis.calibrators import Calibrator
from mergerexp.analysis.intervals import bootstrap_recalibrated, bootstrap_scores
from mergerexp.analysis.recalibration import recalibrate
from mergerexp.frames import records

METHODS = ("isotonic", "platt")
QUALITIES = ("ece", "brier", "log_loss", "auroc")
REFITS = 1000  # bootstrap draws, at most, where each one fits calibrators anew
BALANCED = 0.5


@dataclass(frozen=True)
class Settings:
    """What an aggregation can be told about its numbers.

    Attributes
    ----------
    compare
        Two arms: does the first have the smaller error? None: pretrained against random weights.
    prevalence
        Of mergers in a survey.
    draws
        Of each bootstrap.
    seed
        Of bootstraps, of the thirds that calibrators are fitted on, and of galleries.
    title
        What the study is called.
    chosen
        By what its runs were chosen: where, sweep, allow_partial.
    published
        Whether the published numbers stand beside ours; None: where the data set is the published sample.
    """

    compare: tuple[str, str] | None = None
    prevalence: float = 0.02
    draws: int = 10_000
    seed: int = 0
    title: str = "study"
    chosen: Mapping[str, Any] = field(default_factory=dict)
    published: bool | None = None


@dataclass(frozen=True)
class Quality:
    """How far the probabilities of one arm can be trusted; of its largest size and first seed.

    Attributes
    ----------
    test
        Pooled test predictions: fold, seed, split, objid, label, p_m.
    recalibrated
        The scored two thirds by method: p_m, p_cal for equally many mergers and others.
    calibrators
        By method and fold.
    scores
        A row for each of raw, isotonic and platt, at equal numbers, at the survey's prevalence with the
        probabilities as they are, and there with the prior shifted. What tests whether they are true is NaN
        where it means nothing: where they are meant for another prevalence, and where all are alike.
    """

    test: pd.DataFrame
    recalibrated: dict[str, pd.DataFrame]
    calibrators: dict[str, dict[tuple[int, int], Calibrator]]
    scores: pd.DataFrame


def first_seed(test: pd.DataFrame) -> pd.DataFrame:
    """Return the predictions of each fold's first seed."""
    first: pd.DataFrame = test[test["seed"] == test.groupby("fold")["seed"].transform("min")]
    return first


def measure_quality(test: pd.DataFrame, settings: Settings) -> Quality:
    """Calibrate by a third of each test fold, and score the rest, uncalibrated probabilities too.

    Parameters
    ----------
    test
        Test predictions of one arm at one size; of several seeds the first is used.
    settings
        What was asked for.

    Raises
    ------
    ValueError
        If a fold has too few galaxies, or the folds have no seed in common.
    """
    test = first_seed(test)
    recalibrated, calibrators = {}, {}
    for method in METHODS:
        frame, calibrators[method] = recalibrate(test, method, settings.seed, BALANCED)
        recalibrated[method] = frame
    raw = recalibrated["isotonic"]  # the same galaxies with every method
    survey = settings.prevalence
    shifted = raw.assign(p_m=prior_shift(raw["p_m"], BALANCED, survey))
    rows = [
        {"p": "as trained", **_fixed(raw, "p_m", BALANCED, settings)},
        *(_refitted(test, method, BALANCED, settings) for method in METHODS),
        {"p": "as trained", **_fixed(raw, "p_m", survey, settings, meant=BALANCED)},
        {
            "p": "isotonic",
            **_fixed(raw, "p_cal", survey, settings, meant=BALANCED, clipped="p_cal_clipped"),
        },
        {"p": "as trained, prior shifted", **_fixed(shifted, "p_m", survey, settings)},
        *(_refitted(test, method, survey, settings) for method in METHODS),
    ]
    return Quality(test, recalibrated, calibrators, pd.DataFrame(rows))


def _fixed(
    frame: pd.DataFrame,
    column: str,
    prevalence: float,
    settings: Settings,
    meant: float | None = None,
    clipped: str | None = None,
) -> dict[str, Any]:
    """Score given probabilities at a prevalence.

    Parameters
    ----------
    meant
        Prevalence that they hold for; None: this one.
    clipped
        Column of the probabilities whose log-loss is taken.
    """

    def bootstrap(name: str) -> pd.DataFrame:
        known: dict[str, Any] = {"seed": settings.seed, "draws": settings.draws, "unit": frame["group"]}
        table = bootstrap_scores(frame["label"], frame[name], frame["fold"], prevalence, **known)
        return table.set_index("metric")

    table = bootstrap(column)
    if clipped is not None:
        table.loc["log_loss"] = bootstrap(clipped).loc["log_loss"]
    return _row(table.reset_index(), frame, column, prevalence, settings, meant)


def _refitted(test: pd.DataFrame, method: str, prevalence: float, settings: Settings) -> dict[str, Any]:
    """Score calibrated probabilities for a prevalence; the intervals hold the calibrators' own noise."""
    draws = min(settings.draws, REFITS)
    table = bootstrap_recalibrated(test, method, prevalence, seed=settings.seed, draws=draws, unit="group")
    frame, _ = recalibrate(test, method, settings.seed, prevalence)
    name = method if prevalence == BALANCED else f"{method}, prior shifted"
    return {"p": name, **_row(table, frame, "p_cal", prevalence, settings)}


def _row(
    table: pd.DataFrame,
    frame: pd.DataFrame,
    column: str,
    prevalence: float,
    settings: Settings,
    meant: float | None = None,
) -> dict[str, Any]:
    row: dict[str, Any] = {"prevalence": prevalence}
    for own in records(table[table["metric"].isin(QUALITIES)]):
        name = own["metric"]
        row |= {name: own["value"], f"{name}_low": own["low"], f"{name}_high": own["high"]}
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
