"""Bootstrap intervals of scores, and the standard error of a mean over folds."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from mergerexp.analysis.calibration import ece
from mergerexp.analysis.drawn_scores import METRICS, FixedScorer, Prevalence, part_of, scores_of_draws
from mergerexp.analysis.metrics import Floats, auroc, checked, scores
from mergerexp.analysis.recalibration import recalibrate, split_test_folds
from mergerexp.analysis.refits import refitted

BLOCK = 500_000  # galaxies times draws that are computed at once, which bounds the memory


def mean_sem(values: ArrayLike) -> tuple[float, float]:
    """Return the mean over folds and its standard error.

    Parameters
    ----------
    values : array_like of float, shape (K,)
        The value of each fold.

    Returns
    -------
    mean : float
        The mean.
    sem : float
        The standard error s/√K, where s has K - 1 degrees of freedom; NaN for one fold. The paper's
        "0.038±1" gives this error in units of the last digit.

    Raises
    ------
    ValueError
        If there is no value, or one is not finite.

    Examples
    --------
    >>> mean, sem = mean_sem([0.03, 0.04, 0.05])
    >>> round(mean, 3), round(sem, 4)
    (0.04, 0.0058)
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or len(sample) == 0 or not np.isfinite(sample).all():
        raise ValueError(f"values must be a list of finite numbers, one at least, not {values!r}")
    sample = sample.round(12)  # equal counts summed in different orders must not look like a spread
    mean = float(sample.mean())
    if len(sample) == 1:
        return mean, np.nan
    return mean, 0.0 if np.ptp(sample) == 0 else float(sample.std(ddof=1) / len(sample) ** 0.5)


def bootstrap_scores(
    label: ArrayLike,
    p_m: ArrayLike,
    strata: ArrayLike | None = None,
    prevalence: Prevalence | Sequence[Prevalence] = 0.5,
    *,
    seed: int,
    draws: int = 1000,
    sigma: float = 2.0,
    unit: ArrayLike | None = None,
    for_log: ArrayLike | None = None,
) -> pd.DataFrame:
    """Score predictions, with stratified percentile-bootstrap intervals.

    Galaxies are drawn with replacement within each stratum and class (Efron & Tibshirani 1993, chapters 8
    and 13), so that no draw lacks a class or a fold. The intervals tell how the scores vary with the
    galaxies that are tested; they do not include how they vary from one training to another.

    Parameters
    ----------
    label : array_like of int, shape (n,)
        The class of each galaxy: 1 for a merger, 0 for any other.
    p_m : array_like of float, shape (n,)
        The merger probability of each galaxy, in [0, 1].
    strata : array_like, shape (n,), or None, default None
        The fold of each galaxy; None if all are of one fold.
    prevalence : float, None or sequence of these, default 0.5
        The fraction of mergers that the classes are weighted to (see `mergerexp.analysis.metrics.scores`);
        None keeps the sample's own fraction. Several are scored on the same draws, which are made once.
    seed : int
        The seed of the draws.
    draws : int, default 1000
        The number of draws.
    sigma : float, default 2.0
        The half-width of the intervals in standard deviations of a normal distribution.
    unit : array_like, shape (n,), or None, default None
        The unit that each row belongs to, and that is drawn as a whole: the encounter that several images
        show, or the objid of galaxies that were tested with several seeds (with no strata, since their folds
        differ). A unit with rows in several strata or classes is drawn separately in each. None draws each
        row by itself.
    for_log : array_like of float, shape (n,), or None, default None
        The probabilities that the log-loss is of, which may be kept off 0 and 1; None for ``p_m``.

    Returns
    -------
    DataFrame
        One row for each of error, precision, recall, f1, auroc, brier, log_loss and ece (10 bins of equal
        width), with the columns metric, value, low and high. The limits of the ECE are the percentiles
        reflected about the value in the square: noise adds to an ECE in quadrature, and a draw has more of
        it than the data, so that plain percentiles miss the truth (always, if the network is calibrated).
        The limits always enclose the value. With several prevalences, there are these rows for each in turn.

    Raises
    ------
    ValueError
        If a class is absent, or shapes, labels, probabilities, the prevalence or draws are wrong.

    Examples
    --------
    >>> label, p_m = [1] * 50 + [0] * 50, [0.9] * 45 + [0.2] * 5 + [0.1] * 50
    >>> table = bootstrap_scores(label, p_m, seed=1).set_index("metric")
    >>> table.loc["error"].round(2).tolist()
    [0.05, 0.01, 0.1]
    """
    truth, p = checked(label, p_m)
    chosen = _listed(prevalence)
    in_log = p if for_log is None else checked(label, for_log)[1]
    values = [_values(truth, p, in_log, one) for one in chosen]
    # In this order the classes are parts of an array, and the others' p rise, so that nothing is copied.
    order = np.lexsort((p, truth))
    drawer = _Drawer(truth, strata, unit, order)
    score = FixedScorer(truth[order], p[order], in_log[order])
    rng = np.random.default_rng(seed)
    step = max(1, BLOCK // len(p))
    drawn = [score(drawer.counts(min(step, draws - start), rng), chosen) for start in range(0, draws, step)]
    return _table(values, drawn, sigma)


def bootstrap_recalibrated(
    predictions: pd.DataFrame,
    method: str | Sequence[str],
    prevalence: Prevalence | Sequence[Prevalence] = None,
    *,
    seed: int,
    draws: int = 1000,
    sigma: float = 2.0,
    unit: str | None = None,
) -> pd.DataFrame:
    """Score recalibrated probabilities, with intervals that include the noise of the calibrators.

    In each draw the fitting third and the scored two thirds of each fold are resampled by class, the
    calibrators are fitted anew, and the scored galaxies of all folds are pooled.

    Parameters
    ----------
    predictions : DataFrame
        The predictions, as `mergerexp.analysis.recalibration.recalibrate` takes them, of runs with one seed
        only, since the rows of a galaxy with several seeds are not independent.
    method : {"isotonic", "platt"} or sequence of these
        The method of calibration. Several share the draws, which are made once.
    prevalence : float, None or sequence of these, default None
        The fraction of mergers at which the calibrated probabilities are to hold, and at which they are
        scored; None for the sample's own. Several share the draws and the calibrators, which are made once.
    seed : int
        The seed that the thirds and the draws are made with.
    draws : int, default 1000
        The number of draws.
    sigma : float, default 2.0
        The half-width of the intervals in standard deviations of a normal distribution.
    unit : str or None, default None
        The column that names the unit of each row, which is drawn as a whole within a part of a fold and a
        class; None draws each row by itself.

    Returns
    -------
    DataFrame
        The scores that `recalibrate` leads to and their intervals, as `bootstrap_scores` returns them, for
        each method in turn. The log-loss is that of the clipped probabilities.

    Raises
    ------
    ValueError
        If there are several seeds or no such column, or the predictions, the method, the prevalence or the
        draws are wrong.

    Examples
    --------
    >>> p_m = [0.1, 0.9, 0.2, 0.8, 0.3, 0.7]
    >>> predictions = pd.DataFrame({"objid": range(6), "label": [0, 1] * 3, "p_m": p_m})
    >>> predictions = predictions.assign(fold=0, seed=0, split="test")
    >>> table = bootstrap_recalibrated(predictions, "isotonic", seed=1, draws=10).set_index("metric")
    >>> table.loc["error"].tolist()
    [0.0, 0.0, 0.0]
    """
    chosen, methods = _listed(prevalence), [method] if isinstance(method, str) else method
    values = []
    for each, one in itertools.product(methods, chosen):
        pooled, _ = recalibrate(predictions, each, seed, one)
        values.append(_values(pooled["label"], pooled["p_cal"], pooled["p_cal_clipped"], one))
    if pooled["seed"].min() != pooled["seed"].max():
        raise ValueError("predictions are of several seeds: pass those of one at a time")
    if unit is not None and unit not in pooled:
        raise ValueError(f"predictions have no column {unit!r} to draw by; they have {list(predictions)}")
    test = split_test_folds(predictions, seed)
    truth, p = checked(test["label"], test["p_m"])
    fitting, fold = test["fitting"].to_numpy(), test["fold"].to_numpy()
    strata, units = 2 * fold + fitting, None if unit is None else test[unit]
    # In this order the rows that a fold's calibrator is fitted to are parts of an array, and so are those of
    # a class that it is applied to. Where the probabilities rise they are interpolated faster.
    order = np.lexsort((p, fold, truth & ~fitting, ~fitting))
    drawer, rest = _Drawer(truth, strata, units, order), slice(int(fitting.sum()), None)
    truth, p, fitting, fold = truth[order], p[order], fitting[order], fold[order]
    parts = [
        (part_of(fitting & here), part_of(~fitting & here & ~truth), part_of(~fitting & here & truth))
        for here in (fold == k for k in np.unique(fold))
    ]
    rng, drawn = np.random.default_rng(seed), []
    step = max(1, BLOCK // len(p))
    for start in range(0, draws, step):
        # One draw after the other, so that the size of the blocks does not change the random numbers.
        counts = np.concatenate([drawer.counts(1, rng) for _ in range(min(step, draws - start))])
        of_block = list[Floats]()
        for each in methods:
            of_others, of_mergers = [], []  # in the order of the rows
            for third, others, mergers in parts:
                at = np.concatenate([p[others], p[mergers]])
                fitted = refitted(each, truth[third], p[third], counts[:, third], at, chosen)
                of_others.append(fitted[..., : len(p[others])])
                of_mergers.append(fitted[..., len(p[others]) :])
            p_cal = np.concatenate([*of_others, *of_mergers], axis=-1)
            of_block += _at_prevalences(truth[rest], p_cal, counts[:, rest], chosen)
        drawn.append(of_block)
    return _table(values, drawn, sigma)


def _at_prevalences(
    truth: NDArray[np.bool_], p_cal: Floats, counts: Floats, chosen: Sequence[Prevalence]
) -> list[Floats]:
    """Score each draw at each prevalence, for which p_cal holds.

    It is of shape (prevalences, 1 or 2, draws, n): calibrated, and kept off 0 and 1 where this differs.
    """
    found, of_order = list[Floats](), None
    for one, kinds in zip(chosen, p_cal, strict=True):
        known = None if one is None else of_order
        found += scores_of_draws(truth, kinds[0], kinds[-1], counts, [one], known)
        if one is not None:  # another prevalence shifts all of a draw alike, and keeps their order
            of_order = found[-1][:, METRICS.index("auroc")]
    return found


def _listed(prevalence: Prevalence | Sequence[Prevalence]) -> Sequence[Prevalence]:
    return prevalence if isinstance(prevalence, Sequence) else [prevalence]


class _Drawer:
    """Draws units with replacement, as many in each stratum and class as the sample has there.

    Its counts are of the rows in some order.
    """

    def __init__(
        self,
        truth: NDArray[np.bool_],
        strata: ArrayLike | None,
        unit: ArrayLike | None,
        order: NDArray[np.int64] | slice = slice(None),
    ) -> None:
        n = len(truth)
        folds = np.zeros(n) if strata is None else np.asarray(strata)
        units = np.arange(n) if unit is None else np.asarray(unit)
        if folds.shape != (n,) or units.shape != (n,):
            raise ValueError(f"strata and unit must have a value for each of the {n} galaxies")
        if pd.isna(folds).any() or pd.isna(units).any():
            raise ValueError("strata and unit must be known for every galaxy, without NaN")
        stratum = 2 * pd.factorize(folds)[0] + truth
        keys, unit_of_row = np.unique(stratum * n + pd.factorize(units)[0], return_inverse=True)
        self._unit_of_row = unit_of_row[order]
        # The units of a stratum follow one another.
        self._ends = np.cumsum(np.unique(keys // n, return_counts=True)[1])

    def counts(self, draws: int, rng: np.random.Generator) -> Floats:
        """Return how often each row is drawn, shape (draws, n)."""
        counts = np.empty((draws, self._ends[-1]))
        for start, end in itertools.pairwise([0, *self._ends]):
            size = end - start
            chosen = rng.integers(size, size=(draws, size))
            chosen += size * np.arange(draws)[:, None]
            counts[:, start:end] = np.bincount(chosen.ravel(), minlength=draws * size).reshape(draws, size)
        result: Floats = np.take(counts, self._unit_of_row, axis=1)
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


def _table(values: list[dict[str, float]], drawn: list[list[Floats]], sigma: float) -> pd.DataFrame:
    if not drawn:
        raise ValueError("draws must be at least 1")
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, not {sigma}")
    tables = []
    for value, of_blocks in zip(values, zip(*drawn, strict=True), strict=True):
        low, high = np.quantile(np.concatenate(of_blocks), ndtr([-sigma, sigma]), axis=0)
        at = METRICS.index("ece")
        reflected = np.sqrt(np.maximum(0, 2 * value["ece"] ** 2 - np.square([high[at], low[at]])))
        low[at], high[at] = min(reflected[0], value["ece"]), max(reflected[1], value["ece"])
        in_order = [value[name] for name in METRICS]
        tables.append(pd.DataFrame({"metric": METRICS, "value": in_order, "low": low, "high": high}))
    return pd.concat(tables, ignore_index=True)
