"""Planning runs from their configs: data sets, weights and splits are prepared and checked.

No run of a sweep starts before all of its runs are planned.
"""

from __future__ import annotations

import dataclasses
import logging
import sqlite3
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import FileLock, SoftFileLock

from mergerexp.config.call import Cell, cell_labels
from mergerexp.config.device import resolve
from mergerexp.config.fingerprint import fingerprint
from mergerexp.config.launcher import Options
from mergerexp.config.paths import absolute_paths, name_of_root
from mergerexp.config.schema import NetworkConfig, NonparametricConfig, TrainConfig
from mergerexp.data.build import prepare_dataset
from mergerexp.data.splits import doubts_about_folds, make_split, n_balanced
from mergerexp.data.store import Dataset, verify
from mergerexp.errors import ROOT, ConfigError, explain, try_all
from mergerexp.files import write_json
from mergerexp.models.ancestors import objects_seen, seen_in, source_of
from mergerexp.models.trial import Wanted, check_networks
from mergerexp.models.weights import WeightsFile
from mergerexp.runs.provenance import command_line
from mergerexp.runs.run_folder import RunFolder
from mergerexp.tracking.store_file import StoreFile

log = logging.getLogger(__name__)

TARGET = "mergerexp.training.job:train_run"  # the function that the job of a run calls with the run's folder
MEASUREMENT_COST = 30  # measuring a galaxy takes as long as training on so many images


@dataclass(frozen=True)
class PlannedRun:
    """A run that could start now.

    Attributes
    ----------
    folder
        Its folder, whether it exists or not.
    cfg
        Its config, with absolute paths.
    overrides
        The overrides of its cell.
    inputs
        The content of ``inputs.json``.
    cost
        How long it takes in comparison with other runs, in arbitrary units. The longest should start first.
    """

    folder: RunFolder
    cfg: TrainConfig
    overrides: tuple[str, ...]
    inputs: dict[str, Any]
    cost: float

    def write(self, again: bool = False) -> None:
        """Write the frozen config and the inputs to the folder of the run.

        Parameters
        ----------
        again
            Whether the run is to begin anew once its job starts. A new record in MLflow then replaces the old
            one.
        """
        self.folder.path.mkdir(parents=True, exist_ok=True)
        if again:
            write_json(self.folder.again, {"command": self.inputs["command"]})
        self.folder.write_config(self.cfg)
        write_json(self.folder.inputs, self.inputs)


def run_labels(runs: Sequence[PlannedRun]) -> dict[Path, str]:
    """Return what distinguishes each run from the others, by the path of its folder."""
    labels = cell_labels([run.overrides for run in runs])
    return {run.folder.path: label for run, label in zip(runs, labels, strict=True)}


class Planner:
    """Plans the runs of one call; data sets and weights that several runs share are prepared once.

    Parameters
    ----------
    options
        The options of the launcher that is to start the runs; None if they are trained in this process.
    """

    def __init__(self, options: Options | None) -> None:
        self.options = options
        self.datasets: dict[str, Dataset] = {}
        self.weights: dict[Wanted, WeightsFile | None] = {}
        self.verified: dict[Path, dict[str, list[int]]] = {}
        self.seen: dict[tuple[str, str], str] = {}  # by init.source and data set

    def plan(self, cells: Sequence[Cell[TrainConfig]]) -> list[PlannedRun]:
        """Plan the runs of a call: check the networks first, then the data sets and the splits.

        Parameters
        ----------
        cells
            The cells of the call.

        Returns
        -------
        list of PlannedRun
            The run of each cell; several cells may be the same run.

        Raises
        ------
        ConfigError
            If a network or data set can't be prepared or used, the data can't be split as the config says, or
            runs can't be written below the root. The message has a line for each network, data set or cell.
        StoreError
            If the SQLite file for the records is damaged or incomplete, or its experiment was deleted.
        """
        cells = try_all(self._on_its_device, cells, attrgetter("label"))
        # The root of a colleague may be unwritable: runs that are done can be shown all the same.
        roots = {Path(cell.cfg.paths.root) for cell in cells}
        unwritable = [problem for root in roots if (problem := _unwritable(root))]
        if unwritable and not any(Path(cell.cfg.paths.runs).is_dir() for cell in cells):
            raise ConfigError("\n".join(unwritable))
        stores = [absolute_paths(cell.cfg).tracking for cell in cells]
        for file, name in {(StoreFile.of(store.uri), store.experiment) for store in stores}:
            if file is not None and file.exists():
                _check_store(file, name)  # now, since otherwise days of runs might end without a record
        networks = dict.fromkeys(filter(None, (_network(cell.cfg) for cell in cells)))
        self.weights = check_networks(networks)
        try_all(self._dataset, {_data_key(cell.cfg): cell.cfg for cell in cells}.values())
        planned = try_all(self._plan, cells, attrgetter("label"))
        self._warn_of_folds(cells)
        if unwritable and not all(run.folder.is_done() for run in planned):
            raise ConfigError("\n".join(unwritable))
        return planned

    def _on_its_device(self, cell: Cell[TrainConfig]) -> Cell[TrainConfig]:
        """Return a cell with the device and precision of its training decided."""
        if isinstance(cell.cfg.model, NonparametricConfig):  # such a model has no use for a device
            return cell
        trainer = resolve(cell.cfg.trainer, self.options)
        return dataclasses.replace(cell, cfg=dataclasses.replace(cell.cfg, trainer=trainer))

    def _plan(self, cell: Cell[TrainConfig]) -> PlannedRun:
        cfg = cell.cfg
        dataset, network = self._dataset(cfg), _network(cfg)
        weights = self.weights[network] if network else None
        split = make_split(dataset.labels, dataset.groups, cfg.split, cfg.fold, cfg.subset)
        if isinstance(cfg.model, NonparametricConfig):
            passes = MEASUREMENT_COST * sum(len(rows) for rows in vars(split).values())
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
            "weights": weights and {**weights.to_dict(), **self._seen(cell.cfg)},
            "command": command_line(),
        }
        folder = RunFolder.of(cfg, identity)
        folder.mend_status()
        return PlannedRun(folder, cfg, cell.overrides, inputs, float(passes * cfg.data.size**2))

    def _warn_of_folds(self, cells: Sequence[Cell[TrainConfig]]) -> None:
        """Log once for each data set and division into folds what is doubtful about them."""
        doubtful: dict[str, TrainConfig] = {}
        for cfg in sorted((cell.cfg for cell in cells), key=attrgetter("subset")):  # from the smallest
            doubtful.setdefault(repr((_data_key(cfg), cfg.split.folds, cfg.split.seed)), cfg)
        for cfg in doubtful.values():
            data = self._dataset(cfg)
            for doubt in doubts_about_folds(data.labels, data.groups, cfg.split, cfg.subset):
                log.warning("%s: %s", cfg.data.name, doubt)

    def _seen(self, cfg: TrainConfig) -> dict[str, str]:
        """Return how many objects of its data set the network that a run starts from has seen.

        That is nothing where it starts from a network of photographs.
        """
        assert isinstance(cfg.model, NetworkConfig)
        source, dataset = source_of(cfg.init.source, cfg.model.pretrained), self._dataset(cfg)
        if source is None:
            return {}
        key = (source, dataset.content_hash)
        if key not in self.seen:
            seen = objects_seen(source)
            self.seen[key] = "unknown" if seen is None else str(seen_in(dataset, seen))
            if self.seen[key] not in ("unknown", "0"):
                log.warning(
                    "%s: this network was trained on %s of the %d objects of %s; tests on these "
                    "flatter it", source, self.seen[key], len(dataset), cfg.data.name,
                )  # fmt: skip
        return {"seen": self.seen[key]}

    def _dataset(self, cfg: TrainConfig) -> Dataset:
        """Return the data set of a config, which is prepared if it does not exist."""
        key = _data_key(cfg)
        if key not in self.datasets:
            path = prepare_dataset(cfg.data, cfg.paths.datasets, cfg.trainer.progress)
            dataset = Dataset.open(path)
            # All of its files are read here, once for a sweep. The jobs only check that no file has changed.
            self.verified[path] = verify(dataset, self.verified.get(path))
            self.datasets[key] = dataset
        return self.datasets[key]


def _network(cfg: TrainConfig) -> Wanted | None:
    """Return the network that a run starts with; None for a model without a network."""
    if isinstance(cfg.model, NonparametricConfig):
        return None
    pretrained = None if cfg.init.weights == "random" else cfg.init.source or cfg.model.pretrained
    return Wanted(cfg.model.backbone, cfg.data.size, pretrained, Path(cfg.paths.weights))


def _check_store(file: StoreFile, experiment: str) -> None:
    """Refuse a store that is damaged or whose experiment was deleted; one that is busy can wait."""
    try:
        file.check(pages=True)
        file.experiment_id(experiment)
    except sqlite3.Error as error:
        log.warning("%s can't be checked now (%s): the record is completed later", file.path, error)


def _unwritable(root: Path) -> str | None:
    """Return why runs can't be written below a root; None if they can."""
    key = f"{name_of_root(str(root))}={root}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not _has_locks(root):  # without these, a job that was killed would stay locked forever
            return f"{key}: this file system has no locks (a mount option: flock); {ROOT} says where to write"
    except OSError as error:
        return f"{key}: {explain(error)}"
    return None


def _has_locks(folder: Path) -> bool:
    """Tell whether the file system of a folder has locks, by a temporary file in it."""
    with (
        warnings.catch_warnings(action="ignore"),
        TemporaryDirectory(dir=folder, prefix=".locks-") as scratch,
        FileLock(Path(scratch) / "lock") as lock,
    ):
        return not isinstance(lock, SoftFileLock)  # this is used where there are no locks


def _data_key(cfg: TrainConfig) -> str:
    """Return a text that is the same for all configs with the same data set."""
    return repr((cfg.data, cfg.paths.datasets))
