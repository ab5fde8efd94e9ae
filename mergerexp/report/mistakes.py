"""The most confident mistakes as a table, so that these galaxies can be looked at again."""

from __future__ import annotations

import pandas as pd

from mergerexp.report.numbers import p_m_text
from mergerexp.report.results import StudyResults
from mergerexp.report.table import Table

TOP = 50  # mistakes about each class


def mistakes_table(results: StudyResults) -> Table:
    """Return the most confident mistakes of the method that the galleries show, the worst first."""
    arm = results.pictured or results.headline
    test = results.study.pooled[arm].first_seed
    wrong = test[is_wrong(test)]
    order = (wrong["p_m"] - 0.5).abs().sort_values(ascending=False, kind="stable").index
    worst = wrong.loc[order].groupby("label").head(TOP)
    positive, negative = results.study.class_names
    names = {1: positive, 0: negative}
    frame = pd.DataFrame(
        {
            **({"file": worst["file"].fillna("")} if "file" in worst else {}),
            "objid": worst["objid"],
            "label": worst["label"].map(names),
            "predicted": (1 - worst["label"]).map(names),
            "p_m": worst["p_m"],
            "arm": arm,
            "fold": worst["fold"],
        }
    )
    return Table(
        name="confident_mistakes",
        title=f"The most confident mistakes of {arm}",
        caption=f"Test galaxies on the wrong side of p_m = 0.5, the worst first, at most {TOP} of a class.",
        shown=frame.assign(p_m=frame["p_m"].map(p_m_text)).rename(columns={"arm": "method"}).astype(str),
        numbers=frame,
    )


def is_wrong(rated: pd.DataFrame) -> pd.Series:
    """Tell of each rated galaxy whether it is on the wrong side of p_m = 0.5."""
    return (rated["p_m"] >= 0.5) != (rated["label"] == 1)
