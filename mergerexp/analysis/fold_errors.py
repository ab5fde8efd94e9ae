"""Test errors of runs, and their means over the folds.

The functions take a frame of predictions with one row for each galaxy and run, and the columns arm (str),
subset (float), n_train (int, the size of the balanced training set), seed (int), fold (int), split ("val" or
"test"), objid (int), label (0 or 1) and p_m (in [0, 1]). Only rows whose split is "test" are used.
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
    """Compute the test error of every run.

    Parameters
    ----------
    predictions : DataFrame
        The predictions, with the columns that the module's docstring names.
    prevalence : float or None, default 0.5
        The fraction of mergers that the classes are weighted to (see `mergerexp.analysis.metrics.scores`);
        None keeps the sample's own fraction.

    Returns
    -------
    DataFrame
        One row for each run, in the order of arm, subset, seed and fold: these four, n_train and error.

    Raises
    ------
    ValueError
        If columns are missing, there is no test row, a run rates an object twice or has two n_train, an
        object has two labels, or a run can't be scored.

    Examples
    --------
    >>> predictions = pd.DataFrame({"objid": range(4), "label": [1, 1, 0, 0], "p_m": [0.9, 0.3, 0.1, 0.2]})
    >>> run = {"arm": "imagenet", "subset": 1.0, "n_train": 8, "seed": 0, "fold": 2, "split": "test"}
    >>> print(fold_errors(predictions.assign(**run)).to_string(index=False))
         arm  subset  seed  fold  n_train  error
    imagenet     1.0     0     2        8   0.25
    """
    runs = []
    for cell, part in rows_of_test_split(predictions).groupby(RUN):
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
    """Average the error of each arm and size over the seeds of each fold, and then over the folds.

    Parameters
    ----------
    predictions : DataFrame
        The predictions, with the columns that the module's docstring names.
    prevalence : float or None, default 0.5
        The fraction of mergers that the classes are weighted to (see `mergerexp.analysis.metrics.scores`);
        None keeps the sample's own fraction.

    Returns
    -------
    DataFrame
        One row for each arm and subset: arm, subset, n_train (mean over the folds, rounded), error, sem
        (the standard error of the mean s/√K, NaN for one fold), folds (K), seeds and runs (numbers of
        them; there are fewer runs than folds times seeds where some are missing), and text (see
        `mergerexp.analysis.significance.shorthand`).

    Raises
    ------
    ValueError
        If `fold_errors` raises it.

    Examples
    --------
    >>> fold = pd.DataFrame({"objid": range(4), "label": [1, 1, 0, 0], "p_m": [0.9, 0.3, 0.1, 0.2]})
    >>> folds = [fold.assign(fold=0), fold.assign(fold=1, objid=range(4, 8), p_m=fold["label"])]
    >>> run = {"arm": "imagenet", "subset": 1.0, "n_train": 8, "seed": 0, "split": "test"}
    >>> table = learning_table(pd.concat(folds).assign(**run))
    >>> print(table[["arm", "n_train", "error", "sem", "folds", "text"]].to_string(index=False))
         arm  n_train  error   sem  folds   text
    imagenet        8  0.125 0.125      2 0.1(1)
    """
    table = []
    for (arm, subset), part in fold_errors(predictions, prevalence).groupby(["arm", "subset"]):
        of_fold = part.groupby("fold")[["error", "n_train"]].mean()
        error, sem = mean_sem(of_fold["error"])
        row = {"arm": arm, "subset": subset, "n_train": round(of_fold["n_train"].mean())}
        row |= {"error": error, "sem": sem, "folds": len(of_fold), "seeds": part["seed"].nunique()}
        table.append({**row, "runs": len(part), "text": shorthand(error, sem)})
    return pd.DataFrame(table)


def rows_of_test_split(predictions: pd.DataFrame) -> pd.DataFrame:
    """Check predictions and return the rows whose split is "test".

    Parameters
    ----------
    predictions : DataFrame
        The predictions, with the columns that the module's docstring names.

    Returns
    -------
    DataFrame
        The rows whose split is "test".

    Raises
    ------
    ValueError
        If columns or values are missing, there is no test row, a run rates an object twice, or an object
        has two labels.

    Examples
    --------
    >>> run = {"arm": "imagenet", "subset": 1.0, "n_train": 8, "seed": 0, "fold": 2}
    >>> predictions = pd.DataFrame({"split": ["val", "test"], "objid": [1, 2], "label": [1, 0], "p_m": 0.4})
    >>> rows_of_test_split(predictions.assign(**run))["objid"].tolist()
    [2]
    """
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
