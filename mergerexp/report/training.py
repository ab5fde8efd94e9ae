"""How the networks of a study were trained, and what is to be known of how that ended."""

from __future__ import annotations

from typing import Any

import pandas as pd

from mergerexp.frames import records
from mergerexp.report.results import Results
from mergerexp.runs.endings import BEST_EPOCH, CUT_OFF, DIVERGED, EPOCHS, UNTUNED, caveats
from mergerexp.tracking.study import Study

SAID = {
    UNTUNED: "{runs} of {arm}, no epoch of fine-tuning was better than the head on the frozen backbone: what "
    "is scored there is a backbone that was never trained on these galaxies.",
    CUT_OFF: "{runs} of {arm}, training stopped at max_epochs before patience was used up: longer training "
    "might be better.",
    DIVERGED: "{runs} of {arm}, training diverged after its best epoch, which is what is scored.",
}


def caveats_of(study: Study, run_id: str) -> list[str]:
    """Return what is to be known of how a run's training ended; see `mergerexp.runs.endings`."""
    settings, metrics = study.settings[run_id], study.metrics.get(run_id, {})
    if EPOCHS not in metrics:
        return []
    return caveats(metrics, int(settings["trainer.max_epochs"]), int(settings["trainer.patience"]))


def endings(results: Results) -> pd.DataFrame:
    """Return how training ended in each run of a network.

    Columns arm, subset, n_train, run_id, epochs and best_epoch (of fine-tuning, from 0; -1: before it), and a
    column for each caveat of `mergerexp.runs.endings`, true or false.
    """
    rows = []
    for run in records(results.study.runs):
        metrics = results.study.metrics.get(run["run_id"], {})
        if EPOCHS not in metrics:  # a rule's
            continue
        found = caveats_of(results.study, run["run_id"])
        row = {key: run[key] for key in ("arm", "subset", "n_train", "run_id")}
        row |= {"epochs": int(metrics[EPOCHS]), "best_epoch": int(metrics[BEST_EPOCH])}
        rows.append(row | {name: name in found for name in SAID})
    columns = ["arm", "subset", "n_train", "run_id", "epochs", "best_epoch", *SAID]
    return pd.DataFrame(rows, columns=columns)


def cautions(results: Results) -> list[str]:
    """Return a sentence for each way in which training ended badly in each compared arm, or network."""
    table = endings(results)
    sentences = []
    for arm in results.compared or results.networks:
        own = table[table["arm"] == arm]
        for name, sentence in SAID.items():
            if n := int(own[name].sum()):
                sentences.append(sentence.format(runs=f"In {n} of the {len(own)} runs", arm=arm))
    return sentences


def training_table(results: Results) -> tuple[str, str, pd.DataFrame, pd.DataFrame]:
    """Return title, caption, numbers and what is shown: how each network was trained, and how that ended."""
    numbers, rows = endings(results), []
    for arm in results.networks:
        for _, own in sorted(numbers[numbers["arm"] == arm].groupby("subset"), reverse=True):
            settings = results.study.settings[own["run_id"].iloc[0]]
            row = {"method": arm, "N": f"{own['n_train'].mean():.0f}"}
            rows.append({**row, **_protocol(settings), **_ends(own)})
    return (
        "How the networks were trained",
        "Fine-tuning ends where as many epochs as patience allows in a row brought no better validation "
        "accuracy, and the best epoch is what is scored. Epochs are of fine-tuning, least to most of the "
        "runs; best epoch 0: none was better than the head stage before it.",
        numbers,
        pd.DataFrame(rows),
    )


def _protocol(settings: dict[str, str]) -> dict[str, str]:
    head = settings.get("init.head_epochs")
    rate = float(settings["optimizer.lr"]) * float(settings["init.lr_factor"])
    return {
        "starts from": f"{settings['init.weights']} weights",
        "head stage": f"{head} epochs" if head else "none",
        "rate": f"{rate:.2g}",
        "max_epochs": settings["trainer.max_epochs"],
        "patience": settings["trainer.patience"],
    }


def _ends(own: pd.DataFrame) -> dict[str, Any]:
    well = ~own[list(SAID)].any(axis=1)
    return {
        "epochs": _range(own["epochs"]),
        "best epoch": _range(own["best_epoch"] + 1),
        "ended by patience, trained": f"{well.sum()} of {len(own)}",
        **{name: str(own[name].sum()) for name in SAID},
    }


def _range(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    return f"{low}" if low == high else f"{low} to {high}"
