"""How much degraded images cost: the error against the strength of a degradation, and where it has doubled.

Everything is computed from a frame of ratings with a row a galaxy, run, degradation and strength, and the
columns arm (str), subset (float), seed (int), fold (int), objid (int), label (0 or 1), degradation (str),
strength (float) and p_m (in [0, 1]). The strengths of a degradation are in the order of their rows, and the
first is none: the images as they are.
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
    """Average the class-balanced error over the folds, and over the seeds within a fold first.

    Parameters
    ----------
    ratings
        See the module.
    subset
        Of the data set; None for each arm's largest.

    Returns
    -------
    DataFrame
        arm, subset, degradation, strength, error, sem (s/√K; NaN for one fold), folds (K): a row an arm,
        degradation and strength, in the order of the ratings.

    Raises
    ------
    ValueError
        If columns are missing, no rating is of this subset, a run lacks a strength that others of its arm
        have, or labels and p_m can't be scored (see `metrics.scores`).
    """
    if missing := [column for column in COLUMNS if column not in ratings]:
        raise ValueError(f"ratings have no column {', '.join(missing)}; they have {list(ratings)}")
    largest = ratings.groupby("arm")["subset"].transform("max")
    own = ratings[ratings["subset"] == (largest if subset is None else subset)]
    if own.empty:
        raise ValueError(f"no ratings of subset {subset}")
    run = ["arm", "subset", "seed", "fold"]
    rows = [
        (*key, scores(part["label"], part["p_m"])["error"])
        for key, part in own.groupby([*run, *LEVEL], sort=False)
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
    """Tell at which strength each arm's error has doubled.

    Parameters
    ----------
    curves
        As `robustness_curves` returns them.

    Returns
    -------
    DataFrame
        arm, subset, degradation, none (the error on images as they are), worst (the largest error),
        doubled (see `doubling_strength`; NaN for never).
    """
    rows = []
    for (arm, subset, degradation), part in curves.groupby(["arm", "subset", "degradation"], sort=False):
        row = {"arm": arm, "subset": subset, "degradation": degradation}
        row |= {"none": part["error"].iloc[0], "worst": part["error"].max()}
        rows.append({**row, "doubled": doubling_strength(part["strength"], part["error"])})
    return pd.DataFrame(rows).astype({"doubled": float})


def doubling_strength(strengths: ArrayLike, errors: ArrayLike) -> float | None:
    """Return the strength at which the error is first twice that of the first strength.

    Between two strengths the error is taken to be linear in the strength.

    Parameters
    ----------
    strengths
        From none on, rising or falling; shape (n,).
    errors
        At each, shape (n,).

    Returns
    -------
    float or None
        None if the error never doubles, or is zero at the first strength. An error above 0.25 can't double
        before the classes are mixed up.

    Raises
    ------
    ValueError
        If the shapes differ, there is no strength or a value is not finite.
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
    """Refuse an arm whose runs were rated at different strengths: each mean would be over other folds."""
    for arm, part in errors.groupby("arm"):
        runs = part[run].drop_duplicates()
        for (degradation, strength), rated in part.groupby(LEVEL, sort=False):
            if len(rated) < len(runs):
                lacking = runs.merge(rated[run], how="left", indicator=True).query("_merge == 'left_only'")
                seed, fold = lacking["seed"].iloc[0], lacking["fold"].iloc[0]
                raise ValueError(
                    f"{arm}, fold {fold}, seed {seed}: not rated at {degradation} {strength:g}, unlike other "
                    "runs of this arm; rate all of them with the same settings"
                )
