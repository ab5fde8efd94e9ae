"""The training of a planned run from its folder, which a job of a sweep calls on any machine."""

from __future__ import annotations

from pathlib import Path

from mergerexp.config.schema import TrainConfig
from mergerexp.config.typed import typed
from mergerexp.console import set_up_logging
from mergerexp.data.store import Dataset, verify
from mergerexp.errors import DataError
from mergerexp.files import read_json
from mergerexp.models.weights import WeightsFile
from mergerexp.runs.run_folder import RunFolder
from mergerexp.training.run import run_training


def train_run(path: Path) -> float:
    """Train a run from its latest checkpoint to its end.

    The caller has to hold the lock of the run.

    Parameters
    ----------
    path
        The folder of the run, with its frozen config and inputs.

    Returns
    -------
    float
        The validation error.

    Raises
    ------
    DataError, WeightsError
        If the data set or the weights have changed since the run was planned.
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
    run_training(cfg, dataset, WeightsFile.of(inputs["weights"]), folder, inputs)
    return float(read_json(folder.metrics)["val/error"])
