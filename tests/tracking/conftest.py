"""A run and a store for the tests of records, and what makes and reads them."""

from __future__ import annotations

import shutil

import pytest
from mlflow import MlflowClient

from mergerexp.config.schema import TrackingConfig
from mergerexp.files import write_json, write_text
from mergerexp.runs.job_folder import DONE, RUNNING
from mergerexp.runs.run_folder import RunFolder
from mergerexp.tracking.store import open_store
from tests.studies import empty_store

TRAINER = "trainer: {max_epochs: 5, patience: 2}\n"


@pytest.fixture
def tracking(tmp_path) -> TrackingConfig:
    (tmp_path / "store").mkdir()
    shutil.copy(empty_store(), tmp_path / "store" / "mlflow.db")  # to make one takes seconds
    return TrackingConfig(
        uri=f"sqlite:///{tmp_path}/store/mlflow.db",
        experiment="rare objects",
        artifacts=str(tmp_path / "artifacts"),
        retry_s=0.0,
    )


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    run = RunFolder(tmp_path / "runs" / "blobs-0123")
    run.path.mkdir(parents=True)
    write_json(run.inputs, {"fingerprint": "0123"})
    write_text(run.config, f"optimizer: {{lr: 0.1}}\n{TRAINER}seed: 3\n", signed=True)
    write_json(run.provenance, {"git": {"commit": "abc", "dirty": False}})
    run.set_state(RUNNING)
    return run


def epochs(n: int) -> list[dict]:
    return [
        {
            "stage": "finetune",
            "epoch": i,
            "timestamp_ms": 1_700_000_000_000 + i,
            "train_loss": 1 / (i + 1),
            "val_loss": 0.5,
            "val_accuracy": 0.9,
            "seconds": 1.0,
        }
        for i in range(n)
    ]


def finish(run: RunFolder) -> None:
    for path in run.artifacts():
        if not path.exists():
            write_json(path, [] if path == run.history else {"test/error": 0.25})
    run.seal()
    run.set_state(DONE)


def stored(tracking: TrackingConfig) -> tuple[MlflowClient, list]:
    client, _ = open_store(tracking)
    experiment = client.get_experiment_by_name(tracking.experiment)
    return client, client.search_runs([experiment.experiment_id])
