"""The learning curve against truth that it was made from, a closed form, and scipy's own fit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import curve_fit

from mergerexp.analysis.learning_curve import fit_learning_curve

N = np.array([300.0, 510, 900, 1500, 3000])
SEM = np.array([0.004, 0.003, 0.002, 0.002, 0.001])


def law(n, a, b, c):
    return a + b * n**-c


@pytest.mark.parametrize("truth", [(0.02, 3, 0.7), (0.02, 10, 0.8), (0.05, 0.3, 0.3), (0.2, 1e3, 2.0)])
def test_recovers_what_it_was_made_from(truth):
    curve = fit_learning_curve(N, law(N, *truth), SEM)
    assert (curve.a, curve.b, curve.c) == pytest.approx(truth, rel=1e-4)
    assert curve.chi2 == pytest.approx(0, abs=1e-8)
    assert curve.dof == 2
    error, _, _ = curve.predict([100, 30_000])
    np.testing.assert_allclose(error, law(np.array([100, 30_000]), *truth), rtol=1e-4)


def test_agrees_with_scipy_curve_fit():
    noisy = law(N, 0.02, 3, 0.7) + np.array([0.002, -0.001, 0.001, -0.0005, 0.0003])
    best, covariance = curve_fit(
        law, N, noisy, (0.02, 3, 0.7), SEM, absolute_sigma=True, x_scale="jac", method="trf", xtol=1e-14
    )
    curve = fit_learning_curve(N, noisy, SEM)
    assert (curve.a, curve.b, curve.c) == pytest.approx(tuple(best), rel=1e-3)
    np.testing.assert_allclose(curve.covariance, covariance, rtol=0.02)
    assert curve.chi2 == pytest.approx((((noisy - law(N, *best)) / SEM) ** 2).sum(), rel=1e-5)


def test_without_an_asymptote_it_is_a_straight_line_in_logarithms():
    """Of exact powers the fit, and of equal relative errors the covariance of c, 1 / Σ (x - x̄)²."""
    error = law(N[:3], 0, 1, 0.5)
    curve = fit_learning_curve(N[:3], error, 0.05 * error)
    assert (curve.a, curve.b, curve.c) == pytest.approx((0, 1, 0.5))
    assert curve.dof == 1
    assert not curve.covariance[0].any()
    spread = ((np.log(N[:3]) - np.log(N[:3]).mean()) ** 2).sum()
    assert curve.covariance[2, 2] == pytest.approx(0.05**2 / spread)
    # where the data are, the band is that of a weighted mean: a relative error of 5 % / √3
    centre = np.exp(np.log(N[:3]).mean())
    value, low, high = curve.predict(centre)
    assert (high - low) / 2 / value == pytest.approx(0.05 / 3**0.5)


def test_asymptote_is_zero_where_the_data_want_it_below():
    steepening = np.array([0.10, 0.095, 0.08, 0.06, 0.03])
    curve = fit_learning_curve(N, steepening, SEM)
    assert curve.a == 0
    assert curve.dof == 3
    assert not curve.covariance[0].any()


def test_error_that_does_not_fall():
    for error in (np.full(5, 0.1), 0.05 * N**0.1):
        curve = fit_learning_curve(N, error, SEM)
        assert curve.a == 0
        np.testing.assert_allclose(curve.predict(N)[0], error, rtol=1e-6)
    assert curve.c == pytest.approx(-0.1)


def test_band_covers_the_truth():
    """68 % of bands hold it, within the sizes and (with a curve as bent as this) at twice the largest."""
    truth, rng = (0.03, 20, 0.9), np.random.default_rng(1)
    at = np.array([400, 2000, 6000])
    covered = []
    for _ in range(300):
        curve = fit_learning_curve(N, law(N, *truth) + rng.normal(0, SEM), SEM)
        _, low, high = curve.predict(at)
        covered.append((low <= law(at, *truth)) & (law(at, *truth) <= high))
        assert np.isfinite(curve.covariance).all()
    assert (np.abs(np.mean(covered, axis=0) - 0.683) < 0.08).all(), np.mean(covered, axis=0)


def test_band_widens_with_sigma_and_stays_positive():
    curve = fit_learning_curve(N, [0.12, 0.07, 0.06, 0.031, 0.012], np.full(5, 0.02))
    _, low, high = curve.predict([3e3, 1e6])
    _, low2, high2 = curve.predict([3e3, 1e6], sigma=2)
    assert (high2 > high).all()
    assert (low2 <= low).all()
    assert (low2 >= 0).all()


def test_any_errors_can_be_fitted():
    rng = np.random.default_rng(2)
    for size in (3, 4, 5):
        for _ in range(100):
            curve = fit_learning_curve(N[:size], rng.random(size), 1e-4 + rng.random(size) ** 4)
            assert np.isfinite(curve.predict(N)).all()


def test_order_does_not_matter():
    error, order = law(N, 0.02, 3, 0.7) + SEM * [1, -1, 1, -1, 1], [3, 1, 4, 0, 2]
    first, again = fit_learning_curve(N, error, SEM), fit_learning_curve(N[order], error[order], SEM[order])
    assert (again.a, again.b, again.c) == pytest.approx((first.a, first.b, first.c), rel=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_train": N[:2], "error": SEM[:2], "sem": SEM[:2]}, "three training-set sizes"),
        ({"error": SEM[:4]}, "alike"),
        ({"n_train": [300, 300, 900, 1500, 3000]}, "n_train"),
        ({"n_train": [0, 300, 900, 1500, 3000]}, "n_train"),
        ({"error": [0.1, 0.1, np.nan, 0.1, 0.1]}, "error must"),
        ({"error": np.zeros(5)}, "error must"),
        ({"sem": [0.1, 0, 0.1, 0.1, 0.1]}, "sem"),
        ({"sem": [0.1, np.nan, 0.1, 0.1, 0.1]}, "sem"),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(ValueError, match=message):
        fit_learning_curve(**({"n_train": N, "error": law(N, 0.02, 3, 0.7), "sem": SEM} | change))


def test_prediction_needs_a_size():
    with pytest.raises(ValueError, match="n_train"):
        fit_learning_curve(N, law(N, 0.02, 3, 0.7), SEM).predict([0, 100])
