"""How the networks of a study were trained, and in which runs training ended badly."""

from __future__ import annotations

from typing import Any

import pandas as pd

from mergerexp.frames import records
from mergerexp.report.results import StudyResults
from mergerexp.runs.endings import BEST_EPOCH, CUT_OFF, DIVERGED, EPOCHS, UNTUNED, caveats
from mergerexp.tracking.study import Study

CAVEAT_SENTENCES = {
    UNTUNED: "{runs} of {arm}, no epoch of fine-tuning was better than the head on the frozen backbone: what "
    "is scored there is a backbone that was never trained on these galaxies.",
    CUT_OFF: "{runs} of {arm}, training stopped at max_epochs before patience was used up: longer training "
    "might be better.",
    DIVERGED: "{runs} of {arm}, training diverged after its best epoch, which is what is scored.",
}


def caveats_of(study: Study, run_id: str) -> list[str]:
    """Return the ways in which a run's training ended badly; see `mergerexp.runs.endings`."""
    limits = (int(study.settings[run_id].get(f"trainer.{key}", 0)) for key in ("max_epochs", "patience"))
    return caveats(study.metrics.get(run_id, {}), *limits)


def endings(results: StudyResults) -> pd.DataFrame:
    """Return how training ended in each run of a network.

    Returns
    -------
    DataFrame
        The runs, one per row, with the columns arm, subset, n_train, run_id, epochs, best_epoch and one for
        each caveat of `mergerexp.runs.endings`, true or false. Epochs are those of fine-tuning. The first is
        number 0, and a best epoch of -1 means that none was better than the network before fine-tuning.
    """
    rows = []
    for run in records(results.study.runs):
        metrics = results.study.metrics.get(run["run_id"], {})
        if EPOCHS not in metrics:  # A rule has no epochs.
            continue
        found = caveats_of(results.study, run["run_id"])
        row = {key: run[key] for key in ("arm", "subset", "n_train", "run_id")}
        row |= {"epochs": int(metrics[EPOCHS]), "best_epoch": int(metrics[BEST_EPOCH])}
        rows.append(row | {name: name in found for name in CAVEAT_SENTENCES})
    columns = ["arm", "subset", "n_train", "run_id", "epochs", "best_epoch", *CAVEAT_SENTENCES]
    return pd.DataFrame(rows, columns=columns)


def cautions(results: StudyResults) -> list[str]:
    """Return a sentence for each way in which training ended badly, in each compared arm or else network."""
    table = endings(results)
    sentences = []
    for arm in results.compared or results.networks:
        runs = table[table["arm"] == arm]
        for name, sentence in CAVEAT_SENTENCES.items():
            if n := int(runs[name].sum()):
                sentences.append(sentence.format(runs=f"In {n} of the {len(runs)} runs", arm=arm))
    return sentences


def training_table(results: StudyResults) -> tuple[str, str, pd.DataFrame, pd.DataFrame]:
    """Return the table of how each network was trained and how that ended: title, caption, numbers, texts."""
    numbers, rows = endings(results), []
    for arm in results.networks:
        for _, runs in sorted(numbers[numbers["arm"] == arm].groupby("subset"), reverse=True):
            settings = results.study.settings[runs["run_id"].iloc[0]]
            row = {"method": arm, "N": f"{runs['n_train'].mean():.0f}"}
            rows.append({**row, **_settings_texts(settings), **_ending_texts(runs)})
    return (
        "How the networks were trained",
        "Fine-tuning ends where as many epochs as patience allows in a row brought no better validation "
        "accuracy, and the best epoch is what is scored. Epochs are of fine-tuning, least to most of the "
        "runs; best epoch 0: none was better than the head stage before it.",
        numbers,
        pd.DataFrame(rows),
    )


def _settings_texts(settings: dict[str, str]) -> dict[str, str]:
    head = settings.get("init.head_epochs")
    rate = float(settings["optimizer.lr"]) * float(settings["init.lr_factor"])
    return {
        "starts from": f"{settings['init.weights']} weights",
        "head stage": f"{head} epochs" if head else "none",
        "rate": f"{rate:.2g}",
        "max_epochs": settings["trainer.max_epochs"],
        "patience": settings["trainer.patience"],
    }


def _ending_texts(runs: pd.DataFrame) -> dict[str, Any]:
    ended_well = ~runs[list(CAVEAT_SENTENCES)].any(axis=1)
    return {
        "epochs": _range(runs["epochs"]),
        "best epoch": _range(runs["best_epoch"] + 1),
        "ended by patience, trained": f"{ended_well.sum()} of {len(runs)}",
        **{name: str(runs[name].sum()) for name in CAVEAT_SENTENCES},
    }


def _range(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    return f"{low}" if low == high else f"{low} to {high}"
