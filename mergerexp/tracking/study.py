"""A study as MLflow has it: which runs belong to it, what is missing, and their stored predictions."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.entities import Run

from mergerexp.analysis.metrics import scores
from mergerexp.config.schema import TrackingConfig
from mergerexp.console import ProgressReport
from mergerexp.errors import NO_ROOM, UserError, describe, without_credentials
from mergerexp.frames import records
from mergerexp.seals import sha256
from mergerexp.tracking.arms import CELL
from mergerexp.tracking.record import HASH
from mergerexp.tracking.selection import Gap, cell_name, of_sweep, select, with_setting
from mergerexp.tracking.store import SYNC, open_store
from mergerexp.tracking.store_file import StoreFile

log = logging.getLogger(__name__)
DOWNLOADS = 8  # at once
ROBUSTNESS = "robustness.parquet"  # p_m of degraded test images, where they have been measured
COLUMNS = ["objid", "group", "split", "label", "p_m"]


@dataclass(frozen=True)
class Study:
    """The runs of a study.

    Attributes
    ----------
    name, uri, experiment_id
        The experiment's.
    runs
        A row a finished run: arm, subset, seed, fold, n_train, run_id, run_name, started, seconds, epochs,
        commit, device.
    gaps
        What is missing or was left out.
    settings, tags, metrics
        Of each run, by run_id.
    predictions
        A row a galaxy and run: arm, subset, n_train, seed, fold, split, objid, group, label, p_m.
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
    def class_names(self) -> tuple[str, str]:
        """What labels 1 and 0 stand for."""
        own = self.tags[self.runs["run_id"].iloc[0]]
        return own["mergerexp.data.positive"], own["mergerexp.data.negative"]

    @property
    def has_page(self) -> bool:
        """Tell whether the runs have addresses that a browser can open."""
        return self.uri.startswith("http")


class StudyReader:
    """Reads a study from an MLflow store.

    Parameters
    ----------
    tracking
        The store, and the experiment.
    """

    def __init__(self, tracking: TrackingConfig) -> None:
        self.tracking = tracking
        with self._answering():
            self.client, uri = open_store(tracking, create=False)
        self.uri = without_credentials(uri).rstrip("/")

    def find(self, sweep: str | None = None, where: Mapping[str, Any] | None = None) -> Study:
        """Choose the runs of a study, and say what it lacks; predictions are empty.

        Parameters
        ----------
        sweep
            Beginning of a sweep's id: only its runs.
        where
            Only runs with these settings, or one of a list of values; ``tags.NAME`` asks for a tag.

        Raises
        ------
        UserError
            If there is no such experiment, sweep, setting or run.
        """
        with self._answering():
            experiment = self.client.get_experiment_by_name(self.tracking.experiment)
            assert experiment is not None  # open_store looked
            found = self._search(experiment.experiment_id)
        if experiment.lifecycle_stage == "deleted":
            raise UserError(
                f"experiment {self.tracking.experiment} in {self.uri} is deleted; MLflow can restore it"
            )
        if not found:
            raise UserError(f"experiment {self.tracking.experiment} in {self.uri} has no runs; {SYNC}")
        if sweep is not None:
            found = of_sweep(found, sweep)
        for key, value in (where or {}).items():
            found = with_setting(found, str(key), value)
        runs, gaps = select(found)
        return Study(
            name=self.tracking.experiment,
            uri=self.uri,
            experiment_id=experiment.experiment_id,
            runs=runs,
            gaps=gaps,
            settings={run.info.run_id: dict(run.data.params) for run in found},
            tags={run.info.run_id: dict(run.data.tags) for run in found},
            metrics={run.info.run_id: dict(run.data.metrics) for run in found},
            predictions=pd.DataFrame(),
        )

    def with_predictions(self, study: Study) -> Study:
        """Read the predictions of a study's runs; runs whose predictions can't be used become gaps."""
        content = self.artifacts(study.runs, "predictions.parquet", read_predictions)
        parts, gaps = [], list(study.gaps)
        truth: dict[int, int] = {}
        tested: dict[tuple[Any, ...], dict[int, int]] = {}
        for row in records(study.runs):
            found = content[row["run_id"]]
            if isinstance(found, Exception):
                problem: str | None = describe(found)
            else:
                before = tested.setdefault((row["arm"], row["subset"], row["seed"]), {})
                problem = (
                    _contradiction(found, truth)
                    or _not_as_recorded(found, study.metrics[row["run_id"]])
                    or _tested_before(found, row["fold"], before)
                )
            if problem is not None:
                gaps.append(Gap("damaged", f"{cell_name(row)} (run {row['run_id'][:8]}): {problem}"))
                continue
            truth.update(zip(found["objid"].tolist(), found["label"].tolist(), strict=True))
            own = {key: row[key] for key in ("arm", "subset", "n_train", "seed", "fold")}
            parts.append(found.assign(**own))
        if not parts:
            raise UserError("\n".join(["no run has predictions that can be read:", *map(str, gaps), SYNC]))
        predictions = pd.concat(parts, ignore_index=True)
        read = predictions[["arm", *CELL]].drop_duplicates()
        runs = study.runs.merge(read, on=["arm", *CELL])
        return replace(study, runs=runs, gaps=gaps, predictions=predictions)

    def has(self, run_id: str, name: str) -> bool:
        """Tell whether a run has an artifact.

        Raises
        ------
        UserError
            If MLflow does not answer.
        """
        with self._answering():
            found = [file.path for file in self.client.list_artifacts(run_id)]
        return name in found

    def check_writable(self) -> None:
        """Refuse a store in a file where nothing can be kept with the runs.

        Raises
        ------
        UserError
            Saying so.
        """
        file = StoreFile.of(self.tracking.uri)
        if file is not None and not file.is_writable():
            raise UserError(
                f"{file.path} and its folder can't be written, and what is measured is kept there"
            )

    def download(self, run_id: str, name: str, folder: Path) -> Path:
        """Download a file of a run, and see that it is as it was logged.

        Raises
        ------
        UserError
            If it is not, or MLflow does not know how it was.
        Exception
            Whatever the store raises where it does not answer or has no such file.
        """
        path = Path(self.client.download_artifacts(run_id, name, str(folder)))
        expected = self.client.get_run(run_id).data.tags.get(f"{HASH}{name}")
        if expected is None:
            raise UserError(f"MLflow lacks the hash of {name}: {SYNC}")
        if sha256(path) != expected:
            raise UserError(
                f"{name} in MLflow is damaged, or was changed since it was logged: its hash is another"
            )
        return path

    def artifacts(self, runs: pd.DataFrame, name: str, read: Callable[[Path], Any]) -> dict[str, Any]:
        """Download a file of each run, see that it is as it was logged, and read it.

        Returns
        -------
        dict
            By run_id; an exception instead of the content where a run lacks the file or it is damaged.
        """

        def fetch(run_id: str) -> tuple[str, Any]:
            try:
                with tempfile.TemporaryDirectory() as folder:
                    return run_id, read(self.download(run_id, name, Path(folder)))
            except Exception as error:  # the store's drivers and parsers raise many kinds
                if isinstance(error, OSError) and error.errno in NO_ROOM:
                    raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from error
                return run_id, error

        with (
            ThreadPoolExecutor(DOWNLOADS) as pool,
            ProgressReport(f"reading {name}", len(runs)) as progress,
        ):
            content = {}
            for run_id, value in pool.map(fetch, runs["run_id"]):
                content[run_id] = value
                progress.advance(1)
        return content

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Say in one line what the store's drivers raise when it does not answer."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            where, why = without_credentials(str(self.tracking.uri)), describe(error)
            raise UserError(f"{where}: MLflow does not answer ({why})") from error

    def _search(self, experiment_id: str) -> list[Run]:
        found: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs([experiment_id], max_results=1000, page_token=token)
            found.extend(page)
            token = page.token
            if not token:
                return found


def read_predictions(path: Path) -> pd.DataFrame:
    """Read the predictions of a run.

    Raises
    ------
    UserError
        If columns are missing or values are out of range.
    """
    predictions = pd.read_parquet(path)
    if missing := set(COLUMNS) - set(predictions.columns):
        raise UserError(f"predictions.parquet lacks the columns {', '.join(sorted(missing))}")
    if not predictions["p_m"].between(0, 1).all() or not predictions["label"].isin((0, 1)).all():
        raise UserError("predictions.parquet has p_m outside [0, 1] or labels other than 0 and 1")
    if set(predictions["split"]) != {"val", "test"}:
        raise UserError("predictions.parquet needs rows of the splits val and test, and no others")
    if predictions["objid"].duplicated().any():
        raise UserError("predictions.parquet rates an object twice")
    return predictions[COLUMNS]


def _not_as_recorded(predictions: pd.DataFrame, metrics: Mapping[str, float]) -> str | None:
    """Tell how predictions differ from those that the run's own metrics were computed from, if they do."""
    if "train/n_balanced" not in metrics:
        return "MLflow lacks its metrics"
    for name, part in predictions.groupby("split"):
        mergers = int(part["label"].sum())
        counts = {"n_mergers": mergers, "n_noninteracting": len(part) - mergers}
        expected = {key: metrics.get(f"{name}/{key}", value) for key, value in counts.items()}
        if counts != expected:
            return (
                f"predictions.parquet has {mergers} + {len(part) - mergers} objects of the two classes in "
                f"its {name} fold, not {expected['n_mergers']:.0f} + {expected['n_noninteracting']:.0f}"
            )
        if not mergers or mergers == len(part):
            return f"its {name} fold has objects of one class only"
        error = scores(part["label"], part["p_m"])["error"]
        if not math.isclose(error, metrics.get(f"{name}/error", error), abs_tol=1e-6):
            return f"predictions.parquet has not the {name} error that the run had"
    return None


def _tested_before(predictions: pd.DataFrame, fold: int, tested: dict[int, int]) -> str | None:
    """Tell which other fold has the same test objects, if one does."""
    own = predictions.loc[predictions["split"] == "test", "objid"].tolist()
    twice = [objid for objid in own if objid in tested]
    if twice:
        return f"object {twice[0]} is in the test fold {tested[twice[0]]} too ({len(twice)} such objects)"
    tested.update(dict.fromkeys(own, fold))
    return None


def _contradiction(predictions: pd.DataFrame, truth: dict[int, int]) -> str | None:
    """Tell how a run's labels disagree with those of the runs before it, if they do."""
    own = dict(zip(predictions["objid"].tolist(), predictions["label"].tolist(), strict=True))
    wrong = [objid for objid, label in own.items() if truth.get(objid, label) != label]
    if wrong:
        return f"the label of object {wrong[0]} is not that of other runs ({len(wrong)} such objects)"
    return None
