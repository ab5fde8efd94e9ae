"""Regions have equal areas and systems their members, at right ascension 0 and the poles as anywhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare

from mergerexp.analysis.sky import COLUMNS, ROWS, equal_areas, pixels, systems, unit_vectors
from mergerexp.cosmology import LIGHT_SPEED, comoving_distance


def isotropic(number: int, seed: int):
    random = np.random.default_rng(seed)
    return random.uniform(0, 360, number), np.degrees(np.arcsin(random.uniform(-1, 1, number)))


def counts_of(ra, dec):
    return np.bincount(pixels(ra, dec), minlength=ROWS * COLUMNS)


def test_pixels_have_equal_areas():
    counts = counts_of(*isotropic(1_000_000, 0))
    assert chisquare(counts).pvalue > 0.001


def test_regions_have_equal_areas_wherever_the_galaxies_are():
    ra, dec = isotropic(200_000, 1)
    crowded = np.concatenate([ra, np.full(50_000, 120.5)]), np.concatenate([dec, np.full(50_000, 30.5)])
    inside = (crowded[1] > 0) & (crowded[1] < 60)
    regions = equal_areas(counts_of(crowded[0][inside], crowded[1][inside]), 25)
    assert regions.shares() == pytest.approx(np.full(25, 1 / 25), rel=0.01)
    found = np.bincount(regions.at(crowded[0][inside], crowded[1][inside]))
    assert found.max() > 5 * np.median(found)
    assert regions.at([10.0], [-45.0]).tolist() == [-1]


def test_a_survey_across_right_ascension_0_is_divided_as_anywhere_else():
    random = np.random.default_rng(2)
    ra, dec = random.uniform(-30, 30, 50_000), random.uniform(-5, 5, 50_000)
    around_0, elsewhere = ((ra + shift) % 360 for shift in (0.0, 180.0))
    one = equal_areas(counts_of(around_0, dec), 10).at(around_0, dec)
    other = equal_areas(counts_of(elsewhere, dec), 10).at(elsewhere, dec)
    pairs = np.unique(np.stack([one, other]), axis=1)
    assert pairs.shape[1] == 10  # the same regions under other numbers
    for region in range(10):
        vectors = unit_vectors(around_0[one == region], dec[one == region])
        assert np.degrees(np.arccos((vectors @ vectors.mean(axis=0)).min())) < 10  # in one piece


def test_a_survey_that_is_too_small_is_not_divided():
    with pytest.raises(ValueError, match="1 square degrees with galaxies can't be divided into 5 regions"):
        equal_areas(counts_of([10.0], [10.0]), 5)


def test_systems_are_those_of_all_pairs():
    random = np.random.default_rng(3)
    ra, dec = (359.9 + random.uniform(0, 0.4, 300)) % 360, random.uniform(-0.2, 0.2, 300)
    z = random.choice([0.03, 0.0305, 0.05], 300) + random.normal(0, 3e-4, 300)
    found = systems(ra, dec, z, 80.0, 500.0)
    vectors = unit_vectors(ra, dec)
    angle = np.arccos(np.clip(vectors @ vectors.T, -1, 1))
    mean = (z[:, None] + z) / 2
    near = angle * comoving_distance(mean) / (1 + mean) * 1000 <= 80.0
    linked = near & (LIGHT_SPEED * np.abs(z[:, None] - z) / (1 + mean) <= 500.0)
    reach = linked
    for _ in range(9):  # chains of up to 2⁹ neighbours
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    assert ((found[:, None] == found) == reach).all()
    assert 50 < len(set(found)) < 290


def test_a_chain_is_one_system_and_a_difference_in_velocity_parts_neighbours():
    step = np.degrees(60 / (float(comoving_distance(0.05)) / 1.05 * 1000))
    ra = (359.9999 + step * np.arange(3)) % 360
    assert len(set(systems(ra, np.zeros(3), np.full(3, 0.05), 70.0, 500.0))) == 1
    assert len(set(systems(ra, np.zeros(3), np.full(3, 0.05), 50.0, 500.0))) == 3
    assert len(set(systems(ra, np.zeros(3), [0.05, 0.053, 0.05], 70.0, 500.0))) == 3
    assert systems([], [], [], 70.0, 500.0).tolist() == []
