"""A run stopped anywhere and started again comes out bit for bit as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from mergerexp.batches.loaders import Batch
from mergerexp.files import read_json
from mergerexp.seals import sign
from mergerexp.training.stage import Stage
from tests.conftest import TINY

RUN = (
    "init=random_frozen_head",  # both stages without pretrained weights
    "init.head_epochs=3",
    "trainer.max_epochs=4",
    "trainer.per_class=2",
    "augment=paper_intent",
    "augment.views=2",
    "trainer.checkpoint_every_s=0.000001",  # after every batch
)


class Stopped(RuntimeError):
    """Stands for a kill."""


@pytest.fixture(scope="module")
def undisturbed_run(
    galaxies: Path, datasets: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """Its folder, and what the process said."""
    root = tmp_path_factory.mktemp("undisturbed")
    own = {key: value for key, value in environment(root).items() if key != "OMP_WAIT_POLICY"}
    shown = {**own, "OMP_DISPLAY_ENV": "true"}
    done = subprocess.run(command(galaxies, datasets), check=True, env=shown, capture_output=True, text=True)
    (folder,) = (root / "runs").iterdir()
    return folder, done.stderr


@pytest.fixture(scope="module")
def undisturbed(undisturbed_run: tuple[Path, str]) -> tuple[pd.DataFrame, list[dict]]:
    folder, _ = undisturbed_run
    return pd.read_parquet(folder / "predictions.parquet"), read_json(folder / "history.json")


def command(galaxies: Path, datasets: Path) -> list[str]:
    shared = [f"paths.datasets={datasets}", f"paths.weights={datasets / 'weights'}"]
    data = ["data=folder", f"data.root={galaxies}", *shared, "tracking=none"]
    own = {override.split("=")[0] for override in RUN}
    tiny = [override for override in TINY if override.split("=")[0] not in own]
    return [sys.executable, "-m", "mergerexp.train", *data, *tiny, *RUN]


def environment(root: Path) -> dict[str, str]:
    return {**os.environ, "MERGEREXP_ROOT": str(root)}


def same(folder: Path, undisturbed: tuple[pd.DataFrame, list[dict]]) -> None:
    predictions, history = undisturbed
    pd.testing.assert_frame_equal(
        pd.read_parquet(folder / "predictions.parquet"), predictions, check_exact=True
    )
    scores = ("stage", "epoch", "train_loss", "val_loss", "val_accuracy")
    resumed = read_json(folder / "history.json")
    assert [[row[key] for key in scores] for row in resumed] == [
        [row[key] for key in scores] for row in history
    ]


@pytest.mark.parametrize(
    ("stage", "step"), [("head", 0), ("head", 13), ("finetune", 0), ("finetune", 7), ("finetune", 19)]
)
def test_stopped_at_a_step(stage, step, train, only_run, undisturbed, monkeypatch):
    training_step = Stage.training_step

    def stop(self, batch, batch_idx):
        if (self.name, self.steps) == (stage, step):
            raise Stopped("power cut")
        return training_step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Stage, "training_step", stop)
        assert train(*RUN, "tracking=none") == 1
    status = read_json(only_run() / "status.json")
    assert status["state"] == "failed"
    assert status["error"] == "Stopped: power cut"
    assert "power cut" in (only_run() / "traceback.txt").read_text()

    assert train(*RUN, "tracking=none") == 0
    same(only_run(), undisturbed)
    assert read_json(only_run() / "status.json")["restarts"] == 1
    assert not (only_run() / "last.ckpt").exists()


def test_killed_three_times(galaxies, datasets, tmp_path, undisturbed):
    """SIGKILL at random moments after the first checkpoint of the attempt."""
    rng = random.Random(5)
    runs, hit = tmp_path / "runs", 0
    for _ in range(3):
        process = subprocess.Popen(command(galaxies, datasets), env=environment(tmp_path))
        wait_for_news(process, runs)
        time.sleep(rng.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        (folder,) = runs.iterdir()
        hit += read_json(folder / "status.json")["state"] != "done"  # a fast machine may be over before
    done = subprocess.run(
        command(galaxies, datasets), env=environment(tmp_path), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert read_json(folder / "status.json")["restarts"] == hit >= 1
    same(folder, undisturbed)


def test_a_damaged_checkpoint_costs_its_run_a_new_start(train, only_run, undisturbed, monkeypatch, capsys):
    def stop(self, batch, batch_idx):
        raise Stopped("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(Stage, "training_step", stop)
        assert train(*RUN, "tracking=none") == 1
    (only_run() / "last.ckpt").write_bytes(b"half a checkpoint")
    assert train(*RUN, "tracking=none") == 0
    assert "starts anew" in capsys.readouterr().err
    same(only_run(), undisturbed)


def test_a_checkpoint_of_an_older_version_costs_its_run_a_new_start(
    train, only_run, undisturbed, monkeypatch, capsys
):
    def stop(self, batch, batch_idx):
        if self.steps == 3:
            raise Stopped("power cut")
        training_step(self, batch, batch_idx)

    training_step = Stage.training_step
    with monkeypatch.context() as patch:
        patch.setattr(Stage, "training_step", stop)
        assert train(*RUN, "tracking=none") == 1
    checkpoint = only_run() / "last.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    del content["steps"]
    torch.save(content, checkpoint)
    sign(checkpoint)
    assert train(*RUN, "tracking=none") == 0
    assert "older version of mergerexp: the run starts anew" in " ".join(capsys.readouterr().err.split())
    same(only_run(), undisturbed)


def test_divergence_is_told(train, only_run, capsys):
    wild = ("optimizer=sgd", "optimizer.lr=10", "init.lr_factor=1000000", "tracking=none")
    assert train(*wild, "optimizer.momentum=0.99") in (0, 1)  # kept what was good, or had nothing
    assert "training diverged" in capsys.readouterr().err
    for path in only_run().glob("*.json"):
        json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"a file holds {name}"))


def unusable(batch: Batch) -> Batch:
    """Return a batch after which no weight is finite any more."""
    return batch._replace(inputs=batch.inputs * float("nan"))


def test_killed_between_divergence_and_results(train, only_run, monkeypatch):
    """That training has diverged is in the checkpoint: nothing is trained once more."""
    training_step = Stage.training_step

    def diverge(self, batch, batch_idx):
        in_second_epoch = self.name == "finetune" and self.current_epoch == 1
        training_step(self, unusable(batch) if in_second_epoch else batch, batch_idx)

    def kill(*arguments: object) -> None:
        raise Stopped("power cut")

    monkeypatch.setattr(Stage, "training_step", diverge)
    with monkeypatch.context() as patch:
        patch.setattr("mergerexp.training.run._write_results", kill)
        assert train(*RUN, "tracking=none") == 1
    before = read_json(only_run() / "history.json")
    assert [row["epoch"] for row in before if row["stage"] == "finetune"] == [0, 1]
    assert before[-1]["val_loss"] is None

    assert train(*RUN, "tracking=none") == 0
    assert read_json(only_run() / "history.json") == before
    metrics = read_json(only_run() / "metrics.json")
    assert (metrics["run/epochs"], metrics["run/diverged"]) == (len(before), 1)


def test_a_head_that_diverged_is_no_candidate(train, only_run, monkeypatch):
    training_step = Stage.training_step

    def diverge(self, batch, batch_idx):
        training_step(self, unusable(batch) if self.name == "head" else batch, batch_idx)

    monkeypatch.setattr(Stage, "training_step", diverge)
    assert train(*RUN, "tracking=none") == 1
    assert "lower init.head_lr" in read_json(only_run() / "status.json")["error"]


def test_threads_that_wait_leave_their_core_to_others(undisturbed_run):
    """What the OpenMP of this torch says when it is loaded, in a process that the verb began."""
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in undisturbed_run[1]


def test_interrupted_from_the_keyboard(galaxies, datasets, tmp_path, undisturbed):
    long = [*command(galaxies, datasets), "trainer.max_epochs=100000", "trainer.patience=100000"]
    process = subprocess.Popen(long, env=environment(tmp_path), stderr=subprocess.PIPE, text=True)
    wait_for_news(process, tmp_path / "runs")
    process.send_signal(signal.SIGINT)
    try:
        _, shown = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "the same command goes on" in shown
    assert "Traceback" not in shown
    (folder,) = (tmp_path / "runs").iterdir()
    assert read_json(folder / "status.json")["state"] == "stopped"
    assert (folder / "last.ckpt").is_file()


def wait_for_news(process: subprocess.Popen, runs: Path) -> None:
    """Wait until a checkpoint is written that was not there at the start, or the run is done."""

    def newest() -> float:
        return max((path.stat().st_mtime for path in runs.glob("*/last.ckpt")), default=0.0)

    before, deadline = newest(), time.monotonic() + 600
    while newest() == before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
