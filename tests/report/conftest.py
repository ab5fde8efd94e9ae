"""Studies that are made up in memory, their results, and what a report says of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from mergerexp.config.schema import SplitConfig
from mergerexp.data.splits import make_split, n_balanced
from mergerexp.report.figures.lesion import draw_lesion
from mergerexp.report.figures.quality import draw_roc
from mergerexp.report.results import StudyResults, compute
from mergerexp.report.settings import AggregationSettings
from mergerexp.report.story import build_report
from mergerexp.report.tables import all_tables
from mergerexp.tracking.study import Study

Cell = tuple[str, float, int, int]  # arm, subset, seed, fold

WEIGHTS = {"imagenet": "pretrained", "random": "random"}


def cells(
    arms: Sequence[str] = ("imagenet", "random"),
    subsets: Sequence[float] = (1.0,),
    seeds: Sequence[int] = (0,),
    folds: Sequence[int] = (0, 1, 2, 3),
) -> list[Cell]:
    return [
        (arm, subset, seed, fold) for arm in arms for subset in subsets for seed in seeds for fold in folds
    ]


def study(which: Sequence[Cell], mergers: int = 60, others: int = 140, **split: object) -> Study:
    """Return a study whose networks are better the more galaxies they have."""
    labels = np.repeat([1, 0], [mergers, others])
    split = {"folds": 4, "subset_of": "all", "negatives": "all", **split}
    settings = SplitConfig(seed=0, **split)  # type: ignore[arg-type]
    rows, predictions = [], []
    for arm, subset, seed, fold in which:
        chosen = make_split(labels, np.arange(len(labels)), settings, fold, subset)
        rng = np.random.default_rng([len(arm), round(100 * subset), seed, fold])
        run = {"arm": arm, "subset": subset, "n_train": n_balanced(labels[chosen.train])}
        run |= {"seed": seed, "fold": fold}
        rows.append({**run, "run_id": f"{len(rows):032d}", "run_name": "run", "epochs": 1.0, "seconds": 1.0})
        for name, objid in (("val", chosen.val), ("test", chosen.test)):
            logit = 2 * subset * (2 * labels[objid] - 1) + 2 * rng.normal(size=len(objid))
            rated = {"split": name, "objid": objid, "group": objid, "label": labels[objid]}
            predictions.append(pd.DataFrame({**run, **rated, "p_m": 1 / (1 + np.exp(-logit))}))
    runs = pd.DataFrame(rows).assign(commit="0123abc", device="cpu", started=0)
    settings = {
        row["run_id"]: {
            "model.kind": "network",
            "init.weights": WEIGHTS[row["arm"]],
            "data.published_sample": "False",
            **{f"split.{key}": str(value) for key, value in split.items()},
        }
        for row in rows
    }
    classes = {"positive": "merger", "negative": "noninteracting", "name": "galaxies", "objects": "200"}
    tags = {row["run_id"]: {f"mergerexp.data.{key}": value for key, value in classes.items()} for row in rows}
    return Study(
        "s", "sqlite:///s.db", "1", runs, [], settings, tags, {}, pd.concat(predictions, ignore_index=True)
    )


@functools.cache
def results(*which: Cell, compare: tuple[str, str] | None = None, **made: object) -> StudyResults:
    return compute(study(which, **made), AggregationSettings(compare, draws=20))  # type: ignore[arg-type]


def prose(found: StudyResults) -> str:
    """Return what a page says in sentences."""
    report = build_report(found, all_tables(found), {}, {})
    intros = (f"{section.title} {section.intro}" for section in report.sections)
    return " ".join([*report.verdict, report.evidence, *intros])


def shown(found: StudyResults) -> str:
    """Return all that a page says: texts, tables, and the words in two figures."""
    report = build_report(found, tables := all_tables(found), {}, {})
    tiles = " ".join(f"{line.label} {line.ours} {line.published} {line.note}" for line in report.headline)
    cells = " ".join(table.shown.to_csv() + table.caption for table in tables)
    drawn = [draw_lesion(found), draw_roc(found)]
    legends = [axes.get_legend() for made in drawn for axes in made.axes]
    words = " ".join(
        text.get_text() for legend in legends for text in [legend.get_title(), *legend.get_texts()]
    )
    return " ".join([tiles, cells, words, *report.errata, prose(found)])
