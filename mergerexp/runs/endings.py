"""Caveats about how the training of a run ended, which may make its scores less trustworthy."""

from __future__ import annotations

from collections.abc import Mapping

BEST_EPOCH, EPOCHS, HAS_DIVERGED = "run/best_epoch", "run/finetune_epochs", "run/diverged"
UNTUNED = "best before fine-tuning"
CUT_OFF = "stopped at max_epochs"
DIVERGED = "diverged"
MEANS = {
    UNTUNED: "no epoch of fine-tuning was better than the head stage: the scored backbone is untouched",
    CUT_OFF: "the last allowed epoch came before patience was used up: longer training might be better",
    DIVERGED: "training diverged after its best epoch, which is what is scored",
}


def caveats(metrics: Mapping[str, float], max_epochs: int, patience: int) -> list[str]:
    """Return the caveats about how the training of a network ended.

    Training ends well when patience is used up: then so many epochs in a row were not better than the best.

    Parameters
    ----------
    metrics
        The metrics of the run.
    max_epochs, patience
        The settings of its trainer: the most epochs of fine-tuning, and the patience in epochs.

    Returns
    -------
    list of str
        Keys of `MEANS`, which explains them. The list is empty for methods other than networks.
    """
    if BEST_EPOCH not in metrics or EPOCHS not in metrics:
        return []
    best, epochs = metrics[BEST_EPOCH], metrics[EPOCHS]
    found = [UNTUNED] if best < 0 else []
    if metrics.get(HAS_DIVERGED):
        found.append(DIVERGED)
    elif epochs >= max_epochs and epochs - 1 - best < patience:  # the epochs after the best one
        found.append(CUT_OFF)
    return found
