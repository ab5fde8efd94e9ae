"""What only a GPU can show; the other tests run on the CPU everywhere."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from mergerexp.models.classifier import Classifier
from mergerexp.training.stage import Stage

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA GPU")

RUN = (
    "tracking=none",
    "init=random",
    "trainer.max_epochs=2",
    "trainer.device=cuda",
    "trainer.checkpoint_every_s=0.000001",
)


def test_a_run_is_trained_and_rated_there(train, only_run):
    assert train(*RUN, "init=random_frozen_head", "init.head_epochs=2") == 0
    assert pd.read_parquet(only_run() / "predictions.parquet")["p_m"].between(0, 1).all()


def test_a_run_goes_on_within_an_epoch(train, only_run, monkeypatch):
    training_step = Stage.training_step

    def stop(self, batch, batch_idx):
        if self.steps == 2:
            raise RuntimeError("power cut")
        return training_step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Stage, "training_step", stop)
        assert train(*RUN) != 0
    assert train(*RUN) == 0


def test_captured_steps_give_the_same_bits(train, only_run):
    """With the learning rate warming up, dropout of the backbone, and both stages."""
    stages = ("init=random_frozen_head", "init.head_epochs=2", "optimizer.warmup_steps=9")
    long = (*RUN, *stages, "trainer.max_epochs=4", "trainer.per_class=4")
    rated = {}
    for graph in ("never", "always"):
        assert train(*long, f"trainer.cuda_graph={graph}") == 0
        rated[graph] = pd.read_parquet(only_run() / "predictions.parquet")
        shutil.rmtree(only_run())
    assert rated["always"].equals(rated["never"])
    assert np.ptp(rated["always"]["p_m"]) > 0


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_captured_steps_of_every_optimiser(train, only_run, optimizer):
    rated = []
    for graph in ("never", "always"):
        assert train(*RUN, f"optimizer.name={optimizer}", f"trainer.cuda_graph={graph}") == 0
        rated.append(pd.read_parquet(only_run() / "predictions.parquet"))
        shutil.rmtree(only_run())
    assert rated[0].equals(rated[1])


def test_a_captured_run_goes_on_to_the_same_bits(train, only_run, monkeypatch):
    graph = (*RUN, "trainer.cuda_graph=always", "trainer.per_class=2", "optimizer.warmup_steps=30")
    assert train(*graph) == 0
    undisturbed = pd.read_parquet(only_run() / "predictions.parquet")
    shutil.rmtree(only_run())
    training_step = Stage.training_step

    def stop(self, batch, batch_idx):
        if self.steps == 13:
            raise RuntimeError("power cut")
        training_step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Stage, "training_step", stop)
        assert train(*graph) != 0
    assert train(*graph) == 0
    assert pd.read_parquet(only_run() / "predictions.parquet").equals(undisturbed)


def test_a_step_that_cannot_be_captured(train, only_run, monkeypatch, caplog):
    """A network that reads a value back trains without a graph, and says so once a stage."""
    forward = Classifier.forward

    def reads_back(self, images):
        logits = forward(self, images)
        return logits if logits.sum().item() > -1e9 else -logits

    monkeypatch.setattr(Classifier, "forward", reads_back)
    assert train(*RUN, "trainer.per_class=2", "trainer.cuda_graph=auto") == 0
    assert caplog.text.count("training without a CUDA graph") == 1
    shutil.rmtree(only_run())
    assert train(*RUN, "trainer.per_class=2", "trainer.cuda_graph=always") != 0
    assert "use trainer.cuda_graph=auto" in (only_run() / "traceback.txt").read_text()
