"""Calibrators that are fitted to many bootstrap draws at once, as `Calibrator.fit` fits one to each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.special import expit, logit

from mergerexp.analysis.calibration import shifted
from mergerexp.analysis.calibrators import Isotonic, Platt, calibrator_class
from mergerexp.analysis.logistic import logistic_fits
from mergerexp.analysis.metrics import Floats


def refitted(
    method: str,
    truth: NDArray[np.bool_],
    p_m: Floats,
    counts: Floats,
    at: Floats,
    prevalences: Sequence[float | None],
) -> Floats:
    """Fit a calibrator to each draw, and apply it.

    Parameters
    ----------
    method : {"isotonic", "platt"}
        The method of calibration.
    truth : ndarray of bool, shape (n,)
        Which of the galaxies fitted to are mergers.
    p_m : ndarray of float, shape (n,)
        Their merger probabilities, in [0, 1].
    counts : ndarray of float, shape (draws, n)
        How often each counts in each draw; both classes must be drawn.
    at : ndarray of float, shape (m,)
        The merger probabilities to calibrate, in [0, 1].
    prevalences : sequence of float or None
        The fractions of mergers at which the results are to hold; None for that of each draw.

    Returns
    -------
    ndarray of float, shape (prevalences, 1 or 2, draws, m)
        The calibrated probabilities by the calibrator of each draw, and in the second place those of
        `Isotonic` kept off 0 and 1; those of `Platt` stay as they are (see `Calibrator.apply`).

    Raises
    ------
    ValueError
        If there is no such method.

    Examples
    --------
    >>> truth, p_m = np.array([False, True, False, True]), np.array([0.2, 0.4, 0.6, 0.9])
    >>> at, counts = np.array([0.3, 0.5, 0.95]), np.ones((1, 4))
    >>> refitted("isotonic", truth, p_m, counts, at, [None])[0, 0].round(2).tolist()
    [[0.25, 0.5, 1.0]]
    """
    own = (counts * truth).sum(axis=1) / counts.sum(axis=1)
    if calibrator_class(method) is Platt:
        kinds = _platt(truth, p_m, counts, at)[None]
    else:
        calibrated = _isotonic(truth, p_m, counts, at)
        margin = Isotonic.margin(counts.sum(axis=1, keepdims=True).round())
        kinds = np.stack([calibrated, calibrated.clip(margin, 1 - margin)])
    return np.stack([kinds if one is None else shifted(kinds, own[:, None], one) for one in prevalences])


def _platt(truth: NDArray[np.bool_], p_m: Floats, counts: Floats, at: Floats) -> Floats:
    given, asked = (logit(p.clip(Platt.limit, 1 - Platt.limit)) for p in (p_m, at))
    slope, intercept = logistic_fits(given, truth.astype(np.float64), counts, Platt.prior_sd)
    calibrated: Floats = expit(slope[:, None] * asked + intercept[:, None])
    return calibrated


def _isotonic(truth: NDArray[np.bool_], p_m: Floats, counts: Floats, at: Floats) -> Floats:
    order = np.argsort(p_m, kind="stable")
    knots, first = np.unique(p_m[order], return_index=True)
    rising = counts[:, order]
    drawn = np.add.reduceat(rising, first, axis=1)
    mergers = np.add.reduceat(rising * truth[order], first, axis=1)
    calibrated = np.empty((len(counts), len(at)))
    for row, (of_knot, found) in enumerate(zip(drawn, mergers, strict=True)):
        used = of_knot > 0
        fitted = isotonic_regression(found[used] / of_knot[used], weights=of_knot[used]).x.clip(0, 1)
        calibrated[row] = np.interp(at, knots[used], fitted)
    return calibrated
