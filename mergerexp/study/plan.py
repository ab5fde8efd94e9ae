"""From configs to planned runs: data, weights and splits are had, and everything is written down.

Nothing of a sweep starts before all of its runs are planned.
"""

from __future__ import annotations

import dataclasses
import logging
import sqlite3
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import FileLock, SoftFileLock

from mergerexp.config.call import Cell, labels
from mergerexp.config.device import resolve
from mergerexp.config.fingerprint import fingerprint
from mergerexp.config.launcher import Options
from mergerexp.config.paths import absolute_paths
from mergerexp.config.schema import NonparametricConfig, TrainConfig
from mergerexp.data.build import prepare_dataset
from mergerexp.data.splits import n_balanced, split_dataset
from mergerexp.data.store import Dataset, verify
from mergerexp.errors import ConfigError, explain, try_all
from mergerexp.files import write_json
from mergerexp.models.trial import Wanted, check_networks
from mergerexp.models.weights import WeightsFile
from mergerexp.runs.provenance import command_line
from mergerexp.runs.run_folder import RunFolder
from mergerexp.tracking.store_file import StoreFile

log = logging.getLogger(__name__)

TARGET = "mergerexp.training.job:train_run"  # what a run's job calls, with its folder
MEASURED = 30  # a galaxy is measured in the time of so many training images


@dataclass(frozen=True)
class PlannedRun:
    """A run that could start now.

    Attributes
    ----------
    folder
        Where it is, or will be.
    cfg
        Its config, with absolute paths.
    overrides
        What makes it different from the other runs of its sweep.
    inputs
        The contents of ``inputs.json``.
    cost
        To be compared with that of other runs: the longest should start first.
    """

    folder: RunFolder
    cfg: TrainConfig
    overrides: tuple[str, ...]
    inputs: dict[str, Any]
    cost: float

    def write(self, again: bool = False) -> None:
        """Freeze config and inputs in the run folder.

        Parameters
        ----------
        again
            The run is to begin anew once its job starts; MLflow will then have a new record for the old one.
        """
        self.folder.path.mkdir(parents=True, exist_ok=True)
        if again:
            write_json(self.folder.again, {"command": self.inputs["command"]})
        self.folder.write_config(self.cfg)
        write_json(self.folder.inputs, self.inputs)


def folders_of(runs: Sequence[PlannedRun]) -> list[RunFolder]:
    """Return the folders of runs; several cells may be one run."""
    return list(dict.fromkeys(run.folder for run in runs))


def run_labels(runs: Sequence[PlannedRun]) -> dict[str, str]:
    """Return what tells each run from the others, by its folder's path."""
    once = list({run.folder: run for run in runs}.values())
    return {
        str(run.folder.path): label
        for run, label in zip(once, labels([run.overrides for run in once]), strict=True)
    }


class Planner:
    """Plans the runs of one call; what runs share is looked up once.

    Parameters
    ----------
    options
        Of the launcher that is to start them; None where this process does.
    """

    def __init__(self, options: Options | None) -> None:
        self.options = options
        self.datasets: dict[str, Dataset] = {}
        self.weights: dict[Wanted, WeightsFile | None] = {}
        self.verified: dict[Path, dict[str, list[int]]] = {}

    def plan(self, cells: Sequence[Cell[TrainConfig]]) -> list[PlannedRun]:
        """Get and try the networks, then the data and splits of all cells: the cheap checks come first.

        Parameters
        ----------
        cells
            The runs of a call.

        Raises
        ------
        ConfigError
            If one can't be had or does not work, or the data can't be split as asked, with a line for each
            such network, data set or cell.
        StoreError
            If the SQLite file that is to hold the record is no whole store.
        """
        told = labels([cell.overrides for cell in cells])
        label_of = {cell.overrides: label for cell, label in zip(cells, told, strict=True)}
        cells = try_all(self._on_its_device, cells, lambda cell: label_of[cell.overrides])
        # Of a colleague's root, what is done can be looked at.
        unwritable = [
            why for root in {cell.cfg.paths.root for cell in cells} if (why := _unwritable(Path(root)))
        ]
        if unwritable and not any(Path(cell.cfg.paths.runs).is_dir() for cell in cells):
            raise ConfigError("\n".join(unwritable))
        for file in {StoreFile.of(absolute_paths(cell.cfg).tracking.uri) for cell in cells}:
            if file is not None and file.exists():
                _check_store(file)  # or days of runs would end with no record
        wanted = dict.fromkeys(filter(None, (_network(cell.cfg) for cell in cells)))
        self.weights |= check_networks(one for one in wanted if one not in self.weights)
        try_all(self._dataset, {_data_key(cell.cfg): cell.cfg for cell in cells}.values())
        planned = try_all(self._plan, cells, lambda cell: label_of[cell.overrides])
        if unwritable and not all(run.folder.is_done() for run in planned):
            raise ConfigError("\n".join(unwritable))
        return planned

    def _on_its_device(self, cell: Cell[TrainConfig]) -> Cell[TrainConfig]:
        if isinstance(cell.cfg.model, NonparametricConfig):  # the trainer has no say
            return cell
        trainer = resolve(cell.cfg.trainer, self.options)
        return Cell(cell.overrides, dataclasses.replace(cell.cfg, trainer=trainer))

    def _plan(self, cell: Cell[TrainConfig]) -> PlannedRun:
        cfg = cell.cfg
        dataset, network = self._dataset(cfg), _network(cfg)
        weights = self.weights[network] if network else None
        split = split_dataset(dataset, cfg.split, cfg.fold, cfg.subset)
        if isinstance(cfg.model, NonparametricConfig):
            passes = MEASURED * sum(len(rows) for rows in vars(split).values())
        else:
            passes = n_balanced(dataset.labels[split.train]) * cfg.trainer.max_epochs
        cfg = absolute_paths(cfg)
        identity = fingerprint(cfg, dataset.content_hash, weights.sha256 if weights else None)
        inputs = {
            "fingerprint": identity,
            "dataset": {
                "path": str(dataset.path.absolute()),
                "content_hash": dataset.content_hash,
                "verified": self.verified[dataset.path],
            },
            "weights": weights
            and {"path": str(weights.path.absolute()), "sha256": weights.sha256, "origin": weights.origin},
            "command": command_line(),
        }
        folder = RunFolder.of(cfg, identity)
        folder.mend_status()
        return PlannedRun(folder, cfg, cell.overrides, inputs, float(passes * cfg.data.size**2))

    def _dataset(self, cfg: TrainConfig) -> Dataset:
        """Return a config's data set, preparing it if it is not there."""
        key = _data_key(cfg)
        if key not in self.datasets:
            path = prepare_dataset(cfg.data, cfg.paths.datasets, cfg.trainer.progress)
            dataset = Dataset.open(path)
            # All of it is read here, once a sweep; its jobs only see that no file was touched since.
            self.verified[path] = verify(dataset, self.verified.get(path))
            self.datasets[key] = dataset
        return self.datasets[key]


def _network(cfg: TrainConfig) -> Wanted | None:
    """Return the network that a run starts with; None for none."""
    if isinstance(cfg.model, NonparametricConfig):
        return None
    pretrained = None if cfg.init.weights == "random" else cfg.model.pretrained
    return Wanted(cfg.model.backbone, cfg.data.size, pretrained, Path(cfg.paths.weights))


def _check_store(file: StoreFile) -> None:
    """Refuse a store that is damaged or half made; one that is busy is written to later."""
    try:
        file.check(pages=True)
    except sqlite3.Error as error:
        log.warning("%s can't be looked at now (%s): the record is completed later", file.path, error)


def _unwritable(root: Path) -> str | None:
    """Say why runs can't be written below a root, if they can't: here, before anything starts."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not _has_locks(root):  # or a job that is killed would lock itself out for good
            return (
                f"paths.root={root}: this file system has no locks (a mount option: flock); "
                "MERGEREXP_ROOT says where to write"
            )
    except OSError as error:
        return f"paths.root={root}: {explain(error)}"
    return None


def _has_locks(folder: Path) -> bool:
    # In a file of our own: that of a colleague on a shared root could not be opened, or be held.
    with warnings.catch_warnings(action="ignore"), TemporaryDirectory(dir=folder, prefix=".locks-") as own:
        lock = FileLock(Path(own) / "lock")
        try:
            with lock:
                return not isinstance(lock, SoftFileLock)  # what it becomes where the system has none
        except NotImplementedError:  # what older versions of filelock say of such a system
            return False


def _data_key(cfg: TrainConfig) -> str:
    return repr((cfg.data, cfg.paths.datasets))
