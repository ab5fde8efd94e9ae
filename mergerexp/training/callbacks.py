"""What happens around the batches: early stopping, the history of epochs, checkpoints, progress."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor, nn

from mergerexp.console import ProgressReport
from mergerexp.files import written
from mergerexp.runs import stop
from mergerexp.training.stage import Stage
from mergerexp.training.trained_model import Row

log = logging.getLogger(__name__)
COST_SHARE = 20  # how much longer than a checkpoint takes training goes on before the next


class BestWeights(pl.Callback):
    """Stop when validation accuracy no longer improves, and keep the best weights.

    Of equal accuracies the lower loss is better (SCIENCE #5).

    Parameters
    ----------
    patience
        Epochs without a better one before training stops.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.best: tuple[float, float] | None = None  # accuracy, -loss
        self.epoch = -1
        self.waited = 0
        self.diverged = False
        self.weights: dict[str, Tensor] = {}

    @property
    def is_over(self) -> bool:
        """Tell whether no further epoch is to be trained."""
        return self.diverged or self.waited >= self.patience

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop at once if the checkpoint was written after the last epoch."""
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
        """Keep a network's weights if its validation scores are the best so far.

        Raises
        ------
        FloatingPointError
            If the loss is not finite.
        """
        if not math.isfinite(scores["val_loss"]):
            raise FloatingPointError("the frozen stage diverged: lower init.head_lr")
        score = (scores["val_accuracy"], -scores["val_loss"])
        if self.best is not None and score <= self.best:
            self.waited += 1
            return
        self.best, self.epoch, self.waited = score, epoch, 0
        self.weights = {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        best = None if self.best is None else list(self.best)
        counts = {"epoch": self.epoch, "waited": self.waited, "diverged": self.diverged}
        return {"best": best, **counts, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state of a checkpoint."""
        self.best = None if state_dict["best"] is None else tuple(state_dict["best"])
        self.epoch, self.waited = state_dict["epoch"], state_dict["waited"]
        self.diverged = state_dict["diverged"]
        self.weights = state_dict["weights"]


class History(pl.Callback):
    """One row an epoch, over both stages; part of every checkpoint, so that no epoch is told twice."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._since = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._since = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the epoch's row; after a resume within it, its seconds are those since then."""
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
        """Take up the rows of a checkpoint."""
        self.rows = list(state_dict["rows"])


class LastCheckpoint(pl.Callback):
    """Write ``last.ckpt`` after every epoch but very short ones, and within long ones every so many seconds.

    After very short epochs, those that writing takes more than a twentieth of, it waits until they add up:
    small networks would otherwise be saved for as long as they are trained.

    Parameters
    ----------
    path
        Written under another name, then renamed: a kill leaves the old one or the new one.
    every_s
        Seconds between checkpoints within an epoch, and the most that very short epochs wait.
    saved
        Called after each checkpoint at the end of an epoch.
    """

    def __init__(self, path: Path, every_s: float, saved: Callable[[], None]) -> None:
        self.path, self.every_s, self.saved = path, every_s, saved
        self._last = self._last_epoch = time.monotonic()
        self._cost = math.inf  # seconds that the quickest checkpoint took: the first one also warms up

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Save if it is time to, or asked for, but not where the end of the epoch will do so at once."""
        due = time.monotonic() - self._last >= self.every_s or stop.wants_checkpoint()
        if due and not trainer.is_last_batch:
            self._save(trainer)
            stop.checkpoint_written()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, then let the record be brought up to date; the last epoch of a stage always."""
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
    """Writes a checkpoint where it is to be: Lightning's own goes through a temporary folder elsewhere."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a file; see `torch.save`."""
        torch.save(checkpoint, path)


class OwnSignals(pl.Callback):
    """Keep the SIGTERM handler that was there: with Lightning's, a request to save would end the run."""

    def __init__(self) -> None:
        self._handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put it back; Lightning has set its own a moment ago."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handler)


class EpochProgress(pl.Callback):
    """Progress over the mini-batches of a stage."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self._report: ProgressReport | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        assert isinstance(pl_module, Stage)
        steps = (trainer.max_epochs or 0) * int(trainer.num_training_batches)
        title = {"head": "training the head", "finetune": "training all layers"}[pl_module.name]
        self._report = ProgressReport(title, steps, trainer.global_step, enabled=self.enabled)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Count the mini-batch."""
        assert isinstance(pl_module, Stage)
        if self._report is not None:
            accuracy = pl_module.scores.get("val_accuracy")
            score = "" if accuracy is None else f", validation accuracy {accuracy:.3f}"
            note = f"epoch {trainer.current_epoch + 1} of at most {trainer.max_epochs}{score}"
            self._report.advance(1, note)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the bar away."""
        if self._report is not None:
            self._report.close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Take the bar away."""
        if self._report is not None:
            self._report.close()
