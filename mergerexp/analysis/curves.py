"""ROC and precision-recall curves: a point for each distinct p_m, from the strictest cut to the loosest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mergerexp.analysis.metrics import Floats, checked, class_weights


class Roc(NamedTuple):
    """The points of a ROC curve.

    Attributes
    ----------
    fpr : ndarray of float, shape (points,)
        The false-positive rate: the fraction of the other galaxies that are called mergers.
    tpr : ndarray of float, shape (points,)
        The true-positive rate: the fraction of the mergers that are called mergers.
    threshold : ndarray of float, shape (points,)
        The cut of each point; a galaxy with p_m >= threshold is called a merger.
    """

    fpr: Floats
    tpr: Floats
    threshold: Floats


class PrecisionRecall(NamedTuple):
    """The points of a precision-recall curve.

    Attributes
    ----------
    precision : ndarray of float, shape (points,)
        The fraction of mergers (purity) among the galaxies that are called mergers.
    recall : ndarray of float, shape (points,)
        The fraction of the mergers that are called mergers (completeness).
    threshold : ndarray of float, shape (points,)
        The cut of each point; a galaxy with p_m >= threshold is called a merger.
    """

    precision: Floats
    recall: Floats
    threshold: Floats


def roc(label: ArrayLike, p_m: ArrayLike) -> Roc:
    """Return the false- and true-positive rates at every threshold (Fawcett 2006, algorithm 1).

    Galaxies of equal p_m are called mergers together. The curve does not depend on the prevalence; the area
    under it is `mergerexp.analysis.metrics.auroc`.

    Parameters
    ----------
    label : array_like of int, shape (n,)
        The class of each galaxy: 1 for a merger, 0 for any other.
    p_m : array_like of float, shape (n,)
        The merger probability of each galaxy, in [0, 1].

    Returns
    -------
    Roc
        The points of the curve; the first is (0, 0) at an infinite threshold, the last is (1, 1).

    Raises
    ------
    ValueError
        If a class is absent, or shapes, labels or probabilities are wrong.

    Examples
    --------
    >>> curve = roc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> curve.fpr.tolist(), curve.tpr.tolist()
    ([0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0])
    >>> curve.threshold.tolist()
    [inf, 0.8, 0.4, 0.35, 0.1]
    """
    threshold, found, false = _called(*checked(label, p_m))
    return Roc(false / false[-1], found / found[-1], threshold)


def precision_recall(label: ArrayLike, p_m: ArrayLike, prevalence: float | None = None) -> PrecisionRecall:
    """Return precision and recall at every threshold.

    Parameters
    ----------
    label : array_like of int, shape (n,)
        The class of each galaxy: 1 for a merger, 0 for any other.
    p_m : array_like of float, shape (n,)
        The merger probability of each galaxy, in [0, 1].
    prevalence : float or None, default None
        The fraction of mergers that the classes are weighted to; None keeps the sample's own fraction.

    Returns
    -------
    PrecisionRecall
        The points of the curve; the first is a precision of 1 at a recall of 0 and an infinite threshold,
        the last is the prevalence at a recall of 1.

    Raises
    ------
    ValueError
        If a class is absent, or shapes, labels, probabilities or the prevalence are wrong.

    Examples
    --------
    >>> curve = precision_recall([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], prevalence=0.02)
    >>> curve.recall.tolist(), curve.precision.round(3).tolist()
    ([0.0, 0.5, 0.5, 1.0, 1.0], [1.0, 1.0, 0.02, 0.039, 0.02])
    """
    truth, p = checked(label, p_m)
    threshold, found, false = _called(truth, p)
    weight = class_weights(truth, prevalence)
    right = found * weight[truth].max()  # all galaxies of a class weigh the same
    called = right + false * weight[~truth].max()
    precision = np.divide(right, called, out=np.ones_like(called), where=called > 0)
    return PrecisionRecall(precision, found / found[-1], threshold)


# Not scikit-learn's curves, which would cost a study the import of that and of scipy.stats, half a second.
def _called(truth: NDArray[np.bool_], p: Floats) -> tuple[Floats, Floats, Floats]:
    """Return each cut from infinity down, and the numbers of mergers and others called mergers there."""
    rising, place = np.unique(p, return_inverse=True)
    numbers = (np.bincount(place, kind, len(rising))[::-1].cumsum() for kind in (truth, ~truth))
    found, false = (np.concatenate([[0.0], of_class]) for of_class in numbers)
    return np.concatenate([[np.inf], rising[::-1]]), found, false
