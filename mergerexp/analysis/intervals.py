"""Bootstrap intervals of scores, and the standard error over folds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from mergerexp.analysis.calibration import bin_edges, bin_index, ece
from mergerexp.analysis.calibrators import calibrator_class
from mergerexp.analysis.metrics import Floats, auroc, checked, scores
from mergerexp.analysis.recalibration import recalibrate, split_test_folds

METRICS = ("error", "precision", "recall", "f1", "auroc", "brier", "log_loss", "ece")


def mean_sem(values: ArrayLike) -> tuple[float, float]:
    """Return the mean over folds and its standard error s/√K, s with K - 1 degrees of freedom.

    The paper's "0.038±1" is this error in the last digit. Of one value the error is NaN.

    Raises
    ------
    ValueError
        If there is no value, or one is not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or len(sample) == 0 or not np.isfinite(sample).all():
        raise ValueError(f"values must be a list of finite numbers, one at least, not {values!r}")
    sample = sample.round(12)  # the same counts may be summed in another order: that is no spread
    mean = float(sample.mean())
    if len(sample) == 1:
        return mean, np.nan
    return mean, 0.0 if np.ptp(sample) == 0 else float(sample.std(ddof=1) / len(sample) ** 0.5)


def bootstrap_scores(
    label: ArrayLike,
    p_m: ArrayLike,
    strata: ArrayLike | None = None,
    prevalence: float | None = 0.5,
    *,
    seed: int,
    draws: int = 1000,
    sigma: float = 2.0,
    unit: ArrayLike | None = None,
) -> pd.DataFrame:
    """Score predictions, with stratified percentile-bootstrap intervals.

    Galaxies are drawn with replacement within each stratum and class (Efron & Tibshirani 1993, chapters 8
    and 13), so that no draw lacks a class or a fold. They stand for the galaxies that might have been
    tested; that training might have gone otherwise is not in the interval.

    Parameters
    ----------
    label
        1 for a merger, 0 else; shape (n,).
    p_m
        Merger probability; shape (n,).
    strata
        The fold of each galaxy, shape (n,); None for one. Crossed with the class.
    prevalence
        Fraction of mergers, as for `metrics.scores`.
    seed
        Seed of the draws.
    draws
        Number of draws.
    sigma
        Half-width of the intervals in standard deviations of a normal distribution.
    unit
        What is drawn as a whole, shape (n,): the encounter that several images show, or the objid of
        galaxies that were tested with several seeds (with strata None, since their folds differ). Those
        in two strata or classes are drawn in each apart. None for each row.

    Returns
    -------
    DataFrame
        metric, value, low, high: a row each for error, precision, recall, f1, auroc, brier, log_loss and
        ece (10 bins of equal width). Noise adds to an ECE, in quadrature, and a draw has more of it than
        the data: the ECE's limits are the percentiles reflected about the value in the square, which cover
        the truth where plain percentiles miss it (of a calibrated network always), and hold the value.

    Raises
    ------
    ValueError
        If a class is absent, or shapes, labels, probabilities, the prevalence or draws are wrong.
    """
    truth, p = checked(label, p_m)
    drawer = _Drawer(truth, strata, unit)
    rng = np.random.default_rng(seed)
    step = max(1, 500_000 // len(p))  # bounds the memory of a block of draws
    drawn = [
        _scores_of_draws(truth, p, p, drawer.counts(min(step, draws - start), rng), prevalence)
        for start in range(0, draws, step)
    ]
    return _table(_values(truth, p, p, prevalence), drawn, sigma)


def bootstrap_recalibrated(
    predictions: pd.DataFrame,
    method: str,
    prevalence: float | None = None,
    *,
    seed: int,
    draws: int = 1000,
    sigma: float = 2.0,
    unit: str | None = None,
) -> pd.DataFrame:
    """Score recalibrated probabilities, with intervals that hold the calibrators' own noise.

    In each draw the fitting third and the scored two thirds of each fold are resampled by class, the
    calibrators fitted anew, and the scored galaxies of all folds pooled.

    Parameters
    ----------
    predictions, method, seed
        As for `recalibrate`, whose scores the values are; of one run's seed only, since a galaxy's rows of
        several are not independent.
    prevalence
        Fraction of mergers for which the probabilities are to hold, and at which they are scored.
    draws, sigma
        As for `bootstrap_scores`.
    unit
        Column of what is drawn as a whole within a fold's part and class; None for each row.

    Returns
    -------
    DataFrame
        As `bootstrap_scores` does. The log-loss is of the clipped probabilities.

    Raises
    ------
    ValueError
        As `recalibrate` and `bootstrap_scores` do, or if there are several seeds.
    """
    pooled, _ = recalibrate(predictions, method, seed, prevalence)
    if pooled["seed"].min() != pooled["seed"].max():
        raise ValueError("predictions are of several seeds: pass those of one at a time")
    value = _values(pooled["label"], pooled["p_cal"], pooled["p_cal_clipped"], prevalence)
    if unit is not None and unit not in pooled:
        raise ValueError(f"predictions have no column {unit!r} to draw by; they have {list(predictions)}")
    test, kind = split_test_folds(predictions, seed), calibrator_class(method)
    truth, p = checked(test["label"], test["p_m"])
    fitting, fold = test["fitting"].to_numpy(), test["fold"].to_numpy()
    parts = [
        (np.flatnonzero(fitting & (fold == k)), np.flatnonzero(~fitting & (fold == k)))
        for k in np.unique(fold)
    ]
    drawer = _Drawer(truth, 2 * fold + fitting, None if unit is None else test[unit])
    rng = np.random.default_rng(seed)
    p_cal, p_clipped, drawn = np.zeros(len(p)), np.zeros(len(p)), []
    for _ in range(draws):
        counts = drawer.counts(1, rng)
        for third, rest in parts:
            calibrator = kind.fit(truth[third], p[third], counts[0, third])
            p_cal[rest] = calibrator.apply(p[rest], prevalence)
            p_clipped[rest] = calibrator.apply(p[rest], prevalence, clip=True)
        rest = ~fitting
        drawn.append(_scores_of_draws(truth[rest], p_cal[rest], p_clipped[rest], counts[:, rest], prevalence))
    return _table(value, drawn, sigma)


class _Drawer:
    """Draws how often each row counts, units whole, as many in each stratum and class as there are."""

    def __init__(self, truth: NDArray[np.bool_], strata: ArrayLike | None, unit: ArrayLike | None) -> None:
        n = len(truth)
        folds = np.zeros(n) if strata is None else np.asarray(strata)
        units = np.arange(n) if unit is None else np.asarray(unit)
        if folds.shape != (n,) or units.shape != (n,):
            raise ValueError(f"strata and unit must have a value for each of the {n} galaxies")
        if pd.isna(folds).any() or pd.isna(units).any():
            raise ValueError("strata and unit must be known for every galaxy, without NaN")
        stratum = 2 * pd.factorize(folds)[0] + truth
        keys, self._unit_of_row = np.unique(stratum * n + pd.factorize(units)[0], return_inverse=True)
        self._members = [np.flatnonzero(keys // n == value) for value in np.unique(stratum)]

    def counts(self, draws: int, rng: np.random.Generator) -> Floats:
        counts = np.empty((draws, self._unit_of_row.max() + 1))
        for members in self._members:
            size = len(members)
            chosen = rng.integers(size, size=(draws, size)) + size * np.arange(draws)[:, None]
            counts[:, members] = np.bincount(chosen.ravel(), minlength=draws * size).reshape(draws, size)
        result: Floats = counts[:, self._unit_of_row]
        return result


def _values(
    label: ArrayLike, p_m: ArrayLike, p_for_log: ArrayLike, prevalence: float | None
) -> dict[str, float]:
    return {
        **scores(label, p_m, prevalence),
        "auroc": auroc(label, p_m),
        "log_loss": scores(label, p_for_log, prevalence)["log_loss"],
        "ece": ece(label, p_m, prevalence=prevalence),
    }


def _scores_of_draws(
    truth: NDArray[np.bool_], p: Floats, p_for_log: Floats, counts: Floats, prevalence: float | None
) -> Floats:
    """Return `METRICS` of each row of counts, shape (draws, 8).

    What `metrics.scores`, `metrics.auroc` and `calibration.ece` give on the rows repeated, without
    repeating them: p is sorted once, whatever the number of draws.
    """
    p1, p0 = p[truth], np.sort(p[~truth])
    order0 = np.argsort(p[~truth])
    drawn1, drawn0 = counts[:, truth], counts[:, ~truth][:, order0]
    n1, n0 = drawn1.sum(axis=1), drawn0.sum(axis=1)
    share = n1 / (n1 + n0) if prevalence is None else prevalence
    weight1, weight0 = share / n1, (1 - share) / n0

    found, false = drawn1 @ (p1 >= 0.5), drawn0 @ (p0 >= 0.5)
    recall = found / n1
    called = weight1 * found + weight0 * false
    precision = np.divide(weight1 * found, called, out=np.zeros_like(called), where=called > 0)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0)

    below = np.pad(np.cumsum(drawn0, axis=1), ((0, 0), (1, 0)))
    beaten = (below[:, np.searchsorted(p0, p1, "left")] + below[:, np.searchsorted(p0, p1, "right")]) / 2
    area = (drawn1 * beaten).sum(axis=1) / (n1 * n0)

    q1, q0 = p_for_log[truth].clip(1e-15, 1 - 1e-15), p_for_log[~truth][order0].clip(1e-15, 1 - 1e-15)
    edges = bin_edges(p, 10, "width")
    in_bin = np.eye(len(edges) - 1)
    under = drawn1 @ ((1 - p1)[:, None] * in_bin[bin_index(p1, edges)])
    over = drawn0 @ (p0[:, None] * in_bin[bin_index(p0, edges)])
    columns = {
        "error": weight1 * (n1 - found) + weight0 * false,
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "auroc": area,
        "brier": weight1 * (drawn1 @ (1 - p1) ** 2) + weight0 * (drawn0 @ p0**2),
        "log_loss": -weight1 * (drawn1 @ np.log(q1)) - weight0 * (drawn0 @ np.log1p(-q0)),
        "ece": np.abs(weight1[:, None] * under - weight0[:, None] * over).sum(axis=1),
    }
    return np.stack([columns[name] for name in METRICS], axis=1)


def _table(value: dict[str, float], drawn: list[Floats], sigma: float) -> pd.DataFrame:
    if not drawn:
        raise ValueError("draws must be at least 1")
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, not {sigma}")
    low, high = np.quantile(np.concatenate(drawn), ndtr([-sigma, sigma]), axis=0)
    at = METRICS.index("ece")
    reflected = np.sqrt(np.maximum(0, 2 * value["ece"] ** 2 - np.square([high[at], low[at]])))
    low[at], high[at] = min(reflected[0], value["ece"]), max(reflected[1], value["ece"])
    values = [value[name] for name in METRICS]
    return pd.DataFrame({"metric": METRICS, "value": values, "low": low, "high": high})
