"""Measuring how robust the networks of a study are to degraded images, run by run.

The ratings of each network are kept with its run in MLflow, so that a measurement that was interrupted goes
on where it stopped.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mergerexp.batches.images import RAW, ImageStore
from mergerexp.config.schema import RobustnessConfig
from mergerexp.console import ProgressReport
from mergerexp.cores import usable_cores
from mergerexp.data.store import Dataset, find_dataset
from mergerexp.errors import UserError, describe
from mergerexp.evaluation.degraded import passes, rate_degraded
from mergerexp.frames import records
from mergerexp.models.stored import StoredNetwork
from mergerexp.runs.run_folder import MODEL, PREDICTIONS, WEIGHTS
from mergerexp.tracking.mlflow_reader import MlflowReader, NoAnswerError
from mergerexp.tracking.selection import cell_name, run_title
from mergerexp.tracking.stored_predictions import read_predictions
from mergerexp.tracking.study import at_largest_size
from mergerexp.tracking.study_artifacts import ROBUSTNESS
from mergerexp.training.machine import choose_device, set_up_torch

log = logging.getLogger(__name__)

SETTINGS = b"mergerexp.robustness"  # the key of the measurement's settings in the file's metadata
VERSION = 1  # This has to be raised when the same settings come to degrade images differently.


class RobustnessMeasurement:
    """Measures a study by letting every network rate degraded versions of its test images.

    The ratings, as `rate_degraded` returns them, are logged as the artifact `ROBUSTNESS` of the network's
    MLflow run. A run that has ratings with the same settings is left alone.

    Parameters
    ----------
    cfg
        Which study is measured, with which degradations, and how.

    Attributes
    ----------
    rated
        How many networks were measured now.
    before
        How many networks had been measured with the same settings before.
    problems
        A line for each run that could not be measured.

    Raises
    ------
    UserError
        If there is no such device, store, experiment or run.
    """

    def __init__(self, cfg: RobustnessConfig) -> None:
        self.cfg = cfg
        self.device = choose_device(cfg.device, "device")
        set_up_torch(usable_cores())
        self.strengths = {name: getattr(cfg.strengths, name) for name in cfg.degradations}
        self.settings = {"version": VERSION, "seed": cfg.seed, "strengths": self.strengths}
        self.reader = MlflowReader(cfg.tracking)
        self.study = self.reader.find(cfg.sweep, cfg.where)
        self.rated, self.before, self.problems = 0, 0, list[str]()

    def measure(self) -> None:
        """Measure the networks that have not been measured yet.

        Raises
        ------
        UserError
            If the data set is not there, MLflow does not answer, or a network does not reproduce its record.
        """
        for gap in self.study.gaps:
            log.warning("%s", gap)
        try:
            self._measure_networks(self._networks())
        except NoAnswerError as error:
            raise NoAnswerError(f"{error}; the same command goes on from here") from error

    def _measure_networks(self, networks: pd.DataFrame) -> None:
        done = self._measured(networks)
        self.before = len(done)
        left = networks[~networks["run_id"].isin(done)]
        tests = self._read(left, PREDICTIONS, _read_test)
        left = left[left["run_id"].isin(tests)]
        if left.empty:
            return
        self.reader.check_writable()
        dataset = self._dataset(left["run_id"].iloc[0])
        images = ImageStore(dataset.images, RAW, self.device)
        total = passes(self.strengths) * sum(len(tests[run_id]) for run_id in left["run_id"])
        with ProgressReport("rating degraded images", total) as progress:
            for run in records(left):
                self._measure_run(run, tests[run["run_id"]], dataset, images, progress)

    def _measure_run(
        self,
        run: dict[str, Any],
        test: pd.DataFrame,
        dataset: Dataset,
        images: ImageStore,
        progress: ProgressReport,
    ) -> None:
        name, started = cell_name(run), time.perf_counter()
        try:
            network = self._load(run)
        except NoAnswerError:
            raise
        except UserError as error:
            self._add_problem(run, error)
            return
        try:
            ratings = rate_degraded(
                network,
                images,
                dataset.rows_of(test["objid"].to_numpy()),
                test,
                self.strengths,
                seed=self.cfg.seed,
                batch=self.cfg.batch,
                advance=lambda n: progress.advance(n, name),
            )
        except UserError as error:
            raise UserError(f"{run_title(run)}: {error}") from error
        self._keep(run, ratings)
        self.rated += 1
        log.info("%s: %d test galaxies rated in %.0f s", name, len(test), time.perf_counter() - started)

    def _networks(self) -> pd.DataFrame:
        """Return the chosen runs of networks, and log which of the other runs are skipped."""
        chosen = choose_subsets(self.study.runs, self.cfg.subset)
        is_network = chosen["arm"].isin(self.study.networks)
        for run in records(chosen[~is_network]):
            kind = self.study.settings[run["run_id"]]["model.kind"]
            log.info("%s is skipped, since a %s model is no network", run_title(run), kind)
        return chosen[is_network]

    def _measured(self, runs: pd.DataFrame) -> set[str]:
        """Return the IDs of the runs that have been measured with the same settings."""
        rated = runs[[self.reader.has(run_id, ROBUSTNESS) for run_id in runs["run_id"]]]
        found = self.reader.artifacts(rated, ROBUSTNESS, read_settings)
        return {run_id for run_id, settings in found.items() if settings == self.settings}

    def _read(self, runs: pd.DataFrame, name: str, read: Callable[[Path], Any]) -> dict[str, Any]:
        """Read a file of each run; the runs whose file can't be read are added to the problems."""
        content = self.reader.artifacts(runs, name, read)
        for run in records(runs):
            if isinstance(error := content[run["run_id"]], Exception):
                self._add_problem(run, error)
                del content[run["run_id"]]
        return content

    def _add_problem(self, run: dict[str, Any], error: Exception) -> None:
        problem = f"{run_title(run)} can't be rated: {describe(error)}"
        log.error("%s", problem)
        self.problems.append(problem)

    def _dataset(self, run_id: str) -> Dataset:
        """Open the data set of a run, which all runs of a study share."""
        content_hash = self.study.tags[run_id]["mergerexp.data.content_hash"]
        name = self.study.settings[run_id]["data.name"]
        return find_dataset(Path(self.cfg.paths.datasets), content_hash, name)

    def _load(self, run: dict[str, Any]) -> StoredNetwork:
        with tempfile.TemporaryDirectory() as folder:
            for name in (MODEL, WEIGHTS):
                self.reader.download(run["run_id"], name, Path(folder))
            return StoredNetwork.load(Path(folder), self.device)

    def _keep(self, run: dict[str, Any], ratings: pd.DataFrame) -> None:
        table = pa.Table.from_pandas(ratings, preserve_index=False)
        metadata = {**(table.schema.metadata or {}), SETTINGS: json.dumps(self.settings)}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / ROBUSTNESS
            pq.write_table(table.replace_schema_metadata(metadata), path)
            self.reader.add_artifact(run["run_id"], path)


def choose_subsets(runs: pd.DataFrame, subsets: Sequence[float] | None) -> pd.DataFrame:
    """Return the runs at some fractions of the data set, or those at each arm's largest for None.

    Raises
    ------
    UserError
        If a fraction is not in the study.
    """
    if subsets is None:
        return at_largest_size(runs)
    known = sorted(set(runs["subset"]))
    for subset in subsets:
        if subset not in known:
            raise UserError(f"subset={subset:g}: the study has {', '.join(f'{each:g}' for each in known)}")
    return runs[runs["subset"].isin(subsets)]


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings with which the ratings in a `ROBUSTNESS` file were measured."""
    settings: dict[str, Any] = json.loads(pq.read_schema(path).metadata[SETTINGS])
    return settings


def _read_test(path: Path) -> pd.DataFrame:
    predictions = read_predictions(path)
    return predictions[predictions["split"] == "test"]
