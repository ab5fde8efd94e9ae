"""What only a GPU can show; the other tests run on the CPU everywhere."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

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
        if self.global_step == 2:
            raise RuntimeError("power cut")
        return training_step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Stage, "training_step", stop)
        assert train(*RUN) != 0
    assert train(*RUN) == 0
