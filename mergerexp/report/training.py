"""How the networks of a study were trained, and in which runs training ended badly."""

from __future__ import annotations

import pandas as pd

from mergerexp.frames import records
from mergerexp.report.results import StudyResults
from mergerexp.report.texts import texts
from mergerexp.runs.endings import BEST_EPOCH, CUT_OFF, DIVERGED, EPOCHS, UNTUNED, caveats
from mergerexp.tracking.study import Study

CAVEAT_SENTENCES = {
    UNTUNED: "no epoch of fine-tuning was better than the head on the frozen backbone. The network that is "
    "scored has a backbone that was never trained on these galaxies.",
    CUT_OFF: "training stopped at max_epochs before patience was used up. Longer training might be better.",
    DIVERGED: "training diverged after its best epoch. The network of the best epoch is scored.",
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
    """Return what a reader has to know of each compared arm, or else network, before believing its error.

    These are sentences on each way in which training ended badly, and on what a network has seen before.
    """
    table = endings(results)
    sentences = []
    for arm in results.compared or results.networks:
        sentences += _ancestor(results.study, arm)
        runs = table[table["arm"] == arm]
        for name, sentence in CAVEAT_SENTENCES.items():
            if n := int(runs[name].sum()):
                which = f"all {n}" if n == len(runs) > 1 else f"{n} of the {len(runs)}"
                sentences.append(f"In {which} runs of {arm}, {sentence}")
    return sentences


def _ancestor(study: Study, arm: str) -> list[str]:
    """Return a sentence on the network of galaxies that an arm started from, if it did."""
    run_ids = study.runs.loc[study.runs["arm"] == arm, "run_id"]
    tags = next((study.tags[each] for each in run_ids if "mergerexp.weights.seen" in study.tags[each]), None)
    if tags is None:
        return []
    found = {key: tags[f"mergerexp.{key}"] for key in ("data.name", "data.objects")}
    seen = tags["mergerexp.weights.seen"]
    sentence = texts()["ancestors"]["none" if seen == "0" else seen if seen == "unknown" else "some"]
    words = {"arm": arm, "origin": tags["mergerexp.weights.origin"], "seen": seen}
    return [sentence.format(total=found["data.objects"], data=found["data.name"], **words)]
