"""Contours enclose what they say, and tests of samples with common galaxies are valid where they claim it."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from scipy.stats import ks_2samp

from mergerexp.analysis.colour_mass import (
    ColourMassGrid,
    compare_colours,
    enclosing_levels,
    k_correction,
)


def test_contours_enclose_their_part_of_the_galaxies():
    random = np.random.default_rng(0)
    mass, colour = random.normal(10.5, 0.5, 200_000), random.normal(2.2, 0.4, 200_000)
    grid = ColourMassGrid()
    for part in range(4):
        grid.add(mass[part::4], colour[part::4])
    density = grid.density(1.0)
    for part, level in zip((0.2, 0.5, 0.8, 0.95), enclosing_levels(density), strict=True):
        assert grid.counts[density >= level].sum() / 200_000 == pytest.approx(part, abs=0.01)
        # The contour of a normal distribution is an ellipse of known size.
        inside = density >= level
        area = inside.sum() * 0.05 * 0.025 / (np.pi * 0.5 * 0.4)
        assert area == pytest.approx(-2 * np.log(1 - part), rel=0.06)


def test_independent_samples_are_compared_as_by_scipy():
    random = np.random.default_rng(1)
    values = np.concatenate([random.normal(2.3, 0.4, 80), random.normal(2.5, 0.4, 120)])
    ours = np.arange(200) < 80
    found, expected = compare_colours(values, ours, ~ours, seed=0), ks_2samp(values[:80], values[80:])
    assert (found.statistic, found.p_value) == pytest.approx((expected.statistic, expected.pvalue))
    assert (found.statistic_apart, found.p_apart) == (found.statistic, found.p_value)
    assert found.method == "exact" and (found.n, found.n_other, found.n_common) == (80, 120, 0)
    assert found.p_permuted == pytest.approx(found.p_value, abs=0.04)


def test_the_permutation_test_rejects_as_often_as_it_should_although_galaxies_are_common():
    random, papers, permuted = np.random.default_rng(2), [], []
    for seed in range(200):
        values = random.normal(2.3, 0.4, 150)
        ours, others = np.arange(150) < 100, np.arange(150) >= 50  # 50 are in both
        found = compare_colours(values, ours, others, seed=seed, permutations=99)
        papers.append(found.p_value)
        permuted.append(found.p_permuted)
    assert 0.01 < np.mean(np.array(permuted) <= 0.05) < 0.10
    assert np.mean(permuted) == pytest.approx(0.5, abs=0.08)
    assert np.mean(np.array(papers) <= 0.05) < 0.02  # the paper's p-value is too large


def test_the_permutation_test_sees_a_difference():
    random = np.random.default_rng(3)
    values = np.concatenate([random.normal(2.3, 0.4, 100), random.normal(2.7, 0.4, 100)])
    ours, others = np.arange(200) < 120, np.arange(200) >= 80
    assert compare_colours(values, ours, others, seed=0).p_permuted < 0.01


def test_ties_and_large_and_empty_samples_are_handled():
    """Ties and empty samples are handled, and the method is stated (scipy #14019, #12999)."""
    tied = compare_colours(np.repeat([1.0, 2.0], 20), np.arange(40) % 2 == 0, np.arange(40) % 2 == 1, seed=0)
    assert tied.statistic == 0 and tied.p_value == 1 and tied.p_permuted == 1
    many = np.linspace(0, 1, 30_000)
    large = compare_colours(
        many, np.arange(30_000) % 3 == 0, np.arange(30_000) % 3 > 0, seed=0, permutations=9
    )
    assert large.method == "asymptotic"
    empty = compare_colours([1.0, 2.0, 3.0], [True] * 3, [False] * 3, seed=0)
    assert empty.method == "too few galaxies" and np.isnan(empty.p_value) and np.isnan(empty.p_permuted)
    same = compare_colours([1.0, 2.0, 3.0], [True] * 3, [True] * 3, seed=0)
    assert same.p_value == 1 and np.isnan(same.p_apart) and np.isnan(same.p_permuted)


def test_a_colour_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="a colour is not a number"):
        compare_colours([1.0, np.nan], [True, False], [False, True], seed=0)


@pytest.mark.usefixtures("stilts")
@pytest.mark.parametrize("band", ["u", "r"])
def test_k_corrections_are_those_of_stilts(band):
    for z, colour in ((0.01, 1.2), (0.06, 2.4), (0.3, 2.0)):
        expression = f"kCorr(KCF_{band}, {z}, KCC_ur, {colour})"
        said = subprocess.run(
            ["stilts", "calc", expression], capture_output=True, text=True, check=True
        ).stdout
        assert k_correction(band, [z], [colour])[0] == pytest.approx(float(said), abs=1e-9)


@pytest.mark.parametrize(
    ("band", "expected"),
    [("u", [0.0529467296, 0.1883513556, 0.7102874400]), ("r", [0.0164522066, 0.0572821618, 0.1812514410])],
)
def test_k_corrections_are_those_that_stilts_has_given(band, expected):
    """By the kCorr function of STILTS, which has the coefficients of Chilingarian et al. independently."""
    assert k_correction(band, [0.01, 0.06, 0.3], [1.2, 2.4, 2.0]) == pytest.approx(expected, abs=1e-9)


def test_k_corrections_vanish_at_no_redshift_and_are_not_extrapolated():
    assert k_correction("u", [0.0, 0.05], [2.0, 2.5])[0] == 0
    with pytest.raises(ValueError, match=r"up to a redshift of 0.5, not 0.6"):
        k_correction("r", [0.6], [2.0])
