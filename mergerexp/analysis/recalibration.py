"""Calibrators that are fitted to a third of each test fold and scored on the rest, as in the paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mergerexp.analysis.calibrators import Calibrator, calibrator_class
from mergerexp.analysis.metrics import checked

_THIRDS = 1  # keeps these random numbers apart from others of the same seed


def thirds(label: ArrayLike, seed: int | Sequence[int], group: ArrayLike | None = None) -> NDArray[np.bool_]:
    """Draw a third of the galaxies, stratified by class, to fit a calibrator on.

    Parameters
    ----------
    label : array_like of int, shape (n,)
        The class of each galaxy: 1 for a merger, 0 for any other.
    seed : int or sequence of int
        The seed of the draw.
    group : array_like of int, shape (n,), or None, default None
        The group of each galaxy. Galaxies of one group (images of one encounter) stay together, so that the
        calibrator is not scored on what it was fitted to; a group with both classes counts as one of its
        first galaxy's class. None puts each galaxy into a group of its own.

    Returns
    -------
    ndarray of bool, shape (n,)
        True for the third to fit on, False for the rest to score. Each part holds at least one group of
        each class.

    Raises
    ------
    ValueError
        If labels are wrong, or a class has fewer than two groups.

    Examples
    --------
    >>> fitting = thirds([1] * 3 + [0] * 6, seed=1)
    >>> int(fitting[:3].sum()), int(fitting[3:].sum())
    (1, 2)
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

    The draw depends on the seed, the fold, and the galaxies and groups in it; it does not depend on their
    order, on p_m or on the seed of the run, so that methods and initialisations can be compared galaxy by
    galaxy.

    Parameters
    ----------
    predictions : DataFrame
        Predictions with the columns fold, seed, objid (int), split, label (0 or 1), p_m and, if galaxies
        have groups, group (int; see `thirds`); other columns are kept. Only rows whose split is ``test``
        are used, and each objid must occur once in a seed.
    seed : int
        The seed of the draw.

    Returns
    -------
    DataFrame
        The test rows in the order of seed, fold and objid, with a column ``fitting`` (bool).

    Raises
    ------
    ValueError
        If a column is missing or of the wrong type, there is no test row, an objid occurs twice, or a fold
        has too few galaxies of a class.

    Examples
    --------
    >>> predictions = pd.DataFrame({"objid": range(12), "label": [0, 1] * 6, "p_m": 0.5})
    >>> predictions = predictions.assign(fold=[0] * 6 + [1] * 6, seed=0, split="test")
    >>> split = split_test_folds(predictions, seed=1)
    >>> split.groupby(["fold", "label"])["fitting"].sum().tolist()
    [1, 1, 1, 1]
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
    label, p, fitting = test["label"].to_numpy(), test["p_m"].to_numpy(), np.zeros(len(test), dtype=bool)
    group = test["group"].to_numpy() if "group" in test else np.arange(len(test))
    for run_seed, fold, rows in _folds(test):
        try:
            checked(label[rows], p[rows])
            fitting[rows] = thirds(label[rows], [seed, fold, _THIRDS], group[rows])
        except ValueError as error:
            raise ValueError(f"fold {fold} of seed {run_seed}: {error}") from error
    return test.assign(fitting=fitting)


def recalibrate(
    predictions: pd.DataFrame, method: str, seed: int, prevalence: float | None = None
) -> tuple[pd.DataFrame, dict[tuple[int, int], Calibrator]]:
    """Fit a calibrator to a third of each test fold, and apply it to the other two thirds.

    Parameters
    ----------
    predictions : DataFrame
        The predictions, as `split_test_folds` takes them.
    method : {"isotonic", "platt"}
        The method of calibration.
    seed : int
        The seed that the thirds are drawn with.
    prevalence : float or None, default None
        The fraction of mergers at which the calibrated probabilities are to hold; None for the one of the
        fitting thirds. A network that was trained on balanced batches gives p_m for a fraction of 0.5.

    Returns
    -------
    frame : DataFrame
        The scored two thirds of all folds in the order of seed, fold and objid, with all columns given;
        p_cal, the calibrated probability; and p_cal_clipped, the same kept off 0 and 1 for the log-loss
        (see `mergerexp.analysis.calibrators.Isotonic`).
    calibrators : dict of (int, int) to Calibrator
        The calibrator of each seed and fold.

    Raises
    ------
    ValueError
        If a column is missing or of the wrong type, there is no test row, an objid occurs twice, a fold has
        too few galaxies of a class, or the method, p_m or the prevalence is wrong.

    Examples
    --------
    >>> p_m = [0.1, 0.9, 0.2, 0.8, 0.3, 0.7]
    >>> predictions = pd.DataFrame({"objid": range(6), "label": [0, 1] * 3, "p_m": p_m})
    >>> predictions = predictions.assign(fold=0, seed=0, split="test")
    >>> frame, calibrators = recalibrate(predictions, "isotonic", seed=1)
    >>> frame["label"].tolist(), frame["p_cal"].tolist()
    ([0, 1, 0, 1], [0.0, 1.0, 0.0, 1.0])
    """
    kind, calibrators = calibrator_class(method), dict[tuple[int, int], Calibrator]()
    test = split_test_folds(predictions, seed)
    label, p, fitting = (test[name].to_numpy() for name in ("label", "p_m", "fitting"))
    p_cal, clipped = np.zeros(len(test)), np.zeros(len(test))
    for run_seed, fold, rows in _folds(test):
        third, rest = rows[fitting[rows]], rows[~fitting[rows]]
        calibrator = kind.fit(label[third], p[third])
        calibrators[run_seed, fold] = calibrator
        p_cal[rest] = calibrator.apply(p[rest], prevalence)
        clipped[rest] = calibrator.apply(p[rest], prevalence, clip=True)
    scored = test.drop(columns="fitting").assign(p_cal=p_cal, p_cal_clipped=clipped)
    return scored[~fitting].reset_index(drop=True), calibrators


def _folds(test: pd.DataFrame) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """Yield seed, fold and rows of each test fold; the rows are in the order of these two."""
    seed, fold = (test[name].to_numpy(np.int64) for name in ("seed", "fold"))
    ends = np.flatnonzero((np.diff(seed) != 0) | (np.diff(fold) != 0)) + 1
    for rows in np.split(np.arange(len(test)), ends):
        yield int(seed[rows[0]]), int(fold[rows[0]]), rows
