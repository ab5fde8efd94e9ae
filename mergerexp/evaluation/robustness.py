"""How the networks of a study stand degraded images: measured run by run, kept with each run in MLflow."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from mergerexp.files import read_json
from mergerexp.frames import records
from mergerexp.models.stored import DESCRIPTION, NETWORK, WEIGHTS, StoredNetwork, kind_of
from mergerexp.tracking.record import log_file
from mergerexp.tracking.selection import cell_name
from mergerexp.tracking.study import ROBUSTNESS, StudyReader, read_predictions
from mergerexp.training.machine import choose_device, set_up_torch

log = logging.getLogger(__name__)

SETTINGS = b"mergerexp.robustness"  # in the file's metadata: what it was measured with
VERSION = 1  # raise it when the same settings degrade images otherwise


class NoAnswer(UserError):
    """Of MLflow."""


@dataclass
class Outcome:
    """What has become of the runs of a study.

    Attributes
    ----------
    rated, before
        How many were measured now, and with the same settings before.
    problems
        A line for each run that could not be measured.
    """

    rated: int = 0
    before: int = 0
    problems: list[str] = field(default_factory=list)


class Robustness:
    """Measures a study: every network rates degraded versions of its test images.

    The ratings, as `rate_degraded` returns them, are logged as the artifact `ROBUSTNESS` of the network's
    MLflow run; a run that has one of the same settings is left alone.

    Parameters
    ----------
    cfg
        Which study, which degradations, and how.

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
        self.reader = StudyReader(cfg.tracking)
        self.study = self.reader.find(cfg.sweep, cfg.where)
        self.outcome = Outcome()

    def measure(self) -> Outcome:
        """Measure what is left to measure.

        Raises
        ------
        UserError
            If the data set is not there, MLflow does not answer, or a network does not reproduce its record.
        """
        for gap in self.study.gaps:
            log.warning("%s", gap)
        networks = self._networks(choose_subsets(self.study.runs, self.cfg.subset))
        done = self._measured(networks)
        self.outcome.before = len(done)
        left = networks[~networks["run_id"].isin(done)]
        tests = self._read(left, "predictions.parquet", _read_test)
        left = left[left["run_id"].isin(tests)]
        if not left.empty:
            self.reader.check_writable()
            dataset = self._dataset(left["run_id"].iloc[0])
            images = ImageStore(dataset.images, RAW, self.device)
            total = passes(self.strengths) * sum(len(tests[run_id]) for run_id in left["run_id"])
            with ProgressReport("rating degraded images", total) as progress:
                for run in records(left):
                    self._measure_run(run, tests[run["run_id"]], dataset, images, progress)
        return self.outcome

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
        except NoAnswer:
            raise
        except UserError as error:
            self._tell(run, error)
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
            raise UserError(f"{_title(run)}: {error}") from error
        self._keep(run, ratings)
        self.outcome.rated += 1
        seconds = time.perf_counter() - started
        log.info("%s: %d test galaxies rated in %.0f s", name, len(test), seconds)

    def _networks(self, runs: pd.DataFrame) -> pd.DataFrame:
        """Leave out what is no network, and say so."""
        kinds = self._read(runs, DESCRIPTION, lambda path: kind_of(read_json(path)))
        for run in records(runs):
            if (kind := kinds.get(run["run_id"], NETWORK)) != NETWORK:
                log.info("%s is skipped: a %s model is no network", _title(run), kind)
        return runs[[kinds.get(run_id) == NETWORK for run_id in runs["run_id"]]]

    def _measured(self, runs: pd.DataFrame) -> set[str]:
        """Return the runs that have been measured with the same settings."""
        client = self.reader.client
        with _asking_mlflow():
            having = [
                run_id
                for run_id in runs["run_id"]
                if any(file.path == ROBUSTNESS for file in client.list_artifacts(run_id))
            ]
        found = self.reader.artifacts(runs[runs["run_id"].isin(having)], ROBUSTNESS, read_settings)
        return {run_id for run_id, settings in found.items() if settings == self.settings}

    def _read(self, runs: pd.DataFrame, name: str, read: Callable[[Path], Any]) -> dict[str, Any]:
        """Read a file of each run; those whose file can't be read are problems."""
        content = self.reader.artifacts(runs, name, read)
        for run in records(runs):
            if isinstance(error := content[run["run_id"]], Exception):
                self._tell(run, error)
                del content[run["run_id"]]
        return content

    def _tell(self, run: dict[str, Any], error: Exception) -> None:
        problem = f"{_title(run)} can't be rated: {describe(error)}"
        log.error("%s", problem)
        self.outcome.problems.append(problem)

    def _dataset(self, run_id: str) -> Dataset:
        """Open the data set of a run, which is that of all: a study has one."""
        content_hash = self.study.tags[run_id]["mergerexp.data.content_hash"]
        name = self.study.settings[run_id]["data.name"]
        return find_dataset(Path(self.cfg.paths.datasets), content_hash, name)

    def _load(self, run: dict[str, Any]) -> StoredNetwork:
        with tempfile.TemporaryDirectory() as folder:
            with _asking_mlflow():
                for name in (DESCRIPTION, WEIGHTS):
                    self.reader.download(run["run_id"], name, Path(folder))
            return StoredNetwork.load(Path(folder), self.device)

    def _keep(self, run: dict[str, Any], ratings: pd.DataFrame) -> None:
        table = pa.Table.from_pandas(ratings, preserve_index=False)
        metadata = {**(table.schema.metadata or {}), SETTINGS: json.dumps(self.settings)}
        with tempfile.TemporaryDirectory() as folder, _asking_mlflow():
            path = Path(folder) / ROBUSTNESS
            pq.write_table(table.replace_schema_metadata(metadata), path)
            log_file(self.reader.client, run["run_id"], path)


def choose_subsets(runs: pd.DataFrame, subsets: Sequence[float] | None) -> pd.DataFrame:
    """Return the runs at some fractions of the data set; None for each arm's largest.

    Raises
    ------
    UserError
        If a fraction is not in the study.
    """
    if subsets is None:
        return runs[runs["subset"] == runs.groupby("arm")["subset"].transform("max")]
    known = sorted(set(runs["subset"]))
    for subset in subsets:
        if subset not in known:
            raise UserError(f"subset={subset:g}: the study has {', '.join(f'{own:g}' for own in known)}")
    return runs[runs["subset"].isin(subsets)]


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings that a `ROBUSTNESS` file was measured with."""
    settings: dict[str, Any] = json.loads(pq.read_schema(path).metadata[SETTINGS])
    return settings


def _read_test(path: Path) -> pd.DataFrame:
    predictions = read_predictions(path)
    return predictions[predictions["split"] == "test"]


def _title(run: dict[str, Any]) -> str:
    return f"{cell_name(run)} (run {run['run_id'][:8]})"


@contextmanager
def _asking_mlflow() -> Iterator[None]:
    """Tell in one line what the store's drivers raise, of many kinds."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise NoAnswer(
            f"MLflow does not answer ({describe(error)}); the same command goes on from here"
        ) from error
