"""All numbers of a study, computed from its stored predictions by `mergerexp.analysis`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import pandas as pd

from mergerexp.analysis.degradation_curves import robustness_curves
from mergerexp.analysis.fold_errors import learning_table
from mergerexp.analysis.learning_curve import LearningCurve, fit_learning_curve
from mergerexp.analysis.lesion import Comparison, compare_arms
from mergerexp.errors import UserError
from mergerexp.report.measures import Measures, measuring
from mergerexp.report.quality import Quality
from mergerexp.report.settings import AggregationSettings
from mergerexp.report.words import Words
from mergerexp.tracking.study import Study

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StudyResults:
    """What the tables, figures and pages of a study show.

    Attributes
    ----------
    study, settings
        The study and the settings from which everything was computed.
    arms
        The names of the arms, beginning with those that are compared or should have been.
    networks
        The names of the arms that are networks.
    scores
        The scores of each arm at its largest size, with the columns arm, n_train, at, prevalence, metric,
        mean, sem, folds, pooled, low and high.
    learning
        The test errors at each size; see `mergerexp.analysis.fold_errors.learning_table`.
    comparison
        The tests of the lesion study; see `mergerexp.analysis.lesion.compare_arms`. None where no two arms
        are compared.
    power_laws
        The fitted learning curves, by arm.
    quality
        The quality of the networks' probabilities, by arm.
    robustness
        The errors on degraded test images; see `mergerexp.analysis.degradation_curves`. None where they were
        not measured.
    histories
        The epochs of the networks' training; see `mergerexp.tracking.study_artifacts.read_histories`.
    examples
        The galaxies to show for each network; see `mergerexp.tracking.study_artifacts.read_examples`.
    notes
        Sentences on what could not be computed.
    """

    study: Study
    settings: AggregationSettings
    arms: list[str]
    networks: list[str]
    scores: pd.DataFrame
    learning: pd.DataFrame
    comparison: Comparison | None
    power_laws: dict[str, LearningCurve]
    quality: dict[str, Quality]
    robustness: pd.DataFrame | None
    histories: pd.DataFrame
    examples: dict[str, pd.DataFrame]
    notes: list[str]

    @property
    def compared(self) -> list[str]:
        """The two arms that the tests of the lesion study compare; none where there are no such two."""
        return self.arms[:2] if self.comparison else []

    @property
    def words(self) -> Words:
        """The words for the two classes."""
        return Words.of(*self.study.class_names)

    @property
    def is_published_sample(self) -> bool:
        """Tell whether the data set of all runs declares itself the sample of the published numbers."""
        configs = (self.study.settings[run_id] for run_id in self.study.runs["run_id"])
        return all(config.get("data.published_sample") == "True" for config in configs)

    @property
    def with_published(self) -> bool:
        """Tell whether the published numbers stand beside those of the study."""
        asked = self.settings.published
        return self.is_published_sample if asked is None else asked

    @property
    def has_several_sizes(self) -> bool:
        """Tell whether there are training sets of more than one size."""
        return len(set(self.learning["subset"])) > 1

    @property
    def is_published_comparison(self) -> bool:
        """Tell whether the published tests, of pretrained against random weights, are shown."""
        weights = [_weights(self.study, arm) for arm in self.compared]
        return self.with_published and weights == ["pretrained", "random"]

    @property
    def rated(self) -> str | None:
        """The arm whose probabilities are examined, which is the first network with enough galaxies."""
        return next((arm for arm in self.arms if arm in self.quality), None)

    @property
    def pictured(self) -> str | None:
        """The arm whose galaxies are shown, which is the first with images."""
        return next((arm for arm in self.arms if arm in self.examples), None)

    @property
    def calibration(self) -> pd.DataFrame:
        """The scores of all networks' probabilities, with the arm in a column; see `Quality.scores`."""
        tables = [quality.scores.assign(arm=arm) for arm, quality in self.quality.items()]
        return pd.concat([pd.DataFrame(), *tables], ignore_index=True)

    @property
    def headline(self) -> str:
        """The arm that the study is about."""
        return self.arms[0]


def compute(
    study: Study,
    settings: AggregationSettings,
    degraded: pd.DataFrame | None = None,
    histories: pd.DataFrame | None = None,
    examples: dict[str, pd.DataFrame] | None = None,
    measured: Callable[[], Measures] | None = None,
) -> StudyResults:
    """Compute all numbers of a study.

    Parameters
    ----------
    study
        A study with predictions.
    settings
        What the aggregation was asked for.
    degraded
        The ratings of degraded test images; see `mergerexp.tracking.study_artifacts.read_robustness`.
    histories
        The epochs of training; see `mergerexp.tracking.study_artifacts.read_histories`.
    examples
        The galaxies to show; see `mergerexp.tracking.study_artifacts.read_examples`.
    measured
        What `mergerexp.report.measures.measuring` yields; None to measure the arms now, in this process.

    Raises
    ------
    UserError
        If the arms that should be compared are not there or can't be compared.
    """
    compared = _compared(study, settings.compare)
    first = compared or study.networks[:1]
    arms = [*first, *(arm for arm in study.arms if arm not in first)]
    networks = [arm for arm in arms if arm in study.networks]
    log.info("computing the lesion study, and scores and calibration with their intervals")
    learning = learning_table(study.predictions)
    laws, notes = _power_laws(learning, study.networks)
    comparison = _compare(study, compared, settings, notes) if compared else None
    with measuring(study, settings, None) if measured is None else nullcontext(measured) as finish:
        found = finish()
    unexamined = [(arm, found.unexamined[arm]) for arm in networks if arm in found.unexamined]
    notes += [f"The calibration of {arm} is not examined: {reason}." for arm, reason in unexamined]
    return StudyResults(
        study=study,
        settings=settings,
        arms=arms,
        networks=networks,
        scores=pd.concat([found.scores[arm] for arm in arms], ignore_index=True),
        learning=learning,
        comparison=comparison,
        power_laws=laws,
        quality={arm: found.quality[arm] for arm in networks if arm in found.quality},
        robustness=None if degraded is None else robustness_curves(degraded),
        histories=pd.DataFrame() if histories is None else histories,
        examples=examples or {},
        notes=notes,
    )


def _compared(study: Study, asked: Sequence[str] | None) -> Sequence[str]:
    """Return the two arms to compare: those asked for, or else those of pretrained and random weights."""
    if asked:
        study.check_arms(asked, "compare")
        return asked
    networks = study.networks
    pretrained = [arm for arm in networks if _weights(study, arm) == "pretrained"]
    random = [arm for arm in networks if _weights(study, arm) == "random"]
    if len(pretrained) == len(random) == 1:
        return pretrained + random
    if {"imagenet", "random"} <= set(networks):
        return ["imagenet", "random"]
    return networks if len(networks) == 2 else []


def _weights(study: Study, arm: str) -> str | None:
    return study.settings_of_arms[arm].get("init.weights")


def _test_to_train(study: Study) -> dict[float, float]:
    """Return n_test / n_train for each subset: of K folds, one is for testing and one for validation."""
    settings = study.settings[study.runs["run_id"].iloc[0]]
    whole = 1 / (int(settings["split.folds"]) - 2)
    subsets = study.runs["subset"].unique()
    if settings["split.subset_of"] != "train":
        return dict.fromkeys(subsets, whole)
    if settings["split.negatives"] == "matched":
        # Negatives are left out of the training folds only, while the test folds keep all of them.
        rare = study.predictions["label"].mean()
        whole *= max(1.0, 0.5 / rare)
    return {subset: whole / subset for subset in subsets}


def _compare(
    study: Study, arms: Sequence[str], settings: AggregationSettings, notes: list[str]
) -> Comparison | None:
    """Compare two arms; note that they share nothing, where nobody asked for these two."""
    better, worse = arms
    ratios = _test_to_train(study)
    try:
        return compare_arms(
            study.predictions, better, worse, seed=settings.seed, draws=settings.draws, test_to_train=ratios
        )
    except ValueError as reason:
        if settings.compare is not None:
            raise UserError(f"compare: {reason}") from reason
        notes.append(f"No two methods are compared: {reason}.")
        return None


def _power_laws(learning: pd.DataFrame, arms: list[str]) -> tuple[dict[str, LearningCurve], list[str]]:
    """Fit a power law to the errors of each arm; the second result says to which arms none can be fitted."""
    if len(set(learning["subset"])) == 1:  # a study of one size is not about a curve
        return {}, []
    laws: dict[str, LearningCurve] = {}
    without: dict[str, list[str]] = {}
    for arm in arms:
        errors = learning[learning["arm"] == arm]
        try:
            laws[arm] = fit_learning_curve(errors["n_train"], errors["error"], errors["sem"])
        except ValueError as reason:
            without.setdefault(str(reason), []).append(arm)
    notes = [f"No power law is fitted to {' and '.join(names)}: {why}." for why, names in without.items()]
    return laws, notes
