"""The error on degraded images against the strength of a degradation, and where the error has doubled.

The functions take a frame of ratings with one row for each galaxy, run, degradation and strength, and the
columns arm (str), subset (float), seed (int), fold (int), objid (int), label (0 or 1), degradation (str),
strength (float) and p_m (in [0, 1]). The strengths of a degradation are in the order of their rows; the first
one stands for the images as they are.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mergerexp.analysis.intervals import mean_sem
from mergerexp.analysis.metrics import scores

COLUMNS = ("arm", "subset", "seed", "fold", "objid", "label", "degradation", "strength", "p_m")
LEVEL = ["degradation", "strength"]


def robustness_curves(ratings: pd.DataFrame, subset: float | None = None) -> pd.DataFrame:
    """Average the class-balanced error over the seeds of each fold, and then over the folds.

    Parameters
    ----------
    ratings : DataFrame
        The ratings, with the columns that the module's docstring names.
    subset : float or None, default None
        The fraction of the training set whose runs are used; None for the largest of each arm.

    Returns
    -------
    DataFrame
        One row for each arm, degradation and strength, in the order of the ratings: arm, subset,
        degradation, strength, error, sem (the standard error of the mean s/√K, NaN for one fold) and folds
        (K).

    Raises
    ------
    ValueError
        If columns are missing, no rating is of this subset, a run lacks a strength that others of its arm
        have, or labels and p_m can't be scored (see `mergerexp.analysis.metrics.scores`).

    Examples
    --------
    Two mergers and two others in each of two folds, as they are and as JPEGs of a quality of 20; in the
    first fold the JPEG of a merger is not recognised.

    >>> ratings = pd.DataFrame(
    ...     {
    ...         "arm": "imagenet",
    ...         "subset": 1.0,
    ...         "seed": 0,
    ...         "fold": np.repeat([0, 0, 1, 1], 4),
    ...         "objid": np.tile(np.arange(4), 4),
    ...         "label": np.tile([1, 1, 0, 0], 4),
    ...         "degradation": "jpeg",
    ...         "strength": np.repeat([100.0, 20.0, 100.0, 20.0], 4),
    ...         "p_m": [0.9, 0.8, 0.1, 0.2, 0.9, 0.3, 0.1, 0.2] + [0.9, 0.8, 0.1, 0.2] * 2,
    ...     }
    ... )
    >>> print(robustness_curves(ratings).to_string(index=False))
         arm  subset degradation  strength  error   sem  folds
    imagenet     1.0        jpeg     100.0  0.000 0.000      2
    imagenet     1.0        jpeg      20.0  0.125 0.125      2
    """
    if missing := [column for column in COLUMNS if column not in ratings]:
        raise ValueError(f"ratings have no column {', '.join(missing)}; they have {list(ratings)}")
    largest = ratings.groupby("arm")["subset"].transform("max")
    used = ratings[ratings["subset"] == (largest if subset is None else subset)]
    if used.empty:
        raise ValueError(f"no ratings of subset {subset}")
    run = ["arm", "subset", "seed", "fold"]
    rows = [
        (*key, scores(part["label"], part["p_m"])["error"])
        for key, part in used.groupby([*run, *LEVEL], sort=False)
    ]
    errors = pd.DataFrame(rows, columns=[*run, *LEVEL, "error"])
    _check_complete(errors, run)
    of_fold = errors.groupby(["arm", "subset", *LEVEL, "fold"], sort=False)["error"].mean()
    curve = [
        (*level, *mean_sem(folds), len(folds))
        for level, folds in of_fold.groupby(["arm", "subset", *LEVEL], sort=False)
    ]
    return pd.DataFrame(curve, columns=["arm", "subset", *LEVEL, "error", "sem", "folds"])


def doubling_strengths(curves: pd.DataFrame) -> pd.DataFrame:
    """Find the strength of each degradation at which the error of each arm has doubled.

    Parameters
    ----------
    curves : DataFrame
        The errors at each strength, as `robustness_curves` returns them.

    Returns
    -------
    DataFrame
        One row for each arm and degradation: arm, subset, degradation, none (the error on the images as
        they are), worst (the largest error) and doubled (see `doubling_strength`; NaN if the error never
        doubles).

    Examples
    --------
    >>> curves = pd.DataFrame({"strength": [0.0, 1.0, 2.0], "error": [0.04, 0.06, 0.1]})
    >>> curves = curves.assign(arm="imagenet", subset=1.0, degradation="noise")
    >>> print(doubling_strengths(curves).to_string(index=False))
         arm  subset degradation  none  worst  doubled
    imagenet     1.0       noise  0.04    0.1      1.5
    """
    rows = []
    for (arm, subset, degradation), part in curves.groupby(["arm", "subset", "degradation"], sort=False):
        row = {"arm": arm, "subset": subset, "degradation": degradation}
        row |= {"none": part["error"].iloc[0], "worst": part["error"].max()}
        rows.append({**row, "doubled": doubling_strength(part["strength"], part["error"])})
    return pd.DataFrame(rows).astype({"doubled": float})


def doubling_strength(strengths: ArrayLike, errors: ArrayLike) -> float | None:
    """Return the smallest strength at which the error is twice that of the images as they are.

    Between two strengths the error is interpolated linearly. An error above 0.25 can't double before it is
    that of a coin toss.

    Parameters
    ----------
    strengths : array_like of float, shape (n,)
        The strengths in the order of the degradation, rising or falling; the first stands for the images as
        they are.
    errors : array_like of float, shape (n,)
        The error at each strength.

    Returns
    -------
    float or None
        The strength; None if the error never doubles, or is zero on the images as they are.

    Raises
    ------
    ValueError
        If the shapes differ, there is no strength or a value is not finite.

    Examples
    --------
    >>> doubling_strength([0, 1, 2], [0.04, 0.06, 0.1])
    1.5
    """
    strength, error = np.asarray(strengths, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    if strength.ndim != 1 or strength.shape != error.shape or len(strength) == 0:
        raise ValueError(f"strengths and errors must be lists alike, not {strength.shape} and {error.shape}")
    if not (np.isfinite(strength).all() and np.isfinite(error).all()):
        raise ValueError("strengths and errors must be finite")
    twice = 2 * error[0]
    above = np.flatnonzero(error >= twice)
    if twice == 0 or len(above) == 0:
        return None
    i = int(above[0])
    share = (twice - error[i - 1]) / (error[i] - error[i - 1])
    return float(strength[i - 1] + share * (strength[i] - strength[i - 1]))


def _check_complete(errors: pd.DataFrame, run: list[str]) -> None:
    """Refuse an arm whose runs were rated at different strengths, since means would be over other folds."""
    for arm, part in errors.groupby("arm"):
        runs = part[run].drop_duplicates()
        for (degradation, strength), rated in part.groupby(LEVEL, sort=False):
            if len(rated) < len(runs):
                lacking = runs.merge(rated[run], how="left", indicator=True).query("_merge == 'left_only'")
                seed, fold = lacking["seed"].iloc[0], lacking["fold"].iloc[0]
                raise ValueError(
                    f"{arm}, fold {fold}, seed {seed}: not rated at {degradation} {strength:g}, unlike other "
                    "runs of this method; rate all of them with the same settings"
                )
