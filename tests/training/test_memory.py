"""What a run keeps in memory."""

from __future__ import annotations

import gc
import weakref

from mergerexp.models.activations import NEED_THEIR_INPUT
from mergerexp.models.features import FrozenFeatures
from mergerexp.training.stage import Stage


def test_features_of_the_head_stage_are_freed_before_fine_tuning(train, monkeypatch):
    """A trainer refers to itself, and Python searches rarely for objects that do."""
    held, in_stage, training_step = list[weakref.ref](), dict[str, set[int]](), Stage.training_step

    def watched(get):
        def get_and_watch(self, rows):
            found = get(self, rows)
            held.append(weakref.ref(found))
            return found

        return get_and_watch

    def look(self, batch, batch_idx):
        in_stage.setdefault(self.name, set()).add(sum(one() is not None for one in held))
        return training_step(self, batch, batch_idx)

    monkeypatch.setattr(FrozenFeatures, "training", watched(FrozenFeatures.training))
    monkeypatch.setattr(FrozenFeatures, "plain", watched(FrozenFeatures.plain))
    monkeypatch.setattr(Stage, "training_step", look)
    gc.disable()
    try:
        assert train("init=random_frozen_head", "init.head_epochs=2", "tracking=none") == 0
    finally:
        gc.enable()
    assert in_stage == {"head": {2}, "finetune": {0}}  # of training and validation


def test_activations_of_a_trained_network_copy_nothing(train, monkeypatch):
    in_place, training_step = set[bool](), Stage.training_step

    def look(self, batch, batch_idx):
        in_place.update(
            layer.inplace for layer in self.network.modules() if isinstance(layer, NEED_THEIR_INPUT)
        )
        return training_step(self, batch, batch_idx)

    monkeypatch.setattr(Stage, "training_step", look)
    assert train("model.backbone=test_efficientnet", "tracking=none") == 0
    assert in_place == {False}
