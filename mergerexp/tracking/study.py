"""A study: its runs, their predictions, and which of these the numbers of a report are computed from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from mergerexp.errors import UserError
from mergerexp.frames import records
from mergerexp.tracking.arms import RunSettings, is_network
from mergerexp.tracking.selection import Gap
from mergerexp.tracking.store_file import SYNC


@dataclass(frozen=True)
class PooledPredictions:
    """The test predictions of one arm at its largest training set, with all folds pooled.

    Attributes
    ----------
    all_seeds
        The predictions of the seeds that all folds have, so that every fold counts alike. Where the folds
        have no seed in common, these are the predictions of each fold's first seed.
    first_seed
        The predictions of each fold's first seed among these.
    """

    all_seeds: pd.DataFrame
    first_seed: pd.DataFrame

    @classmethod
    def of(cls, test: pd.DataFrame) -> PooledPredictions:
        """Choose the seeds from all test predictions of an arm at its largest training set."""
        folds_of = test.groupby("seed")["fold"].nunique()
        is_shared = test["seed"].isin(folds_of.index[folds_of == test["fold"].nunique()])
        pooled: pd.DataFrame = test[is_shared] if is_shared.any() else test[_is_first_seed(test)]
        return cls(pooled, pooled[_is_first_seed(pooled)])


@dataclass(frozen=True)
class Study:
    """The runs of a study.

    Attributes
    ----------
    name, uri, experiment_id
        The name and ID of the MLflow experiment, and the address of its store.
    runs
        The finished runs, one per row, with the columns arm, subset, seed, fold, n_train, run_id, run_name,
        started, ended, seconds, epochs, commit and device.
    gaps
        What is missing from the study or was left out of it.
    settings, tags, metrics
        The settings, tags and metrics of each run, by its run_id.
    predictions
        The predictions, with a row for each galaxy and run and the columns arm, subset, n_train, seed, fold,
        split, objid, group, label and p_m, and file where the data set has files. It is empty until
        `StudyReader.with_predictions` has read them.
    """

    name: str
    uri: str
    experiment_id: str
    runs: pd.DataFrame
    gaps: list[Gap]
    settings: dict[str, dict[str, str]]
    tags: dict[str, dict[str, str]]
    metrics: dict[str, dict[str, float]]
    predictions: pd.DataFrame

    @property
    def serious_gaps(self) -> list[Gap]:
        """The gaps that more than a part of a report suffers from."""
        return [gap for gap in self.gaps if not gap.is_minor]

    def check_arms(self, names: Sequence[str], key: str) -> None:
        """Refuse arms that the study does not have.

        Parameters
        ----------
        names
            The names of the arms.
        key
            The setting that asks for them.

        Raises
        ------
        UserError
            If there is no such arm.
        """
        for name in names:
            if name not in self.arms:
                raise UserError(f"{key}: no method {name}; there are {', '.join(map(_quoted, self.arms))}")

    def check_whole(self) -> None:
        """Refuse a study with serious gaps.

        Raises
        ------
        UserError
            With a line for each such gap.
        """
        if not (serious := self.serious_gaps):
            return
        hint = (
            "the study is not complete: allow_partial=true makes a report of what there is, with the newest "
            "run where there are several"
        )
        kinds = {gap.kind for gap in serious}
        hints = [SYNC] if kinds & {"missing", "unfinished", "damaged"} else []
        if "foreign" in kinds:
            hints.append(
                "where= or sweep= chooses runs that belong together, as in 'where={data.name: lenses}'"
            )
        raise UserError("\n".join(map(str, serious)), *hints, hint)

    @property
    def class_names(self) -> tuple[str, str]:
        """The names of the classes with the labels 1 and 0."""
        tags = self.tags[self.runs["run_id"].iloc[0]]
        return tags["mergerexp.data.positive"], tags["mergerexp.data.negative"]

    @property
    def has_page(self) -> bool:
        """Tell whether the runs have addresses that a browser can open."""
        return self.uri.startswith("http")

    @property
    def arms(self) -> list[str]:
        """The names of the arms."""
        return list(self.runs["arm"].unique())

    @property
    def has_several_seeds(self) -> bool:
        """Tell whether the runs have more than one seed."""
        return len(set(self.runs["seed"])) > 1

    @property
    def settings_of_arms(self) -> dict[str, RunSettings]:
        """The settings of each arm, taken from its first run."""
        first = records(self.runs.drop_duplicates("arm"))
        return {run["arm"]: self.settings[run["run_id"]] for run in first}

    @property
    def networks(self) -> list[str]:
        """The names of the arms that are networks."""
        return [arm for arm, settings in self.settings_of_arms.items() if is_network(settings)]

    @property
    def runs_of_networks(self) -> pd.DataFrame:
        """The runs that trained networks."""
        return self.runs[self.runs["arm"].isin(self.networks)]

    @cached_property
    def pooled(self) -> dict[str, PooledPredictions]:
        """The test predictions of each arm that its scores are computed from."""
        test = at_largest_size(self.predictions[self.predictions["split"] == "test"])
        return {str(arm): PooledPredictions.of(part) for arm, part in test.groupby("arm", sort=False)}


def at_largest_size(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows, either runs or predictions, that belong to the largest training set of their arm."""
    return rows[rows["subset"] == rows.groupby("arm")["subset"].transform("max")]


def _is_first_seed(test: pd.DataFrame) -> pd.Series:
    """Tell of each prediction whether its seed is the first one of its fold."""
    return test["seed"] == test.groupby("fold")["seed"].transform("min")


def _quoted(arm: str) -> str:
    """Return an arm's name as the command line takes it."""
    return f'"{arm}"' if re.search(r"[^\w.-]", arm) else arm
