"""Reading a study back from MLflow: its runs, their stored predictions and whatever files they keep."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.entities import Run

from mergerexp.config.schema import TrackingConfig
from mergerexp.console import ProgressReport
from mergerexp.errors import NO_ROOM, UserError, describe, without_credentials
from mergerexp.frames import records
from mergerexp.runs.run_folder import PREDICTIONS
from mergerexp.seals import sha256
from mergerexp.tracking.arms import CELL
from mergerexp.tracking.pending import problem_to_mend
from mergerexp.tracking.record import HASH, REPORT, authorship, log_file
from mergerexp.tracking.selection import Gap, run_title, runs_of_sweep, runs_with_setting, select
from mergerexp.tracking.store import keep_view, open_store
from mergerexp.tracking.store_file import SYNC, StoreFile
from mergerexp.tracking.stored_predictions import ConsistencyCheck, read_predictions
from mergerexp.tracking.study import Study

DOWNLOADS = 8  # how many files are downloaded at once


class NoAnswerError(UserError):
    """MLflow does not answer."""


class StudyReader:
    """Reads a study from an MLflow store.

    Parameters
    ----------
    tracking
        The store, and the experiment in it.

    Raises
    ------
    UserError
        If there is no such store or experiment, or the store does not answer.
    """

    def __init__(self, tracking: TrackingConfig) -> None:
        self.tracking = tracking
        with self._answering():
            self._client, uri = open_store(tracking, create=False)
        self.uri = without_credentials(uri).rstrip("/")

    def find(self, sweep: str | None = None, where: Mapping[str, Any] | None = None) -> Study:
        """Choose the runs of a study, and say what it lacks; its predictions are not read yet.

        Parameters
        ----------
        sweep
            The beginning of a sweep's ID, to choose the runs of this sweep only.
        where
            Settings that the runs must have, each with a value or a list of values; ``tags.NAME`` asks for a
            tag instead of a setting.

        Raises
        ------
        UserError
            If there is no such experiment, sweep, setting or run.
        """
        with self._answering():
            experiment = self._client.get_experiment_by_name(self.tracking.experiment)
            assert experiment is not None  # `open_store` has seen it
            found = [run for run in self._search(experiment.experiment_id) if REPORT not in run.data.tags]
        if not found:
            raise UserError(f"experiment {self.tracking.experiment} in {self.uri} has no runs; {SYNC}")
        if sweep is not None:
            found = runs_of_sweep(found, sweep)
        for key, value in (where or {}).items():
            found = runs_with_setting(found, str(key), value)
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
        """Read the predictions of a study's runs; runs whose predictions can't be used become gaps.

        Raises
        ------
        UserError
            If no run has predictions that can be used.
        """
        content = self.artifacts(study.runs, PREDICTIONS, read_predictions)
        check = ConsistencyCheck()
        parts, gaps = [], list(study.gaps)
        for run in records(study.runs):
            found, metrics = content[run["run_id"]], study.metrics[run["run_id"]]
            problem = describe(found) if isinstance(found, Exception) else check.problem(run, found, metrics)
            if problem is None:
                cell = {key: run[key] for key in ("arm", "subset", "n_train", "seed", "fold")}
                parts.append(found.assign(**cell))
            else:
                gaps.append(Gap("damaged", f"{run_title(run)}: {problem}"))
        if not parts:
            raise UserError("\n".join(["no run has predictions that can be read:", *map(str, gaps)]), SYNC)
        predictions = pd.concat(parts, ignore_index=True)
        read = predictions[["arm", *CELL]].drop_duplicates()
        runs = study.runs.merge(read, on=["arm", *CELL])
        return replace(study, runs=runs, gaps=gaps, predictions=predictions)

    def has(self, run_id: str, name: str) -> bool:
        """Tell whether a run has an artifact.

        Raises
        ------
        NoAnswerError
            If MLflow does not answer.
        """
        with self._answering():
            return name in [file.path for file in self._client.list_artifacts(run_id)]

    def check_writable(self) -> None:
        """Refuse a store in a file where nothing can be kept with the runs.

        Raises
        ------
        UserError
            If the file or its folder can't be written.
        """
        file = StoreFile.of(self.tracking.uri)
        if file is not None and not file.is_writable():
            raise UserError(
                f"{file.path} and its folder can't be written, and what is measured is kept there"
            )

    def add_artifact(self, run_id: str, path: Path) -> None:
        """Keep a file with a run.

        Raises
        ------
        NoAnswerError
            If MLflow does not answer.
        """
        with self._answering():
            log_file(self._client, run_id, path)

    def add_report(self, study: Study, title: str, report: Path) -> None:
        """Keep a report in the experiment of its study, as the artifact of a run that is no run of the study.

        Parameters
        ----------
        study
            The study.
        title
            The title of the report; an earlier report with this title is replaced.
        report
            The page.

        Raises
        ------
        UserError
            If MLflow does not answer, or the store can't be written.
        """
        self.check_writable()
        with self._answering():
            runs = self._search(study.experiment_id)
            earlier = [run.info.run_id for run in runs if run.data.tags.get(REPORT) == title]
            if earlier:
                run_id = earlier[0]
            else:
                tags = {REPORT: title, **authorship(report, "aggregate")}
                made = self._client.create_run(study.experiment_id, tags=tags, run_name=f"report of {title}")
                run_id = made.info.run_id
            keep_view(self._client, self._client.get_experiment(study.experiment_id))
            self._client.log_artifact(run_id, str(report))
            self._client.set_terminated(run_id)

    def download(self, run_id: str, name: str, folder: Path) -> Path:
        """Download a file of a run, and check that it is as it was logged.

        Raises
        ------
        NoAnswerError
            If MLflow does not answer, or does not deliver such a file.
        UserError
            If the file is not as it was logged, or MLflow does not know its hash.
        """
        with self._answering():
            return self._download(run_id, name, folder)

    def artifacts(self, runs: pd.DataFrame, name: str, read: Callable[[Path], Any]) -> dict[str, Any]:
        """Download a file of each run, check that it is as it was logged, and read it.

        Parameters
        ----------
        runs
            Rows of `Study.runs`.
        name
            The name of the file.
        read
            The function that reads the file.

        Returns
        -------
        dict
            What was read, by run_id. Where a run lacks the file or it is damaged, the exception stands there.
        """

        def fetch(run_id: str) -> tuple[str, Any]:
            try:
                with tempfile.TemporaryDirectory() as folder:
                    return run_id, read(self._download(run_id, name, Path(folder)))
            except Exception as error:  # the drivers of stores and the parsers raise many kinds
                if isinstance(error, OSError) and error.errno in NO_ROOM:
                    raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from error
                return run_id, error

        with ThreadPoolExecutor(DOWNLOADS) as pool, ProgressReport(f"reading {name}", len(runs)) as progress:
            content = {}
            for run_id, value in pool.map(fetch, runs["run_id"]):
                content[run_id] = value
                progress.advance(1)
        return content

    def _download(self, run_id: str, name: str, folder: Path) -> Path:
        """Do what `download` does, but raise whatever the store's driver raises."""
        path = Path(self._client.download_artifacts(run_id, name, str(folder)))
        expected = self._client.get_run(run_id).data.tags.get(f"{HASH}{name}")
        if expected is None:
            raise UserError(f"MLflow lacks the hash of {name}: {SYNC}")
        if sha256(path) != expected:
            raise UserError(
                f"{name} in MLflow is damaged, or was changed since it was logged: its hash does not match"
            )
        return path

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Say in one line what the store's driver raises when the store does not answer."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            if problem := problem_to_mend(error, self.tracking.uri):
                raise NoAnswerError(problem) from error
            where, why = without_credentials(str(self.tracking.uri)), describe(error)
            raise NoAnswerError(f"{where}: MLflow does not answer ({why})") from error

    def _search(self, experiment_id: str) -> list[Run]:
        """Return all runs of an experiment, which MLflow delivers in pages."""
        page = self._client.search_runs([experiment_id])
        found = list(page)
        while page.token:
            page = self._client.search_runs([experiment_id], page_token=page.token)
            found += page
        return found
