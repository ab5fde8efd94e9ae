"""Calibrators fitted to a third of each test fold and scored on the rest, as the paper does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mergerexp.analysis.calibrators import Calibrator, calibrator_class
from mergerexp.analysis.metrics import checked

_THIRDS = 1  # what the random numbers are for


def thirds(label: ArrayLike, seed: int | Sequence[int], group: ArrayLike | None = None) -> NDArray[np.bool_]:
    """Draw a third of the galaxies, stratified by class, to fit a calibrator on.

    Parameters
    ----------
    label
        0 or 1, shape (n,).
    seed
        Of the draw.
    group
        Integers, shape (n,): galaxies of one group (images of one encounter) stay together, so that the
        calibrator is not scored on what it was fitted on; a group of both classes counts as of its first
        galaxy's. None: each by itself.

    Returns
    -------
    ndarray
        True for the third to fit on, False for the rest to score; shape (n,). Of each class at least one
        group is in both.

    Raises
    ------
    ValueError
        If labels are wrong, or fewer than two groups are of a class.
    """
    labels = np.asarray(label)
    truth, _ = checked(labels, np.zeros(labels.shape))
    groups = np.arange(len(truth)) if group is None else np.asarray(group)
    _, first, group_of = np.unique(groups, return_index=True, return_inverse=True)
    rng = np.random.default_rng(seed)
    fitting = np.zeros(len(first), dtype=bool)
    for members in (np.flatnonzero(truth[first]), np.flatnonzero(~truth[first])):
        if len(members) < 2:
            raise ValueError(
                "at least two galaxies of each class, of two groups, are needed: one to fit on, one to score"
            )
        fitting[rng.permutation(members)[: max(1, round(len(members) / 3))]] = True
    return fitting[group_of]


def split_test_folds(predictions: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Split each test fold into a third to fit a calibrator on and two thirds to score it on.

    The draw depends on the seed, the fold and which galaxies and groups are in it, not on their order, on
    p_m or on the run's own seed, so that methods and initialisations can be compared galaxy by galaxy.

    Parameters
    ----------
    predictions
        Columns fold, seed, objid (integers), split, label (0 or 1), p_m and, if objects have any, group
        (integers), which stays together; others are kept. Rows whose split is ``test`` are used, and in
        one seed each objid must be there once.
    seed
        Seed of the draw.

    Returns
    -------
    DataFrame
        The test rows by seed, fold and objid, with a column ``fitting`` (bool).

    Raises
    ------
    ValueError
        If a column is missing or of the wrong type, there is no test row, an objid is there twice, or a
        fold has too few galaxies of a class.
    """
    needed = ["fold", "seed", "split", "objid", "label", "p_m"]
    if missing := [name for name in needed if name not in predictions.columns]:
        raise ValueError(f"predictions lack the columns {missing}; they have {list(predictions.columns)}")
    for name in ("fold", "seed", "objid"):
        if not pd.api.types.is_integer_dtype(predictions[name]):
            raise ValueError(f"column {name} must be of integers, not {predictions[name].dtype}")
    test = predictions[predictions["split"] == "test"]
    if test.empty:
        raise ValueError("predictions have no row whose split is 'test'")
    if (twice := test.duplicated(["seed", "objid"])).any():
        row = test[twice].iloc[0]
        raise ValueError(
            f"objid {row['objid']} has several test rows of seed {row['seed']}: "
            "pass the folds of one initialisation and subset at a time"
        )
    test = test.sort_values(["seed", "fold", "objid"], ignore_index=True)
    fitting = np.zeros(len(test), dtype=bool)
    for run_seed, fold, part in _folds(test):
        try:
            checked(part["label"], part["p_m"])
            fitting[part.index] = thirds(part["label"], [seed, fold, _THIRDS], part.get("group"))
        except ValueError as error:
            raise ValueError(f"fold {fold} of seed {run_seed}: {error}") from error
    return test.assign(fitting=fitting)


def recalibrate(
    predictions: pd.DataFrame, method: str, seed: int, prevalence: float | None = None
) -> tuple[pd.DataFrame, dict[tuple[int, int], Calibrator]]:
    """Calibrate each test fold's predictions by a third of it, and pool the other two thirds.

    Parameters
    ----------
    predictions, seed
        As for `split_test_folds`.
    method
        ``isotonic`` or ``platt``.
    prevalence
        Fraction of mergers for which the result is to hold; None for the data's own. A network trained on
        balanced batches gives p_m for 1:1.

    Returns
    -------
    frame : DataFrame
        The scored two thirds of all folds by seed, fold and objid, with all columns given, p_cal, and
        p_cal_clipped: the same kept off 0 and 1 (`Isotonic`), for the log-loss and nothing else.
    calibrators : dict
        The calibrator of each (seed, fold).

    Raises
    ------
    ValueError
        As `split_test_folds` does, or if the method or the prevalence is wrong.
    """
    kind = calibrator_class(method)
    scored, calibrators = [], dict[tuple[int, int], Calibrator]()
    for run_seed, fold, part in _folds(split_test_folds(predictions, seed)):
        third, rest = part[part["fitting"]], part[~part["fitting"]]
        calibrator = kind.fit(third["label"], third["p_m"])
        calibrators[run_seed, fold] = calibrator
        p_cal, clipped = (calibrator.apply(rest["p_m"], prevalence, clip) for clip in (False, True))
        scored.append(rest.drop(columns="fitting").assign(p_cal=p_cal, p_cal_clipped=clipped))
    return pd.concat(scored, ignore_index=True), calibrators


def _folds(test: pd.DataFrame) -> Iterator[tuple[int, int, pd.DataFrame]]:
    for run_seed, fold in test[["seed", "fold"]].drop_duplicates().to_numpy().tolist():
        yield run_seed, fold, test[(test["seed"] == run_seed) & (test["fold"] == fold)]
