"""All numbers of a study, computed from its stored predictions by `mergerexp.analysis`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd

from mergerexp.analysis.degradation_curves import robustness_curves
from mergerexp.analysis.fold_errors import learning_table
from mergerexp.analysis.intervals import bootstrap_scores, mean_sem
from mergerexp.analysis.learning_curve import LearningCurve, fit_learning_curve
from mergerexp.analysis.lesion import Comparison, compare_arms
from mergerexp.analysis.metrics import auroc, scores
from mergerexp.errors import UserError
from mergerexp.frames import records
from mergerexp.report.quality import BALANCED, Quality, Settings, measure_quality
from mergerexp.report.words import Words
from mergerexp.tracking.arms import is_network
from mergerexp.tracking.study import Study

SCORES = ("recall", "precision", "f1", "error", "auroc")


@dataclass(frozen=True)
class Results:
    """What the tables, figures and pages of a study show.

    Attributes
    ----------
    study, settings
        What they were computed from.
    arms
        Names, the compared ones first.
    networks
        Those that are networks.
    compared
        The two arms of the lesion study's tests; None where there are no such two.
    scores
        arm, n_train, prevalence, metric, mean, sem, folds, pooled, low, high: at each arm's largest size.
    learning
        See `mergerexp.analysis.lesion.learning_table`.
    comparison
        See `mergerexp.analysis.lesion.compare_arms`.
    power_laws
        Fitted learning curves, by arm.
    quality
        By arm.
    robustness
        Degraded test images, see `mergerexp.analysis.degradation_curves`; None where it was not measured.
    histories
        Epochs of the networks' training, see `mergerexp.report.examples.read_histories`.
    """

    study: Study
    settings: Settings
    arms: list[str]
    networks: list[str]
    compared: tuple[str, str] | None
    scores: pd.DataFrame
    learning: pd.DataFrame
    comparison: Comparison | None
    power_laws: dict[str, LearningCurve]
    quality: dict[str, Quality]
    robustness: pd.DataFrame | None = None
    histories: pd.DataFrame = field(default_factory=pd.DataFrame)
    notes: list[str] = field(default_factory=list)

    @property
    def words(self) -> Words:
        """What its classes are called."""
        return Words.of(*self.study.class_names)

    @property
    def is_published_sample(self) -> bool:
        """Whether the data set of all runs declares itself the sample of the published numbers."""
        configs = (self.study.settings[run_id] for run_id in self.study.runs["run_id"])
        return all(config.get("data.published_sample") == "True" for config in configs)

    @property
    def with_published(self) -> bool:
        """Whether the published numbers stand beside ours."""
        asked = self.settings.published
        return self.is_published_sample if asked is None else asked

    @property
    def is_papers(self) -> bool:
        """Whether the published tests stand beside ours: of pretrained weights against random ones."""
        weights = _weights(self.study)
        compared = [weights[arm] for arm in self.compared or ()]
        return self.with_published and compared == ["pretrained", "random"]

    @property
    def rated(self) -> str | None:
        """The arm whose probabilities are looked at: the first network."""
        return next((arm for arm in self.arms if arm in self.quality), None)

    @property
    def headline(self) -> str:
        """The arm that the study is about."""
        return self.arms[0]


def compute(
    study: Study,
    settings: Settings,
    degraded: pd.DataFrame | None = None,
    histories: pd.DataFrame | None = None,
    step: Callable[[str], None] = lambda what: None,
) -> Results:
    """Compute everything from a study with predictions.

    Parameters
    ----------
    study
        With predictions.
    settings
        What was asked for.
    degraded
        Ratings of degraded test images, see `mergerexp.report.examples.read_robustness`.
    histories
        Epochs of training, see `mergerexp.report.examples.read_histories`.
    step
        Told what is being computed, for a progress report.

    Raises
    ------
    UserError
        If the arms to compare, as they were asked for, are not there or can't be compared.
    """
    networks = _networks(study)
    compared = _compared(study, settings.compare, networks)
    every = list(study.runs["arm"].unique())
    first = list(compared or networks[:1])
    arms = first + [arm for arm in every if arm not in first]
    step("the lesion study")
    learning = learning_table(study.predictions)
    laws, notes = _power_laws(learning, networks)
    comparison = None if compared is None else _compare(study, compared, settings, notes)
    if comparison is None:
        compared = None
    step("scores and their intervals")
    scores = pd.concat([_scores(study, arm, settings) for arm in arms], ignore_index=True)
    quality = {}
    for arm in (arm for arm in arms if arm in networks):
        step(f"calibration of {arm}")
        try:
            quality[arm] = measure_quality(largest(study.predictions, arm), settings)
        except ValueError as reason:
            notes.append(f"The calibration of {arm} is not looked at: {reason}.")
    return Results(
        study=study,
        settings=settings,
        arms=arms,
        networks=[arm for arm in arms if arm in networks],
        compared=compared,
        scores=scores,
        learning=learning,
        comparison=comparison,
        power_laws=laws,
        quality=quality,
        robustness=None if degraded is None else robustness_curves(degraded),
        histories=pd.DataFrame() if histories is None else histories,
        notes=notes,
    )


def largest(predictions: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Return the test predictions of an arm at its largest size, of the seeds that all its folds have.

    Where there is no such seed, those of each fold's first: pooled folds have to count alike.
    """
    own = predictions[(predictions["arm"] == arm) & (predictions["split"] == "test")]
    own = own[own["subset"] == own["subset"].max()]
    folds_of = own.groupby("seed")["fold"].nunique()
    shared = own["seed"].isin(folds_of.index[folds_of == own["fold"].nunique()])
    if not shared.any():
        shared = own["seed"] == own.groupby("fold")["seed"].transform("min")
    pooled: pd.DataFrame = own[shared]
    return pooled


def _networks(study: Study) -> list[str]:
    first = records(study.runs.drop_duplicates("arm"))
    return [row["arm"] for row in first if is_network(study.settings[row["run_id"]])]


def _compared(study: Study, asked: tuple[str, str] | None, networks: list[str]) -> tuple[str, str] | None:
    known = list(study.runs["arm"].unique())
    if asked is not None:
        for arm in asked:
            if arm not in known:
                raise UserError(f"compare: no arm {arm}; there are {', '.join(map(_quoted, known))}")
        return asked
    weights = _weights(study)
    pretrained = [arm for arm in networks if weights[arm] == "pretrained"]
    random = [arm for arm in networks if weights[arm] == "random"]
    if len(pretrained) == len(random) == 1:
        return pretrained[0], random[0]
    if {"imagenet", "random"} <= set(networks):
        return "imagenet", "random"
    return (networks[0], networks[1]) if len(networks) == 2 else None


def _quoted(arm: str) -> str:
    """Return an arm's name as the command line takes it."""
    return f'"{arm}"' if re.search(r"[^\w.-]", arm) else arm


def _weights(study: Study) -> dict[str, str | None]:
    first = records(study.runs.drop_duplicates("arm"))
    return {row["arm"]: study.settings[row["run_id"]].get("init.weights") for row in first}


def _test_to_train(study: Study) -> dict[float, float]:
    """Return n_test / n_train of each subset: of K folds one is for testing, one for validation."""
    settings = study.settings[study.runs["run_id"].iloc[0]]
    whole = 1 / (int(settings["split.folds"]) - 2)
    subsets = study.runs["subset"].unique()
    if settings["split.subset_of"] != "train":
        return dict.fromkeys(subsets, whole)
    if settings["split.negatives"] == "matched":  # in training; test folds are whole, with all negatives
        rare = study.predictions["label"].mean()
        whole *= max(1.0, 0.5 / rare)
    return {subset: whole / subset for subset in subsets}


def _compare(study: Study, arms: tuple[str, str], settings: Settings, notes: list[str]) -> Comparison | None:
    """Compare two arms; where nobody asked for these two and they share nothing, note that."""
    try:
        return compare_arms(
            study.predictions,
            *arms,
            seed=settings.seed,
            draws=settings.draws,
            test_to_train=_test_to_train(study),
        )
    except ValueError as reason:
        if settings.compare is not None:
            raise UserError(f"compare: {reason}") from reason
        notes.append(f"No two arms are compared: {reason}.")
        return None


def _power_laws(learning: pd.DataFrame, arms: list[str]) -> tuple[dict[str, LearningCurve], list[str]]:
    laws: dict[str, LearningCurve] = {}
    without: dict[str, list[str]] = {}
    for arm in arms:
        own = learning[learning["arm"] == arm]
        try:
            laws[arm] = fit_learning_curve(own["n_train"], own["error"], own["sem"])
        except ValueError as reason:
            without.setdefault(str(reason), []).append(arm)
    return laws, [f"No power law is fitted to {' and '.join(own)}: {why}." for why, own in without.items()]


def _scores(study: Study, arm: str, settings: Settings) -> pd.DataFrame:
    """Score an arm at its largest size: mean and SEM over folds, and pooled with bootstrap intervals."""
    test = largest(study.predictions, arm)
    truth = test["label"].mean()
    parts = []
    for name, prevalence in (("balanced", BALANCED), ("data set", None), ("survey", settings.prevalence)):
        folds = [
            {"fold": fold, **_fold_scores(part, prevalence)}
            for (fold, _), part in test.groupby(["fold", "seed"])
        ]
        by_fold = pd.DataFrame(folds).groupby("fold").mean()  # the seeds of a fold are one measurement
        pooled = bootstrap_scores(
            test["label"],
            test["p_m"],
            test["fold"],
            prevalence,
            seed=settings.seed,
            draws=settings.draws,
            unit=test["group"],
        ).set_index("metric")
        for metric in SCORES:
            mean, sem = mean_sem(by_fold[metric])
            value, low, high = pooled.loc[metric, ["value", "low", "high"]]
            row = {"arm": arm, "n_train": round(test["n_train"].mean()), "at": name}
            row |= {"prevalence": truth if prevalence is None else prevalence, "metric": metric}
            row |= {
                "mean": mean,
                "sem": sem,
                "folds": len(by_fold),
                "pooled": value,
                "low": low,
                "high": high,
            }
            parts.append(row)
    return pd.DataFrame(parts)


def _fold_scores(part: pd.DataFrame, prevalence: float | None) -> dict[str, float]:
    return {**scores(part["label"], part["p_m"], prevalence), "auroc": auroc(part["label"], part["p_m"])}
