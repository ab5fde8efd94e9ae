"""Calibrators of many draws at once are those that are fitted to one draw after the other."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mergerexp.analysis.calibrators import Isotonic, Platt, calibrator_class
from mergerexp.analysis.logistic import logistic_fits
from mergerexp.analysis.refits import refitted


def sample(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, probabilities with ties and extremes, and the counts of some draws."""
    truth = rng.random(60) < 0.4
    p = np.round(1 / (1 + np.exp(-3 * (truth - 0.5) - rng.normal(size=60))), 2)
    p[:3] = 0.0, 1.0, 1.0
    return truth, p, rng.poisson(1.0, (30, 60)).astype(float)


@pytest.mark.parametrize("prevalence", [None, 0.02])
@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_each_draw_is_fitted_by_itself(method, prevalence):
    truth, p, counts = sample(np.random.default_rng(1))
    at = np.linspace(0, 1, 41)
    (kinds,) = refitted(method, truth, p, counts, at, [prevalence])
    calibrated, clipped = kinds[0], kinds[-1]
    for row, of_draw in enumerate(counts):
        one = calibrator_class(method).fit(truth, p, of_draw)
        assert calibrated[row] == pytest.approx(one.apply(at, prevalence), abs=1e-12)
        assert clipped[row] == pytest.approx(one.apply(at, prevalence, clip=True), abs=1e-12)


def test_logistic_fits_are_those_of_scikit_learn():
    truth, p, counts = sample(np.random.default_rng(2))
    x = np.log(p.clip(0.01, 0.99) / (1 - p.clip(0.01, 0.99)))
    slopes, intercepts = logistic_fits(x, truth.astype(float), counts, prior_sd=1e6)
    for slope, intercept, of_draw in zip(slopes, intercepts, counts, strict=True):
        other = LogisticRegression(C=1e12, tol=1e-10, max_iter=1000).fit(x[:, None], truth, of_draw)
        assert slope == pytest.approx(other.coef_[0, 0], rel=1e-4)
        assert intercept == pytest.approx(other.intercept_[0], rel=1e-4, abs=1e-4)


def test_fits_that_take_many_steps_do_not_hold_up_the_others():
    """Separated classes among ordinary ones: the prior alone bounds their slope."""
    x = np.array([-2.0, -1.0, 1.0, 2.0, -1.5, 1.5])
    target = np.array([0.0, 0.0, 1.0, 1.0, 1.0, 0.0])
    weights = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0.1, 0.1]], dtype=float)
    together = logistic_fits(x, target, weights, Platt.prior_sd)
    alone = [logistic_fits(x, target, row[None], Platt.prior_sd) for row in weights]
    assert together[0] == pytest.approx([slope[0] for slope, _ in alone], rel=1e-12)
    assert together[0][0] > 3 * together[0][1]


def test_the_margin_of_clipped_probabilities_is_that_of_the_galaxies_drawn():
    truth, p, _ = sample(np.random.default_rng(3))
    few = np.where(np.arange(60) < 20, 1.0, 0.0)[None]
    ((_, clipped),) = refitted("isotonic", truth, p, few, np.array([0.0, 1.0]), [None])
    assert clipped[0, 0] >= Isotonic.margin(np.float64(20))
