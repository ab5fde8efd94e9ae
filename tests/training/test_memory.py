"""What a run keeps in memory."""

from __future__ import annotations

import gc
import weakref

from mergerexp.models.features import FrozenFeatures
from mergerexp.training.stage import Stage


def test_features_of_the_head_stage_are_freed_before_fine_tuning(train, monkeypatch):
    """A trainer refers to itself, and Python searches rarely for objects that do."""
    held, in_stage = list[weakref.ref](), dict[str, set[bool]]()
    training, training_step = FrozenFeatures.training, Stage.training_step

    def watched(self, rows):
        found = training(self, rows)
        held.append(weakref.ref(found))
        return found

    def look(self, batch, batch_idx):
        in_stage.setdefault(self.name, set()).add(held[0]() is not None)
        return training_step(self, batch, batch_idx)

    monkeypatch.setattr(FrozenFeatures, "training", watched)
    monkeypatch.setattr(Stage, "training_step", look)
    gc.disable()
    try:
        assert train("init=random_frozen_head", "init.head_epochs=2", "tracking=none") == 0
    finally:
        gc.enable()
    assert in_stage == {"head": {True}, "finetune": {False}}
