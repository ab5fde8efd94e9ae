"""Scores of a classifier from stored per-galaxy predictions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]


def scores(
    label: ArrayLike, p_m: ArrayLike, prevalence: float | None = 0.5, threshold: float = 0.5
) -> dict[str, float]:
    """Score predictions as if mergers were a given fraction of the galaxies.

    Every galaxy is weighted so that the mergers' total weight is ``prevalence``. At 0.5 the error is
    (FNR + FPR) / 2, which is how the published figures of Ackermann et al. 2018 were scored.

    Parameters
    ----------
    label
        1 for a merger, 0 else; shape (n,).
    p_m
        Merger probability; shape (n,).
    prevalence
        Fraction of mergers; None for the data's own.
    threshold
        A galaxy with p_m >= threshold is called a merger.

    Returns
    -------
    dict
        error, precision, recall, f1, log_loss (natural logarithm, p_m clipped to [1e-15, 1 - 1e-15])
        and brier. Where nothing is called a merger, precision and f1 are 0.

    Raises
    ------
    ValueError
        If a class is absent, or shapes, labels or probabilities are wrong.
    """
    truth, p = checked(label, p_m)
    weight = class_weights(truth, prevalence)
    called = p >= threshold
    true_positive = float(weight[called & truth].sum())
    false_positive = float(weight[called & ~truth].sum())
    positive = float(weight[truth].sum())
    recall = true_positive / positive
    found = true_positive + false_positive
    precision = true_positive / found if found > 0 else 0.0
    clipped = np.clip(p, 1e-15, 1 - 1e-15)
    return {
        "error": float(weight[called != truth].sum()),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if true_positive > 0 else 0.0,
        "log_loss": float(-(weight * np.where(truth, np.log(clipped), np.log1p(-clipped))).sum()),
        "brier": float((weight * (p - truth) ** 2).sum()),
    }


def auroc(label: ArrayLike, p_m: ArrayLike) -> float:
    """Return the area under the ROC curve: the chance that a merger is rated above a non-merger.

    Ties count one half (Mann & Whitney 1947). It does not depend on the prevalence.

    Raises
    ------
    ValueError
        As `scores` does.
    """
    truth, p = checked(label, p_m)
    ranks = rankdata(p)
    n1, n0 = int(truth.sum()), int((~truth).sum())
    return float((ranks[truth].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


def summary(label: ArrayLike, p_m: ArrayLike) -> dict[str, float]:
    """Return the metrics of one run on one fold.

    Class-balanced scores by name, the same at the data set's own ratio with ``_dataset`` behind the
    name, the error at 2 % prevalence, AUROC, and the numbers of galaxies.
    """
    truth, _ = checked(label, p_m)
    own = {f"{name}_dataset": value for name, value in scores(label, p_m, prevalence=None).items()}
    own.pop("recall_dataset")  # recall does not depend on the prevalence
    return {
        **scores(label, p_m),
        "auroc": auroc(label, p_m),
        **own,
        "error_2percent": scores(label, p_m, prevalence=0.02)["error"],
        "n_mergers": float(truth.sum()),
        "n_noninteracting": float((~truth).sum()),
    }


def checked(label: ArrayLike, p_m: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
    """Return which galaxies are mergers, and p_m, both of shape (n,); a ValueError says what is wrong."""
    labels, p = np.asarray(label), np.asarray(p_m, dtype=np.float64)
    if labels.ndim != 1 or labels.shape != p.shape:
        raise ValueError(f"label and p_m must be one-dimensional and alike, not {labels.shape} and {p.shape}")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("label must be 0 or 1")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p_m must lie in [0, 1], without NaN")
    truth = labels == 1
    if truth.all() or not truth.any():
        raise ValueError("both classes are needed: label has only one")
    return truth, p


def class_weights(truth: NDArray[np.bool_], prevalence: float | None) -> Floats:
    """Return the galaxies' weights, shape (n,) and of sum 1, with which mergers are a given fraction.

    Parameters
    ----------
    truth
        Which galaxies are mergers; shape (n,), both classes present.
    prevalence
        Fraction of mergers; None for the data's own.

    Raises
    ------
    ValueError
        If the prevalence is not between 0 and 1.
    """
    if prevalence is None:
        return np.full(len(truth), 1 / len(truth))
    if not 0 < prevalence < 1:
        raise ValueError(f"prevalence must lie between 0 and 1, not {prevalence}")
    weights: Floats = np.where(truth, prevalence / truth.sum(), (1 - prevalence) / (~truth).sum())
    return weights
