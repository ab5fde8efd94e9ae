"""Whether merger probabilities can be taken at their word: intervals, curves, errors and tests."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainccinv, betaincinv, ndtr

from mergerexp.analysis.metrics import Floats, checked, class_weights

BinKind = Literal["width", "mass"]


def jeffreys(k: ArrayLike, n: ArrayLike, sigma: float = 2.0) -> tuple[Floats, Floats]:
    """Return the Jeffreys interval of a fraction: k of n galaxies in a bin are mergers.

    The Beta(k + 1/2, n - k + 1/2) quantiles at Φ(-sigma) and Φ(sigma); the lower limit is 0 where k = 0,
    the upper one 1 where k = n (Brown, Cai & DasGupta 2001, Statistical Science 16, 101, section 3.1).

    Parameters
    ----------
    k, n
        Mergers and galaxies, of shapes that broadcast.
    sigma
        Half-width of the interval in standard deviations of a normal distribution.

    Returns
    -------
    tuple of ndarray
        Lower and upper limits.

    Raises
    ------
    ValueError
        If not 0 <= k <= n, or sigma is not positive.
    """
    successes, trials = np.broadcast_arrays(np.asarray(k, np.float64), np.asarray(n, np.float64))
    if not ((successes >= 0) & (successes <= trials) & np.isfinite(trials)).all():
        raise ValueError("k and n must be finite with 0 <= k <= n")
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, not {sigma}")
    a, b, tail = successes + 0.5, trials - successes + 0.5, ndtr(-sigma)
    low: Floats = np.where(successes == 0, 0.0, betaincinv(a, b, tail))
    high: Floats = np.where(successes == trials, 1.0, betainccinv(a, b, tail))
    return low, high


def prior_shift(p: ArrayLike, old: float, new: float) -> Floats:
    """Turn probabilities that hold where a fraction ``old`` are mergers into those for ``new``.

    odds' = odds · [new / (1 - new)] / [old / (1 - old)] (Saerens, Latinne & Decaestecker 2002, Neural
    Computation 14, 21, equation 2.4), which assumes that mergers look alike in both samples, and others
    too. A calibrated .95 at 1:1 is .28 where 2 % are mergers. 0 and 1 stay what they are.

    Raises
    ------
    ValueError
        If p is not in [0, 1] or a fraction not between 0 and 1.
    """
    p_old = np.asarray(p, dtype=np.float64)
    if not ((p_old >= 0) & (p_old <= 1)).all():
        raise ValueError("p must lie in [0, 1], without NaN")
    for name, fraction in (("old", old), ("new", new)):
        if not 0 < fraction < 1:
            raise ValueError(f"prevalence {name} must lie between 0 and 1, not {fraction}")
    merger, other = p_old * (new / old), (1 - p_old) * ((1 - new) / (1 - old))
    shifted: Floats = merger / (merger + other)
    return shifted


def calibration_curve(
    label: ArrayLike,
    p_m: ArrayLike,
    bins: int = 10,
    kind: BinKind = "width",
    prevalence: float | None = None,
    sigma: float = 2.0,
) -> pd.DataFrame:
    """Compare the fraction of mergers in bins of p_m with the mean p_m there.

    Parameters
    ----------
    label
        1 for a merger, 0 else; shape (n,).
    p_m
        Merger probability; shape (n,).
    bins
        Number of bins.
    kind
        ``width``: equally wide bins; ``mass``: bins with equally many galaxies (fewer where p_m has ties).
    prevalence
        Fraction of mergers to weigh the classes to, which shifts a fraction and its limits by
        `prior_shift` exactly; None for the data's own, so that the fraction is a plain count.
    sigma
        Half-width of the Jeffreys intervals in standard deviations.

    Returns
    -------
    DataFrame
        A row a bin: low, high (limits in p_m; a galaxy at ``high`` is in the next bin), n (galaxies),
        mean_p, fraction, fraction_low, fraction_high. Bins of equal width without galaxies are kept, with
        n = 0 and NaN.

    Raises
    ------
    ValueError
        If a class is absent, or shapes, labels, probabilities or bins are wrong.
    """
    truth, p = checked(label, p_m)
    weight = class_weights(truth, prevalence)
    edges = bin_edges(p, bins, kind)
    at = bin_index(p, edges)
    size = len(edges) - 1
    n, k = np.bincount(at, minlength=size), np.bincount(at[truth], minlength=size)
    filled = n > 0
    total = np.bincount(at, weight, size)[filled]
    # Of equal p the mean is that p but for rounding, and may seem to lie beside the bin.
    mean_p = (np.bincount(at, weight * p, size)[filled] / total).clip(edges[:-1][filled], edges[1:][filled])
    columns = {"mean_p": mean_p}
    limits = (k[filled] / n[filled], *jeffreys(k[filled], n[filled], sigma))
    for name, values in zip(("fraction", "fraction_low", "fraction_high"), limits, strict=True):
        columns[name] = values if prevalence is None else prior_shift(values, truth.mean(), prevalence)
    curve = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "n": n})
    return curve.join(pd.DataFrame(columns, index=np.flatnonzero(filled)))


def ece(
    label: ArrayLike,
    p_m: ArrayLike,
    bins: int = 10,
    kind: BinKind = "width",
    prevalence: float | None = None,
) -> float:
    """Return the expected calibration error: the mean of abs(fraction - mean p_m) over galaxies.

    Naeini, Cooper & Hauskrecht 2015 (AAAI 29, 2901). It is positive even for true probabilities: see it
    beside `ece_null`. Parameters and errors as for `calibration_curve`.
    """
    truth, p = checked(label, p_m)
    at = bin_index(p, bin_edges(p, bins, kind))
    return float(np.abs(np.bincount(at, class_weights(truth, prevalence) * (truth - p))).sum())


def ece_null(
    label: ArrayLike,
    p_m: ArrayLike,
    bins: int = 10,
    kind: BinKind = "width",
    prevalence: float | None = None,
    *,
    seed: int,
    draws: int = 1000,
) -> dict[str, float]:
    """Compare the ECE with what it would be if the probabilities were true.

    The labels are drawn anew, each a merger with its own p_m (consistency resampling: Bröcker & Smith
    2007, Weather and Forecasting 22, 651). With ``prevalence``, p_m is what should hold at that fraction
    of mergers, and the labels are drawn with the probabilities that this means at the sample's own.

    Parameters
    ----------
    label, p_m, bins, kind, prevalence
        As for `ece`.
    seed
        Seed of the simulation.
    draws
        Number of simulated sets of labels.

    Returns
    -------
    dict
        ece (observed); mean and sd of the simulated ones; p_value, the chance of an ECE as large as the
        observed one, (1 + number as large) / (1 + draws).

    Raises
    ------
    ValueError
        As `ece` does, or if there is no draw.
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, not {draws}")
    observed = ece(label, p_m, bins, kind, prevalence)
    truth, p = checked(label, p_m)
    chance = p if prevalence is None else prior_shift(p, prevalence, truth.mean())
    edges = bin_edges(p, bins, kind)
    in_bin = np.eye(len(edges) - 1)[bin_index(p, edges)]
    rng = np.random.default_rng(seed)
    step = max(1, 2_000_000 // len(p))  # bounds the memory of a block of draws
    simulated = np.concatenate(
        [
            _ece_of_draws(rng.random((min(step, draws - start), len(p))) < chance, p, in_bin, prevalence)
            for start in range(0, draws, step)
        ]
    )
    as_large = int((simulated >= observed * (1 - 1e-12)).sum())  # equal ones, whatever their rounding
    return {
        "ece": observed,
        "mean": float(simulated.mean()),
        "sd": float(simulated.std()),
        "p_value": (1 + as_large) / (1 + draws),
    }


def spiegelhalter(label: ArrayLike, p_m: ArrayLike) -> tuple[float, float]:
    """Test whether the Brier score is what it would be if the probabilities were true.

    z = Σ (y - p)(1 - 2p) / √(Σ (1 - 2p)² p (1 - p)) is standard normal then (Spiegelhalter 1986,
    Statistics in Medicine 5, 421). Positive: the score is worse than the probabilities claim, as it is
    where they are overconfident. The test is at the sample's own fraction of mergers: shift probabilities
    meant for another one with `prior_shift` first. A wrong fraction may go unseen, since terms below and
    above p = 1/2 cancel: `ece_null` finds that.

    Returns
    -------
    tuple of float
        z and its two-sided p-value. A z of ±inf: p_m is 0, 1 or 1/2 throughout, and a 0 or a 1 is wrong.

    Raises
    ------
    ValueError
        If a class is absent, or shapes, labels or probabilities are wrong.
    """
    truth, p = checked(label, p_m)
    excess = float(((truth - p) * (1 - 2 * p)).sum())
    variance = float(((1 - 2 * p) ** 2 * p * (1 - p)).sum())
    if variance > 0:
        z = excess / variance**0.5
    else:
        z = 0.0 if excess == 0 else float(np.copysign(np.inf, excess))
    return z, float(2 * ndtr(-abs(z)))


def bin_edges(p_m: Floats, bins: int, kind: BinKind) -> Floats:
    """Return the limits of bins from 0 to 1, ascending, each bin of equal mass with a galaxy at least.

    Raises
    ------
    ValueError
        If there is no bin, or the kind is neither ``width`` nor ``mass``.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    if kind == "width":
        return np.arange(bins + 1) / bins
    if kind != "mass":
        raise ValueError(f"kind must be 'width' or 'mass', not {kind!r}")
    ordered = np.sort(p_m)
    inner = np.unique(ordered[len(ordered) * np.arange(1, bins) // bins])
    return np.concatenate([[0.0], inner[inner > ordered[0]], [1.0]])


def bin_index(p_m: Floats, edges: Floats) -> NDArray[np.int64]:
    """Return the bin of each galaxy; its lower limit is in it, and 1 is in the last."""
    at = np.searchsorted(edges, p_m, side="right") - 1
    return np.minimum(at, len(edges) - 2).astype(np.int64)


def _ece_of_draws(truth: NDArray[np.bool_], p: Floats, in_bin: Floats, prevalence: float | None) -> Floats:
    """Return the ECE of each row of labels, shape (draws, n); in_bin is one-hot, shape (n, bins)."""
    merger = truth.astype(np.float64)
    if prevalence is None:
        off = (merger @ in_bin - p @ in_bin) / len(p)
    else:
        mergers = merger.sum(axis=1, keepdims=True)
        weight1 = prevalence / np.maximum(mergers, 1)
        weight0 = (1 - prevalence) / np.maximum(len(p) - mergers, 1)
        over = p[:, None] * in_bin
        off = weight1 * (merger @ (in_bin - over)) - weight0 * (over.sum(axis=0) - merger @ over)
    result: Floats = np.abs(off).sum(axis=1)
    return result
