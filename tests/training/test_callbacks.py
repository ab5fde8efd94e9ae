"""When training stops, which weights it keeps, and when it saves."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mergerexp.training import callbacks
from mergerexp.training.callbacks import BestWeights, LastCheckpoint


def network(value: float) -> nn.Module:
    made = nn.Linear(1, 1, bias=False)
    nn.init.constant_(made.weight, value)
    return made


def scores(accuracy: float, loss: float) -> dict[str, float]:
    return {"val_accuracy": accuracy, "val_loss": loss}


def test_the_best_epoch_is_kept_and_of_equal_accuracies_that_with_the_lower_loss():
    best = BestWeights(patience=3)
    for epoch, (accuracy, loss) in enumerate([(0.7, 0.5), (0.8, 0.6), (0.8, 0.4), (0.8, 0.4), (0.75, 0.1)]):
        best.compare(scores(accuracy, loss), epoch, network(epoch))
    assert (best.epoch, best.waited, best.is_over) == (2, 2, False)
    assert best.weights["weight"].item() == 2.0
    best.compare(scores(0.79, 0.1), 5, network(5.0))
    assert best.is_over


def test_kept_weights_do_not_change_with_the_network():
    best, trained = BestWeights(patience=1), network(1.0)
    best.compare(scores(0.7, 0.5), 0, trained)
    with torch.no_grad():
        trained.get_parameter("weight").fill_(9.0)
    assert best.weights["weight"].item() == 1.0


def test_a_resumed_run_waits_no_longer_than_an_undisturbed_one():
    before, after = BestWeights(patience=2), BestWeights(patience=2)
    before.compare(scores(0.7, 0.5), 0, network(0.0))
    before.compare(scores(0.6, 0.5), 1, network(1.0))
    after.load_state_dict(before.state_dict())
    after.compare(scores(0.6, 0.5), 2, network(2.0))
    assert (after.epoch, after.is_over) == (0, True)
    trainer = SimpleNamespace(should_stop=False)
    after.on_train_start(trainer, None)  # type: ignore[arg-type]
    assert trainer.should_stop


def test_a_loss_that_is_no_number_is_no_best_one():
    best = BestWeights(patience=2)
    with pytest.raises(FloatingPointError, match=r"lower init\.head_lr"):
        best.compare(scores(0.9, float("nan")), 0, network(0.0))
    assert best.best is None


class Clock:
    """Time that passes only when it is told to, and while a checkpoint is written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, per_save: float) -> None:
        self.now, self.per_save, self.saves = 0.0, per_save, 0
        monkeypatch.setattr(callbacks.time, "monotonic", lambda: self.now)

    def save_checkpoint(self, path, weights_only: bool) -> None:
        path.write_bytes(b"state")
        self.now, self.saves = self.now + self.per_save, self.saves + 1


def epochs(clock: Clock, tmp_path, number: int, seconds: float, every_s: float) -> int:
    """Train for some epochs, and return how many times it was saved."""
    saving = LastCheckpoint(tmp_path / "last.ckpt", every_s, lambda: None)
    for epoch in range(number):
        clock.now += seconds
        trainer = SimpleNamespace(
            should_stop=False, current_epoch=epoch, max_epochs=number, save_checkpoint=clock.save_checkpoint
        )
        saving.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    return clock.saves


def test_long_epochs_are_all_saved_and_short_ones_share_a_checkpoint(monkeypatch, tmp_path):
    assert epochs(Clock(monkeypatch, per_save=1.0), tmp_path, 10, seconds=60.0, every_s=600.0) == 10
    # A checkpoint takes as long as an epoch: one in twenty epochs, and the first and the last.
    assert epochs(Clock(monkeypatch, per_save=1.0), tmp_path, 100, seconds=1.0, every_s=600.0) in (6, 7)
    # But never longer without one than within an epoch.
    assert epochs(Clock(monkeypatch, per_save=1.0), tmp_path, 100, seconds=1.0, every_s=5.0) >= 20


def test_within_an_epoch_it_is_saved_when_that_is_due_but_not_before_its_end(monkeypatch, tmp_path):
    clock = Clock(monkeypatch, per_save=0.0)
    saving = LastCheckpoint(tmp_path / "last.ckpt", 10.0, lambda: None)
    trainer = SimpleNamespace(is_last_batch=False, save_checkpoint=clock.save_checkpoint)
    for _ in range(25):
        clock.now += 1.0
        saving.on_train_batch_end(trainer)  # type: ignore[arg-type]
    assert clock.saves == 2
    trainer.is_last_batch, clock.now = True, 100.0
    saving.on_train_batch_end(trainer)  # type: ignore[arg-type]
    assert clock.saves == 2
