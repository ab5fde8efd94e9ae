"""Check whether an interrupted and resumed run ends with the same bits here, and what that costs."""

from __future__ import annotations

import shutil
from typing import Any

import pytorch_lightning as pl
import torch

from benchmarks.gpu.measure import (
    GPU,
    SCRATCH,
    SMALL,
    Clock,
    Setting,
    finetuning,
    long_epochs,
    noise,
    protocol,
    settings,
    spread,
)

EPOCHS, CUT_AT = 2, 11


class PowerCut(BaseException):
    """The run is ended between two steps."""


class Cut(pl.Callback):
    """Ends a run after `CUT_AT` steps."""

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any, **kwargs: Any) -> None:
        """Raise `PowerCut` after the step; the checkpoint of the step before is written by then."""
        if pl_module.steps == CUT_AT:
            raise PowerCut


def weights_after(setting: Setting, cut: bool) -> dict[str, torch.Tensor]:
    """Train from the same seed, with or without an interruption, and return the final weights."""
    folder = SCRATCH / "resume"
    shutil.rmtree(folder, ignore_errors=True)
    dataset = noise(16 * setting.batch, setting.size, 8 * setting.batch)
    every_step = "trainer.checkpoint_every_s=0.000001"
    run = protocol(setting, dataset, every_step, folder=folder)
    if cut:
        try:
            finetuning(run, Cut(), epochs=EPOCHS)
        except PowerCut:
            run = protocol(setting, dataset, every_step, folder=folder)
            finetuning(run, epochs=EPOCHS, resume=True)
    else:
        finetuning(run, epochs=EPOCHS)
    return {key: value.cpu() for key, value in run.classifier.state_dict().items()}


def compare(setting: Setting, deterministic: bool) -> None:
    """Report whether a repeated and a resumed training give the same weights as the first."""
    first, repeated = weights_after(setting, cut=False), weights_after(setting, cut=False)
    resumed = weights_after(setting, cut=True)
    setting.report(
        "bits",
        deterministic=deterministic,
        repeated_equal=all(torch.equal(first[key], repeated[key]) for key in first),
        resumed_equal=all(torch.equal(first[key], resumed[key]) for key in first),
    )


def main() -> None:
    """Compare bits and speed with and without deterministic algorithms."""
    chosen = settings(batches=(16,))
    for deterministic in (False, True):
        torch.use_deterministic_algorithms(deterministic)
        torch.backends.cudnn.deterministic = deterministic
        compare(chosen[-1], deterministic)
        for setting in chosen if GPU or SMALL else []:
            clock = Clock(setting.batch)
            finetuning(protocol(setting, long_epochs(setting)), clock)
            setting.report("ours", deterministic=deterministic, **spread(clock.rates))


if __name__ == "__main__":
    main()
