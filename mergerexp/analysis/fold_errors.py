"""Test errors of runs, and their means over the folds.

Everything is computed from a frame of predictions with a row a galaxy and run, and the columns arm (str),
subset (float), n_train (int, size of the balanced training set), seed (int), fold (int), split ("val" or
"test"), objid (int), label (0 or 1) and p_m (in [0, 1]). Only rows of the split "test" are used.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from mergerexp.analysis.intervals import mean_sem
from mergerexp.analysis.metrics import scores
from mergerexp.analysis.significance import shorthand

COLUMNS = ("arm", "subset", "n_train", "seed", "fold", "split", "objid", "label", "p_m")
RUN = ["arm", "subset", "seed", "fold"]


def fold_errors(predictions: pd.DataFrame, prevalence: float | None = 0.5) -> pd.DataFrame:
    """Score every run.

    Parameters
    ----------
    predictions
        See the module.
    prevalence
        Fraction of mergers that errors are weighed to, as for `metrics.scores`.

    Returns
    -------
    DataFrame
        arm, subset, seed, fold, n_train, error: a row a run, in the order of the first four.

    Raises
    ------
    ValueError
        If columns are missing, there is no test row, a run rates an object twice or has two n_train, an
        object has two labels, or as `metrics.scores` does.
    """
    runs = []
    for cell, part in test_rows(predictions).groupby(RUN):
        n_train = part["n_train"].iloc[0]
        if (part["n_train"] != n_train).any():
            raise ValueError(f"n_train must be one number in a run, unlike in {_name(RUN, cell)}")
        try:
            error = scores(part["label"], part["p_m"], prevalence)["error"]
        except ValueError as mistake:
            raise ValueError(f"{_name(RUN, cell)}: {mistake}") from mistake
        runs.append((*cell, n_train, error))
    return pd.DataFrame(runs, columns=[*RUN, "n_train", "error"])


def learning_table(predictions: pd.DataFrame, prevalence: float | None = 0.5) -> pd.DataFrame:
    """Average the error of each arm and size over the folds, and over the seeds within a fold first.

    Parameters and errors as for `fold_errors`.

    Returns
    -------
    DataFrame
        arm, subset, n_train (mean over folds, rounded), error, sem (s/√K; NaN for one fold), folds (K),
        seeds, runs (fewer than folds times seeds where some are missing), text (as "0.038±1").
    """
    table = []
    for (arm, subset), part in fold_errors(predictions, prevalence).groupby(["arm", "subset"]):
        of_fold = part.groupby("fold")[["error", "n_train"]].mean()
        error, sem = mean_sem(of_fold["error"])
        row = {"arm": arm, "subset": subset, "n_train": round(of_fold["n_train"].mean())}
        row |= {"error": error, "sem": sem, "folds": len(of_fold), "seeds": part["seed"].nunique()}
        table.append({**row, "runs": len(part), "text": shorthand(error, sem)})
    return pd.DataFrame(table)


def test_rows(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the split "test"; a ValueError says what is wrong, as for `fold_errors`."""
    if missing := [name for name in COLUMNS if name not in predictions]:
        raise ValueError(f"predictions lack the columns {', '.join(missing)}")
    rows = predictions[predictions["split"] == "test"]
    if rows.empty:
        raise ValueError("predictions have no row of the split 'test'")
    if (blank := rows[[*RUN, "objid"]].isna().any()).any():
        raise ValueError(f"predictions lack values in {', '.join(blank.index[blank])}")
    if (twice := rows.duplicated([*RUN[:3], "objid"])).any():
        row = rows[twice].iloc[0]
        raise ValueError(f"{_name(RUN[:3], row[RUN[:3]])} tests object {row['objid']} twice")
    labels = rows[["objid", "label"]].drop_duplicates()
    if (twice := labels["objid"].duplicated()).any():
        raise ValueError(f"object {labels['objid'][twice].iloc[0]} has two labels")
    return rows


def _name(keys: list[str], values: Iterable[object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in zip(keys, values, strict=True))
