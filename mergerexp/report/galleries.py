"""Images of galaxies that were classified rightly and wrongly (Ackermann et al. 2018, Figs 8 to 11)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mergerexp.frames import records
from mergerexp.report.mistakes import is_wrong
from mergerexp.report.page.content import Group, Thumb
from mergerexp.report.results import StudyResults

# Each outcome has a name, a title, the label of its galaxies, and whether they were called mergers.
OUTCOMES = (
    ("fig08_true_positives", "True positives", 1, True),
    ("fig09_false_positives", "False positives", 0, True),
    ("fig10_true_negatives", "True negatives", 0, False),
    ("fig11_false_negatives", "False negatives", 1, False),
)
SHOWN = 16


def galleries(results: StudyResults) -> dict[str, Group]:
    """Return the pictures of each gallery of a study by its name; there is none where no arm has images."""
    if results.pictured is None:
        return {}
    examples = results.examples[results.pictured]
    test = results.study.pooled[results.pictured].first_seed
    samples = sample_outcomes(examples, results.settings.seed)
    groups = {
        name: Group(title, samples[name], int(has_outcome(test, label, called).sum()))
        for name, title, label, called in OUTCOMES
    }
    worst = Group("Mistakes", most_confident_mistakes(examples), int(is_wrong(test).sum()))
    return {**groups, "most_confident_mistakes": worst}


def has_outcome(rated: pd.DataFrame, label: int, called: bool) -> pd.Series:
    """Tell which galaxies have a label, and are called mergers or not at p_m = 0.5."""
    return (rated["label"] == label) & ((rated["p_m"] >= 0.5) == called)


def sample_outcomes(examples: pd.DataFrame, seed: int) -> dict[str, list[Thumb]]:
    """Draw galaxies with each outcome at random.

    Parameters
    ----------
    examples
        The galaxies whose images are at hand, with the columns objid, label, p_m, jpeg and drawn. The last
        is True for the galaxies that were drawn at random from those with the same outcome; see
        `mergerexp.training.examples`.
    seed
        The seed of the random draw.

    Returns
    -------
    dict
        The pictures of each outcome by the name of its gallery; the list is empty where there are none.
    """
    samples = {}
    for name, _, label, called in OUTCOMES:
        candidates = examples[has_outcome(examples, label, called) & examples["drawn"]]
        order = np.random.default_rng([seed, label, called]).permutation(len(candidates))[:SHOWN]
        samples[name] = thumbs(candidates.iloc[order].sort_values("p_m", ascending=False))
    return samples


def most_confident_mistakes(examples: pd.DataFrame) -> list[Thumb]:
    """Return the wrongly classified galaxies whose p_m is farthest from 0.5, the worst first."""
    wrong = examples[is_wrong(examples)]
    worst = (wrong["p_m"] - 0.5).abs().sort_values(ascending=False, kind="stable").index[:SHOWN]
    return thumbs(wrong.loc[worst])


def thumbs(rows: pd.DataFrame) -> list[Thumb]:
    """Return the images of a table's rows, which have jpeg, p_m, objid and label, and may have a file."""
    return [
        Thumb(row["jpeg"], row["p_m"], row["objid"], row["label"], _file(row.get("file")))
        for row in records(rows)
    ]


def _file(name: Any) -> str:
    return name if isinstance(name, str) else ""  # Of several runs, some may have recorded no file.
