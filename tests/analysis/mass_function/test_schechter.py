"""Schechter functions agree with incomplete gamma functions, and their derivatives with differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gamma, gammaincc

from mergerexp.analysis.mass_function.schechter import DOUBLE, SINGLE, Schechter


@pytest.mark.parametrize("lowest", [9.0, 10.8, 11.5])
def test_the_number_above_a_mass_is_an_incomplete_gamma_function(lowest):
    function = Schechter(10.81, (-0.62,), (-3.43,))
    above, _ = quad(function.density, lowest, 13.5, epsabs=1e-14)
    expected = 10**-3.43 * gamma(0.38) * gammaincc(0.38, 10 ** (lowest - 10.81))
    assert above == pytest.approx(expected, rel=1e-6)


def test_a_double_function_is_the_sum_of_two_with_one_knee():
    mass = np.linspace(8, 12, 9)
    both = Schechter(10.79, (-1.69, -0.79), (-3.31, -2.01)).density(mass)
    one, other = Schechter(10.79, (-1.69,), (-3.31,)), Schechter(10.79, (-0.79,), (-2.01,))
    assert both == pytest.approx(one.density(mass) + other.density(mass))


@pytest.mark.parametrize(
    ("family", "parameters"), [(SINGLE, [10.81, -0.62]), (DOUBLE, [10.79, -1.69, 0.9, 2.99])]
)
def test_a_familys_shape_is_its_function_and_its_derivatives_are_right(family, parameters):
    mass, at = np.linspace(8, 12, 9), np.array(parameters)
    values, slopes = family.log_shape(mass, at)
    assert np.exp(values) == pytest.approx(family.function(at, 0.0).density(mass))
    for number in range(len(at)):
        step = np.eye(len(at))[number] * 1e-6
        difference = (family.log_shape(mass, at + step)[0] - family.log_shape(mass, at - step)[0]) / 2e-6
        assert slopes[number] == pytest.approx(difference, abs=1e-6, rel=1e-6)


def test_no_mass_overflows():
    with np.errstate(all="raise", under="ignore"):
        assert Schechter(8.0, (-1.0,), (-3.0,)).density(14.0) < 1e-300
        assert np.isfinite(SINGLE.log_shape(np.array([5.0, 14.0]), np.array([7.0, 5.0]))[0]).all()
