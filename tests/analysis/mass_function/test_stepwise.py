"""Stepwise densities and bins: cut by the mass limit, not linked to the others, at round masses."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mergerexp.analysis.completeness import MassLimit
from mergerexp.analysis.mass_function import (
    DOUBLE,
    MassGrid,
    MassPoints,
    SampleVolume,
    Schechter,
    fit_schechter,
    mass_bins,
    swml_density,
    vmax_density,
)

STEEP = Schechter(10.8, (-1.4,), (-2.6,))
RISING = MassLimit(np.linspace(0.02, 0.06, 41), np.linspace(9.03, 10.41, 41))


def expected(truth: Schechter, volume: SampleVolume) -> MassPoints:
    """Return as many galaxies in each cell as there are on average."""
    shells, limits = volume.shells()
    edges = np.arange(9.0, 12.5, 0.002)
    centre = (edges[1:] + edges[:-1]) / 2
    mass, limit = np.meshgrid(centre, limits[:: len(limits) // 200])
    counts = (
        truth.density(centre)
        * 0.002
        * np.add.reduceat(shells, np.arange(0, len(shells), len(shells) // 200))[: len(mass), None]
    )
    seen = mass >= limit
    return MassPoints(mass[seen], limit[seen], counts[seen], counts[seen])


def test_a_bin_that_the_limit_cuts_has_the_mean_density_of_a_steep_function():
    volume = SampleVolume(RISING, 3000.0)
    edges = mass_bins(9.2, 11.4)
    found = swml_density(expected(STEEP, volume), volume, edges)["phi"].to_numpy()
    truth = [STEEP.density(np.linspace(a, b, 201)).mean() for a, b in itertools.pairwise(edges)]
    assert found == pytest.approx(truth, rel=0.006)


def test_the_errors_of_bins_are_the_scatter_of_samples():
    volume = SampleVolume(RISING, 600.0)
    average, random, edges = expected(STEEP, volume), np.random.default_rng(2), mass_bins(9.2, 11.2)
    found, errors = [], []
    for _ in range(150):
        number = random.poisson(average.weight)
        kept = number > 0
        weight = number[kept].astype(float)
        densities = swml_density(
            MassPoints(average.log_mass[kept], average.limit[kept], weight, weight), volume, edges
        )
        found.append(densities["phi"])
        errors.append(densities["error"])
    assert np.std(found, axis=0) / np.mean(errors, axis=0) == pytest.approx(np.ones(len(edges) - 1), abs=0.2)


def test_bins_that_no_heavier_galaxy_is_linked_to_are_not_determined():
    """The nearest galaxies are all light: how many of these there are for each heavy one can't be told."""
    far = np.linspace(10.0, 11.4, 60)
    masses, limits = np.append([9.05, 9.1], far), np.append([9.0, 9.0], np.full(60, 10.0))
    points = MassPoints.of(masses, limits)
    limit = MassLimit(np.array([0.02, 0.021, 0.06]), np.array([9.0, 9.9, 10.0]))
    volume = SampleVolume(limit, 1000.0)
    found = swml_density(points, volume, mass_bins(9.0, 11.4)).set_index(np.round(mass_bins(9.0, 11.2), 1))
    assert found.loc[9.0, "n"] == 2 and np.isnan(found.loc[9.0, ["phi", "error"]].astype(float)).all()
    assert np.isfinite(found.loc[10.0:, "phi"]).all()
    alone = MassPoints.of(far, np.full(60, 10.0))
    without = swml_density(alone, volume, mass_bins(9.0, 11.4))["phi"].to_numpy()
    assert found.loc[10.0:, "phi"].to_numpy() == pytest.approx(without[5:], rel=1e-6)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_round_masses_belong_to_the_bin_that_begins_there(kind):
    hundredths = np.arange(905, 1195)  # of a dex
    masses = (hundredths / 100).astype(kind)
    edges, flat = mass_bins(9.0, 12.0), MassLimit(np.array([0.02, 0.06]), np.array([8.9999, 9.0001]))
    volume = SampleVolume(flat, 1000.0)
    truth = np.histogram(hundredths, np.round(edges * 100))[0]
    grid = MassGrid(flat)
    grid.add(masses, np.linspace(0.02, 0.06, len(masses)))
    alone = MassPoints.of(masses, flat.at(np.linspace(0.02, 0.06, len(masses))))
    for points in (alone, alone.counted(), grid.points()):
        assert vmax_density(points, volume, edges)["n"].tolist() == truth.tolist()
        assert swml_density(points, volume, edges)["n"].tolist() == truth.tolist()


def test_the_error_of_one_bin_of_all_galaxies_is_that_of_their_number():
    flat = MassLimit(np.array([0.02, 0.06]), np.array([9.0, 9.0]))
    masses = np.random.default_rng(3).uniform(10.0, 11.0, 400)
    points = MassPoints.of(masses, np.full(400, 9.0))
    found = swml_density(points, SampleVolume(flat, 1000.0), [10.0, 11.0])
    assert found["error"][0] / found["phi"][0] == pytest.approx(1 / 20, rel=1e-6)


def test_a_parameter_that_is_not_determined_has_no_error_rather_than_none_at_all():
    volume, negative = SampleVolume(RISING, 1500.0), 0
    average, random = expected(Schechter(10.81, (-0.62,), (-3.43,)), volume), np.random.default_rng(0)
    for _ in range(6):
        number = random.poisson(average.weight).astype(float)
        kept = number > 0
        points = MassPoints(average.log_mass[kept], average.limit[kept], number[kept], number[kept])
        fit = fit_schechter(points, volume, DOUBLE, draws=0)
        variance = np.diag(fit.covariance)
        negative += (variance < 0).any()
        assert np.array_equal(np.isnan(fit.errors), variance < 0)
    assert negative
