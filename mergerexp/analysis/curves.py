"""ROC and precision-recall curves: a point for each distinct p_m, from the strictest cut to the loosest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mergerexp.analysis.metrics import Floats, checked, class_weights


class Roc(NamedTuple):
    """Points of a ROC curve, each of shape (points,); a galaxy with p_m >= threshold is called a merger."""

    fpr: Floats
    tpr: Floats
    threshold: Floats


class PrecisionRecall(NamedTuple):
    """Points of a precision-recall curve, each of shape (points,), at p_m >= threshold."""

    precision: Floats
    recall: Floats
    threshold: Floats


def roc(label: ArrayLike, p_m: ArrayLike) -> Roc:
    """Return the false- and true-positive rates at every threshold (Fawcett 2006, algorithm 1).

    Galaxies of equal p_m are called together. The first point is (0, 0) at an infinite threshold, the last
    one (1, 1). The curve does not depend on the prevalence; the area under it is `metrics.auroc`.

    Parameters
    ----------
    label
        1 for a merger, 0 else; shape (n,).
    p_m
        Merger probability; shape (n,).

    Raises
    ------
    ValueError
        If a class is absent, or shapes, labels or probabilities are wrong.
    """
    truth, p = checked(label, p_m)
    order = np.argsort(-p, kind="stable")
    ordered, merger = p[order], truth[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(ordered)), len(p) - 1)
    true_positives = np.cumsum(merger)[last_of_tie]
    false_positives = 1 + last_of_tie - true_positives
    return Roc(
        fpr=np.append(0.0, false_positives / (~truth).sum()),
        tpr=np.append(0.0, true_positives / truth.sum()),
        threshold=np.append(np.inf, ordered[last_of_tie]),
    )


def precision_recall(label: ArrayLike, p_m: ArrayLike, prevalence: float | None = None) -> PrecisionRecall:
    """Return precision and recall at every threshold.

    The first point is precision 1 at recall 0 and an infinite threshold, as scikit-learn has it; the last
    one is the prevalence at recall 1.

    Parameters
    ----------
    label
        1 for a merger, 0 else; shape (n,).
    p_m
        Merger probability; shape (n,).
    prevalence
        Fraction of mergers to weigh the classes to; None for the data's own.

    Raises
    ------
    ValueError
        If a class is absent, or shapes, labels, probabilities or the prevalence are wrong.
    """
    truth, _ = checked(label, p_m)
    weight = class_weights(truth, prevalence)
    curve = roc(label, p_m)
    found, false = curve.tpr * weight[truth].sum(), curve.fpr * weight[~truth].sum()
    precision = np.append(1.0, found[1:] / (found + false)[1:])
    return PrecisionRecall(precision, curve.tpr, curve.threshold)


def average_precision(label: ArrayLike, p_m: ArrayLike, prevalence: float | None = None) -> float:
    """Return Σ (R_i - R_{i-1}) P_i over the precision-recall curve, without interpolation.

    Parameters and errors as for `precision_recall`.
    """
    curve = precision_recall(label, p_m, prevalence)
    return float((np.diff(curve.recall) * curve.precision[1:]).sum())
