"""When a run writes its checkpoint: often enough, but training takes most of the time."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mergerexp.training import callbacks
from mergerexp.training.callbacks import LastCheckpoint


class Clock:
    """Time that passes only where it is said."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("epoch_s", "write_s", "saved_after"),
    [
        (10.0, 0.4, [0, 1, 2, 3, 4, 5]),
        (1.0, 0.09, [0, 2, 4, 5]),  # the last one always
        (1.0, 5.0, [0, 5]),
        (50.0, 7.0, [0, 3, 5]),  # a large network on a slow disk is told of every two minutes
    ],
)
def test_short_epochs_are_not_all_saved(epoch_s, write_s, saved_after, tmp_path, monkeypatch):
    clock, saved = Clock(), []
    monkeypatch.setattr(callbacks, "time", clock)

    def save_checkpoint(path, weights_only):
        clock.now += write_s
        path.write_bytes(b"state")

    trainer = SimpleNamespace(
        save_checkpoint=save_checkpoint, should_stop=False, current_epoch=0, max_epochs=6, is_last_batch=False
    )
    checkpoint = LastCheckpoint(tmp_path / "last.ckpt", 120.0, lambda: saved.append(trainer.current_epoch))
    for trainer.current_epoch in range(6):
        for _ in range(10):
            clock.now += epoch_s / 10
            checkpoint.on_train_batch_end(trainer)
        checkpoint.on_train_epoch_end(trainer, None)
    assert saved == saved_after


def test_the_epoch_that_ends_training_is_saved(tmp_path, monkeypatch):
    clock, saved = Clock(), []
    monkeypatch.setattr(callbacks, "time", clock)
    trainer = SimpleNamespace(
        save_checkpoint=lambda path, weights_only: path.write_bytes(b"state"),
        should_stop=True,  # patience is used up, or training diverged
        current_epoch=3,
        max_epochs=60,
    )
    checkpoint = LastCheckpoint(tmp_path / "last.ckpt", 120.0, lambda: saved.append(trainer.current_epoch))
    checkpoint._cost = 100.0
    checkpoint.on_train_epoch_end(trainer, None)
    assert saved == [3]
