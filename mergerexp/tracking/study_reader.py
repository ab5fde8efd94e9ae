"""Reading a study back: its runs, their stored predictions and whatever files they keep."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.entities import Run

from mergerexp.console import ProgressReport
from mergerexp.errors import NO_ROOM, UserError, describe
from mergerexp.frames import records
from mergerexp.runs.run_folder import PREDICTIONS
from mergerexp.tracking.arms import CELL
from mergerexp.tracking.selection import Gap, run_title, runs_of_sweep, runs_with_setting, select
from mergerexp.tracking.store_file import SYNC
from mergerexp.tracking.stored_predictions import ConsistencyCheck, read_predictions
from mergerexp.tracking.study import Study

DOWNLOADS = 8  # how many files are read at once


class StudyReader(ABC):
    """Reads a study from where its runs are recorded; see the classes derived from it.

    Attributes
    ----------
    name
        The name of the experiment.
    uri
        The address or folder of the record.
    """

    name: str
    uri: str

    @abstractmethod
    def _runs(self) -> tuple[str, Sequence[Run]]:
        """Return the ID of the experiment, and all runs that may belong to a study."""

    @abstractmethod
    def _fetch(self, run_id: str, name: str, folder: Path) -> Path:
        """Put a file of a run into a folder, check its hash, and return its path."""

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
        experiment_id, found = self._runs()
        if sweep is not None:
            found = runs_of_sweep(found, sweep)
        for key, value in (where or {}).items():
            found = runs_with_setting(found, str(key), value)
        runs, gaps = select(found)
        return Study(
            name=self.name,
            uri=self.uri,
            experiment_id=experiment_id,
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

    def download(self, run_id: str, name: str, folder: Path) -> Path:
        """Put a file of a run into a folder, and check that it is as it was recorded.

        Raises
        ------
        UserError
            If the file is not there or not as it was recorded, or MLflow does not answer.
        """
        return self._fetch(run_id, name, folder)

    def artifacts(self, runs: pd.DataFrame, name: str, read: Callable[[Path], Any]) -> dict[str, Any]:
        """Fetch a file of each run, check that it is as it was recorded, and read it.

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
                    return run_id, read(self._fetch(run_id, name, Path(folder)))
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
