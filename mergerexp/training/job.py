"""One planned run, from its folder alone: what a job of a sweep calls, here or on another machine."""

from __future__ import annotations

from pathlib import Path

from mergerexp.config.schema import TrainConfig
from mergerexp.config.validate import typed
from mergerexp.console import set_up_logging
from mergerexp.data.store import Dataset, verify
from mergerexp.errors import DataError
from mergerexp.files import read_json
from mergerexp.models.weights import WeightsFile
from mergerexp.runs.run_folder import RunFolder
from mergerexp.training.run import run_training


def train_run(path: Path) -> float:
    """Train a run to its end from where it stands; return its validation error.

    The caller holds the run's lock.

    Parameters
    ----------
    path
        Run folder, with its frozen config and inputs.

    Raises
    ------
    DataError, WeightsError
        If the data set or the weights are no longer those that the run was planned with.
    """
    set_up_logging()
    folder = RunFolder(path)
    folder.begin_anew()
    folder.remove_partial()
    cfg = typed(folder.read_config(), TrainConfig)
    inputs = folder.read_inputs()
    dataset = Dataset.open(inputs["dataset"]["path"])
    if dataset.content_hash != inputs["dataset"]["content_hash"]:
        raise DataError(f"{dataset.path} has changed since the run was planned; give the same command again")
    verify(dataset, inputs["dataset"]["verified"])
    weights = None
    if inputs["weights"] is not None:
        known = inputs["weights"]
        weights = WeightsFile(Path(known["path"]), known["sha256"], known["origin"])
    run_training(cfg, dataset, weights, folder, inputs)
    return float(read_json(folder.metrics)["val/error"])
