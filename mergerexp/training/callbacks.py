"""Callbacks of the training: early stopping, the history of epochs, checkpoints and progress."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mergerexp.console import ProgressReport
from mergerexp.files import written
from mergerexp.runs import stop
from mergerexp.training.lightning import TorchCheckpointIO, pl
from mergerexp.training.stage import FINETUNE, HEAD, Stage
from mergerexp.training.trained_model import Row

log = logging.getLogger(__name__)
COST_SHARE = 20  # the shortest time between checkpoints of epochs, in units of the time that one takes


class BestWeights(pl.Callback):
    """Stop when validation accuracy no longer improves, and keep the best weights.

    If accuracies are equal, the lower loss is better (``docs/science.md`` §1, #5).

    Parameters
    ----------
    patience
        The number of epochs without a better one after which training stops.
    """

    STATE = ("best", "epoch", "waited", "diverged", "weights")  # what a resumed run needs

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.best: list[float] | None = None  # accuracy, -loss
        self.epoch = -1
        self.waited = 0
        self.diverged = False
        self.weights: dict[str, Tensor] = {}

    @property
    def is_over(self) -> bool:
        """Whether no further epoch is to be trained."""
        return self.diverged or self.waited >= self.patience

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop immediately if the checkpoint was written after the last epoch."""
        if self.is_over:
            trainer.should_stop = True

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare the epoch with the best so far."""
        assert isinstance(pl_module, Stage)
        if not math.isfinite(pl_module.scores["val_loss"]):
            if self.best is None:
                raise FloatingPointError("training diverged: lower optimizer.lr or init.lr_factor")
            log.warning("training diverged: the best epoch so far is kept")
            self.diverged = True
        else:
            self.compare(pl_module.scores, trainer.current_epoch, pl_module.network)
        if self.is_over:
            trainer.should_stop = True

    def compare(self, scores: dict[str, float], epoch: int, network: nn.Module) -> None:
        """Keep the weights of a network if its validation scores are the best so far.

        Raises
        ------
        FloatingPointError
            If the loss is not finite.
        """
        if not math.isfinite(scores["val_loss"]):
            raise FloatingPointError("the frozen stage diverged: lower init.head_lr")
        score = [scores["val_accuracy"], -scores["val_loss"]]
        if self.best is not None and score <= self.best:
            self.waited += 1
            return
        self.best, self.epoch, self.waited = score, epoch, 0
        self.weights = {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs."""
        return {name: getattr(self, name) for name in self.STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        vars(self).update(state_dict)


class History(pl.Callback):
    """A row for each epoch of both stages, which every checkpoint holds, so that no epoch is repeated."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._since = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._since = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the row of the epoch, whose seconds begin at the latest resume within it."""
        assert isinstance(pl_module, Stage)
        losses = torch.stack(pl_module.train_losses) if pl_module.train_losses else torch.zeros(0)
        scores = {"train_loss": float(losses.mean()), **pl_module.scores}
        self.rows.append(
            {
                "stage": pl_module.name,
                "epoch": trainer.current_epoch,
                "timestamp_ms": int(time.time() * 1000),
                "seconds": round(time.perf_counter() - self._since, 3),
                **{key: value if math.isfinite(value) else None for key, value in scores.items()},
            }
        )
        self._since = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the rows from a checkpoint."""
        self.rows = list(state_dict["rows"])


class LastCheckpoint(pl.Callback):
    """Write ``last.ckpt`` after every epoch that is not very short, and at intervals within long ones.

    An epoch is very short if writing takes more than a twentieth of it. Several of these share a checkpoint,
    as the saving of small networks would otherwise take as long as their training.

    Parameters
    ----------
    path
        The path of the checkpoint, which is written under another name and renamed, so that a kill leaves
        either the old one or the new one.
    every_s
        The number of seconds between checkpoints within an epoch, and the longest time that very short epochs
        are without one.
    saved
        A function that is called after each checkpoint at the end of an epoch.
    """

    def __init__(self, path: Path, every_s: float, saved: Callable[[], None]) -> None:
        self.path, self.every_s, self.saved = path, every_s, saved
        self._last = self._last_epoch = time.monotonic()
        self._cost = math.inf  # seconds that the fastest checkpoint took, since the first one also warms up

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Save if that is due or requested, but not just before the end of the epoch, which saves too."""
        due = time.monotonic() - self._last >= self.every_s or stop.wants_checkpoint()
        if due and not trainer.is_last_batch:
            self._save(trainer)
            stop.checkpoint_written()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save if that is due or requested, or the stage ends, and have the record updated."""
        is_last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        wait = 0.0 if math.isinf(self._cost) else min(COST_SHARE * self._cost, self.every_s)
        due = time.monotonic() - self._last_epoch >= wait or stop.wants_checkpoint()
        if is_last or due:
            self._save(trainer)
            self._last_epoch = self._last
            self.saved()
            stop.checkpoint_written()

    def _save(self, trainer: pl.Trainer) -> None:
        started = time.monotonic()
        with written(self.path, signed=True) as partial:
            trainer.save_checkpoint(partial, weights_only=False)
        self._last = time.monotonic()
        self._cost = min(self._cost, self._last - started)


class PlainFiles(TorchCheckpointIO):
    """Writes a checkpoint directly to its path, where Lightning uses a temporary folder in another place."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint by `torch.save`."""
        torch.save(checkpoint, path)


class OwnSignals(pl.Callback):
    """Keeps the SIGTERM handler, since with Lightning's a request to save would end the run."""

    def __init__(self) -> None:
        self._handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the handler, which Lightning has just replaced."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handler)


class EpochProgress(pl.Callback):
    """Reports the progress over the mini-batches of a stage."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self._report = ProgressReport("", 0, enabled=False)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the report."""
        assert isinstance(pl_module, Stage)
        steps = (trainer.max_epochs or 0) * int(trainer.num_training_batches)
        title = {HEAD: "training the head", FINETUNE: "training all layers"}[pl_module.name]
        self._report = ProgressReport(title, steps, pl_module.steps, enabled=self.enabled)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Count the mini-batch."""
        assert isinstance(pl_module, Stage)
        accuracy = pl_module.scores.get("val_accuracy")
        score = "" if accuracy is None else f", validation accuracy {accuracy:.3f}"
        note = f"epoch {trainer.current_epoch + 1} of at most {trainer.max_epochs}{score}"
        self._report.advance(1, note)

    def close(self) -> None:
        """Close the report."""
        self._report.close()
