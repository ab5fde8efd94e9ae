"""The scores of many bootstrap draws at once, of which each counts some galaxies several times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mergerexp.analysis.binning import bin_edges, bin_index
from mergerexp.analysis.metrics import Floats

Prevalence = float | None
LEVELS = 2**14  # of probability, at equal distances in its logit, which another prevalence shifts
NEAREST = 1e-15  # to 0 and 1
REACH = 35.0  # a logit beyond that of NEAREST
METRICS = ("error", "precision", "recall", "f1", "auroc", "brier", "log_loss", "ece")


def scores_of_draws(
    truth: NDArray[np.bool_],
    p: Floats,
    p_for_log: Floats,
    counts: Floats,
    prevalences: Sequence[Prevalence],
    in_levels: bool = False,
    known_auroc: Floats | None = None,
) -> list[Floats]:
    """Return `METRICS` for each row of counts, of shape (draws, 8), at each prevalence.

    They equal what `mergerexp.analysis.metrics.scores`, `auroc` and `mergerexp.analysis.calibration.ece`
    return when each row is repeated as often as it counts.

    Parameters
    ----------
    truth : ndarray of bool, shape (n,)
        Which galaxies are mergers.
    p, p_for_log : ndarray of float, shape (draws, n) or (1, n)
        The merger probabilities, and those that the log-loss is of; one row where they are the same in all
        draws.
    counts : ndarray of float, shape (draws, n)
        How often each galaxy counts.
    prevalences : sequence of float or None
        The fractions of mergers that the classes are weighted to; None for that of each draw.
    in_levels : bool
        Whether probabilities whose logits differ by less than 0.004 count as ties in the AUROC. This spares
        the sorting of probabilities that differ from draw to draw.
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
    mergers, others = _part(truth), _part(~truth)
    p1, p0, drawn1, drawn0 = p[:, mergers], p[:, others], counts[:, mergers], counts[:, others]
    q1, q0 = (each.clip(1e-15, 1 - 1e-15) for each in (p_for_log[:, mergers], p_for_log[:, others]))
    n1, n0 = drawn1.sum(axis=1), drawn0.sum(axis=1)
    edges = bin_edges(p, 10, "width")
    found, squares1, logs1, *under = _totals(
        drawn1, [p1 >= 0.5, (1 - p1) ** 2, np.log(q1)], 1 - p1, bin_index(p1, edges), len(edges) - 1
    )
    false, squares0, logs0, *over = _totals(
        drawn0, [p0 >= 0.5, p0**2, np.log1p(-q0)], p0, bin_index(p0, edges), len(edges) - 1
    )
    if known_auroc is None:
        pairs = _pairs_by_level if in_levels else _pairs_in_order
        known_auroc = pairs(p1, p0, drawn1, drawn0) / (n1 * n0)
    sums = _Sums(
        n=(n1, n0),
        called=(found, false),
        auroc=known_auroc,
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


def _part(rows: NDArray[np.bool_]) -> NDArray[np.int64] | slice:
    """Return what selects some rows: a slice, which copies nothing, if they follow one another."""
    at = np.flatnonzero(rows)
    return slice(at[0], at[-1] + 1) if at[-1] - at[0] + 1 == len(at) else at


def _totals(
    drawn: Floats, values: list[NDArray[Any]], off: Floats, bins: NDArray[np.int64], number: int
) -> list[Floats]:
    """Return sums over the galaxies of each draw: of each of some values, and of ``off`` in each bin.

    All have the shape (draws, n), or (1, n) where they are the same in all draws.
    """
    if len(off) == 1:
        in_bins = off[0] * (bins[0] == np.arange(number)[:, None])
        sums = drawn @ np.concatenate([np.stack([each[0] for each in values]), in_bins]).T
        return list(sums.T)
    totals = [np.einsum("dn,dn->d", drawn, each) for each in values]
    draws = len(drawn)
    cell = bins + number * np.arange(draws)[:, None]
    by_bin = np.bincount(cell.ravel(), (drawn * off).ravel(), draws * number).reshape(draws, number)
    return [*totals, *by_bin.T]


def _pairs_in_order(p1: Floats, p0: Floats, drawn1: Floats, drawn0: Floats) -> Floats:
    """Return how many pairs of a merger and another galaxy each draw puts in order; ties count half."""
    if len(p0) > 1:
        rows = zip(p1, p0, drawn1, drawn0, strict=True)
        return np.concatenate([_pairs_in_order(*(each[None] for each in row)) for row in rows])
    rising = p0[0]
    if (rising[1:] < rising[:-1]).any():
        order = np.argsort(rising)
        rising, drawn0 = rising[order], drawn0[:, order]
    sides = [np.searchsorted(rising, p1[0], side=side) for side in ("left", "right")]
    # Only sums up to the places of mergers are needed.
    places = np.unique(np.concatenate([[0, len(rising)], *sides]))
    below = np.zeros((len(drawn0), len(places)))
    np.cumsum(np.add.reduceat(drawn0, places[:-1], axis=1), axis=1, out=below[:, 1:])
    pairs = np.zeros(len(drawn1))
    for at in sides:
        pairs += np.einsum("dn,dn->d", drawn1, below[:, np.searchsorted(places, at)]) / 2
    return pairs


def _pairs_by_level(p1: Floats, p0: Floats, drawn1: Floats, drawn0: Floats) -> Floats:
    """Do what `_pairs_in_order` does; probabilities of one level count as ties."""
    draws = len(drawn0)
    start = LEVELS * np.arange(draws)[:, None]

    def by_level(p: Floats, drawn: Floats) -> Floats:
        place = p.clip(NEAREST, 1 - NEAREST)
        np.log(np.divide(place, 1 - place, out=place), out=place)
        place += REACH
        place *= LEVELS / (2 * REACH)  # from 0 to LEVELS
        cell = place.astype(np.int64)
        cell += start
        counts: Floats = np.bincount(cell.ravel(), drawn.ravel(), draws * LEVELS).astype(np.float64)
        return counts.reshape(draws, LEVELS)

    mergers, others = by_level(p1, drawn1), by_level(p0, drawn0)
    pairs: Floats = np.einsum("dn,dn->d", mergers, np.cumsum(others, axis=1) - others / 2)
    return pairs
