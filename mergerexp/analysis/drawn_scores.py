"""The scores of many bootstrap draws at once, of which each counts some galaxies several times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mergerexp.analysis.binning import bin_edges
from mergerexp.analysis.metrics import Floats

Prevalence = float | None
LEVELS = 2**14  # of probability, at equal distances in its logit, which another prevalence shifts
NEAREST = 1e-15  # to 0 and 1
REACH = 35.0  # a logit beyond that of NEAREST
BINS = 10  # of the ECE
EDGES = bin_edges(np.empty(0), BINS, "width")
METRICS = ("error", "precision", "recall", "f1", "auroc", "brier", "log_loss", "ece")


def part_of(rows: NDArray[np.bool_]) -> NDArray[np.int64] | slice:
    """Return what selects some rows: a slice, which copies nothing, if they follow one another.

    Parameters
    ----------
    rows : ndarray of bool, shape (n,)
        Which rows are selected.

    Returns
    -------
    ndarray of int or slice
        Their places.

    Examples
    --------
    >>> part_of(np.array([False, True, True])), part_of(np.array([True, False, True])).tolist()
    (slice(1, 3, None), [0, 2])
    """
    at = np.flatnonzero(rows)
    follow = len(at) > 0 and at[-1] - at[0] + 1 == len(at)
    return slice(int(at[0]), int(at[-1]) + 1) if follow else at


class FixedScorer:
    """Scores draws of galaxies whose probabilities are the same in all draws.

    What depends on the probabilities alone is computed once. The scores equal what
    `mergerexp.analysis.metrics.scores`, `auroc` and `mergerexp.analysis.calibration.ece` return when each row
    is repeated as often as it counts.

    Parameters
    ----------
    truth : ndarray of bool, shape (n,)
        Which galaxies are mergers.
    p, p_for_log : ndarray of float, shape (n,)
        The merger probabilities, and those that the log-loss is of.

    Examples
    --------
    >>> truth, p = np.array([False, False, True, True]), np.array([0.1, 0.6, 0.4, 0.9])
    >>> (found,) = FixedScorer(truth, p, p)(np.array([[1.0, 1.0, 1.0, 1.0]]), [0.5])
    >>> dict(zip(METRICS, found[0].tolist()))["auroc"]
    0.75
    """

    def __init__(self, truth: NDArray[np.bool_], p: Floats, p_for_log: Floats) -> None:
        self._parts = part_of(truth), part_of(~truth)
        p1, p0 = (p[part] for part in self._parts)
        q1, q0 = (p_for_log[part] for part in self._parts)
        self._values = _with_bins(*_summands(p1, q1, True)), _with_bins(*_summands(p0, q0, False))
        self._order = _Order(p1, p0)

    def __call__(self, counts: Floats, prevalences: Sequence[Prevalence]) -> list[Floats]:
        """Score each draw.

        Parameters
        ----------
        counts : ndarray of float, shape (draws, n)
            How often each galaxy counts.
        prevalences : sequence of float or None
            The fractions of mergers that the classes are weighted to; None for that of each draw.

        Returns
        -------
        list of ndarray of float, shape (draws, 8)
            The scores in the order of `METRICS`, for each prevalence.

        Examples
        --------
        >>> scorer = FixedScorer(np.array([False, True]), np.array([0.1, 0.6]), np.array([0.1, 0.6]))
        >>> scorer(np.array([[1.0, 2.0]]), [None])[0][0, METRICS.index("error")].item()
        0.0
        """
        drawn1, drawn0 = (counts[:, part] for part in self._parts)
        totals = [list((drawn @ of).T) for drawn, of in zip((drawn1, drawn0), self._values, strict=True)]
        n1, n0 = drawn1.sum(axis=1), drawn0.sum(axis=1)
        auroc = self._order.pairs(drawn1, drawn0) / (n1 * n0)
        return _scored((n1, n0), totals, auroc, prevalences)


def scores_of_draws(
    truth: NDArray[np.bool_],
    p: Floats,
    p_for_log: Floats,
    counts: Floats,
    prevalences: Sequence[Prevalence],
    known_auroc: Floats | None = None,
) -> list[Floats]:
    """Score draws whose probabilities differ from draw to draw; see `FixedScorer` for those that do not.

    Probabilities whose logits differ by less than 0.004 count as ties in the AUROC, which spares sorting.

    Parameters
    ----------
    truth : ndarray of bool, shape (n,)
        Which galaxies are mergers.
    p, p_for_log : ndarray of float, shape (draws, n)
        The merger probabilities, and those that the log-loss is of.
    counts : ndarray of float, shape (draws, n)
        How often each galaxy counts.
    prevalences : sequence of float or None
        The fractions of mergers that the classes are weighted to; None for that of each draw.
    known_auroc : ndarray of float, shape (draws,), or None
        The AUROC of each draw, if it is known already; None to compute it.

    Returns
    -------
    list of ndarray of float, shape (draws, 8)
        The scores in the order of `METRICS`, for each prevalence.

    Examples
    --------
    >>> truth, p = np.array([False, False, True, True]), np.array([[0.1, 0.6, 0.4, 0.9]])
    >>> (found,) = scores_of_draws(truth, p, p, np.array([[1.0, 1.0, 1.0, 1.0]]), [0.5])
    >>> dict(zip(METRICS, found[0].tolist()))["auroc"]
    0.75
    """
    mergers, others = part_of(truth), part_of(~truth)
    p1, p0, drawn1, drawn0 = p[:, mergers], p[:, others], counts[:, mergers], counts[:, others]
    of_mergers = _totals(drawn1, *_summands(p1, p_for_log[:, mergers], True))
    of_others = _totals(drawn0, *_summands(p0, p_for_log[:, others], False))
    n1, n0 = drawn1.sum(axis=1), drawn0.sum(axis=1)
    if known_auroc is None:
        known_auroc = _pairs_by_level(p1, p0, drawn1, drawn0) / (n1 * n0)
    return _scored((n1, n0), [of_mergers, of_others], known_auroc, prevalences)


def _summands(
    p: Floats, p_for_log: Floats, mergers: bool
) -> tuple[list[NDArray[Any]], Floats, NDArray[np.int64]]:
    """Return what galaxies of a class add to sums, how far each p is off the truth, and the bin of each p."""
    chance = p_for_log.clip(1e-15, 1 - 1e-15)
    off = p
    if mergers:
        off = 1 - p
    else:
        np.subtract(1, chance, out=chance)  # log1p is exact where this rounds, and takes six times as long
    return [p >= 0.5, off**2, np.log(chance, out=chance)], off, _bin_of(p)


def _bin_of(p: Floats) -> NDArray[np.int64]:
    """Do what `bin_index` does for `EDGES`, which are at equal distances, without a search for each p."""
    at = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    at -= p < EDGES[at]
    return at


def _scored(
    n: tuple[Floats, Floats], totals: Sequence[list[Floats]], auroc: Floats, prevalences: Sequence[Prevalence]
) -> list[Floats]:
    """Score each draw at each prevalence; what comes in pairs is of the mergers and of the others."""
    (found, squares1, logs1, *under), (false, squares0, logs0, *over) = totals
    sums = _Sums(
        n=n,
        called=(found, false),
        auroc=auroc,
        squares=(squares1, squares0),
        logs=(logs1, logs0),
        off=list(zip(under, over, strict=True)),
    )
    return [_weighted(sums, prevalence) for prevalence in prevalences]


class _Sums(NamedTuple):
    """What scores are made of, for each draw: of the mergers, and of the other galaxies."""

    n: tuple[Floats, Floats]
    called: tuple[Floats, Floats]
    auroc: Floats
    squares: tuple[Floats, Floats]
    logs: tuple[Floats, Floats]
    off: list[tuple[Floats, Floats]]


def _weighted(sums: _Sums, prevalence: Prevalence) -> Floats:
    """Return `METRICS` of each draw, shape (draws, 8)."""
    (n1, n0), (found, false) = sums.n, sums.called
    share = n1 / (n1 + n0) if prevalence is None else prevalence
    weight1, weight0 = share / n1, (1 - share) / n0
    recall = found / n1
    called = weight1 * found + weight0 * false
    precision = np.divide(weight1 * found, called, out=np.zeros_like(called), where=called > 0)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0)
    columns = {
        "error": weight1 * (n1 - found) + weight0 * false,
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "auroc": sums.auroc,
        "brier": weight1 * sums.squares[0] + weight0 * sums.squares[1],
        "log_loss": -weight1 * sums.logs[0] - weight0 * sums.logs[1],
        "ece": np.abs([weight1 * under - weight0 * over for under, over in sums.off]).sum(axis=0),
    }
    return np.stack([columns[name] for name in METRICS], axis=1)


def _with_bins(values: list[NDArray[Any]], off: Floats, bins: NDArray[np.int64]) -> Floats:
    """Return the values of each galaxy, and ``off`` in the column of its bin, shape (n, 3 + bins)."""
    in_bins = np.where(bins == np.arange(BINS)[:, None], off, 0.0)
    return np.concatenate([np.stack(values), in_bins]).T


def _totals(drawn: Floats, values: list[NDArray[Any]], off: Floats, bins: NDArray[np.int64]) -> list[Floats]:
    """Return the sums over the galaxies of each draw: of each value, and of ``off`` in each bin."""
    draws = len(drawn)
    totals = [np.einsum("dn,dn->d", drawn, each) for each in values]
    cell = bins + BINS * np.arange(draws)[:, None]
    by_bin = np.bincount(cell.ravel(), (drawn * off).ravel(), draws * BINS).reshape(draws, BINS)
    return [*totals, *by_bin.T]


class _Order:
    """The places of mergers among the other galaxies, in the order of their probabilities."""

    def __init__(self, p1: Floats, p0: Floats) -> None:
        rises = bool((p0[1:] >= p0[:-1]).all())
        self._order = slice(None) if rises else np.argsort(p0)
        sides = [np.searchsorted(p0[self._order], p1, side=side) for side in ("left", "right")]
        # Only sums up to the places of mergers are needed.
        self._places = np.unique(np.concatenate([[0, len(p0)], *sides]))
        self._at = [np.searchsorted(self._places, side) for side in sides]

    def pairs(self, drawn1: Floats, drawn0: Floats) -> Floats:
        """Return how many pairs of a merger and another galaxy each draw puts in order; ties count half."""
        below = np.zeros((len(drawn0), len(self._places)))
        parts = np.add.reduceat(drawn0[:, self._order], self._places[:-1], axis=1)
        np.cumsum(parts, axis=1, out=below[:, 1:])
        pairs = np.zeros(len(drawn1))
        for at in self._at:
            pairs += np.einsum("dn,dn->d", drawn1, below[:, at]) / 2
        return pairs


def _pairs_by_level(p1: Floats, p0: Floats, drawn1: Floats, drawn0: Floats) -> Floats:
    """Do what `_Order.pairs` does; probabilities of one level count as ties."""
    draws = len(drawn0)
    start = LEVELS * np.arange(draws)[:, None]

    def by_level(p: Floats, drawn: Floats) -> Floats:
        place = p.clip(NEAREST, 1 - NEAREST)
        np.log(np.divide(place, 1 - place, out=place), out=place)
        place += REACH
        place *= LEVELS / (2 * REACH)  # from 0 to LEVELS
        cell = place.astype(np.int64)
        cell += start
        counts = np.bincount(cell.ravel(), drawn.ravel(), draws * LEVELS)
        return np.asarray(counts, dtype=np.float64).reshape(draws, LEVELS)

    mergers, others = by_level(p1, drawn1), by_level(p0, drawn0)
    ties = np.einsum("dn,dn->d", mergers, others)
    pairs: Floats = np.einsum("dn,dn->d", mergers, np.cumsum(others, axis=1, out=others)) - ties / 2
    return pairs
