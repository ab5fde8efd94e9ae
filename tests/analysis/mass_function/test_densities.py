"""Mass functions of mock samples come out as the truth, by each method, whole or counted in cells."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.special import gamma, gammaincc

from mergerexp.analysis.completeness import MassLimit, fit_mass_limit
from mergerexp.analysis.mass_function import (
    MassGrid,
    MassPoints,
    SampleVolume,
    Schechter,
    fit_schechter,
    mass_bins,
    swml_density,
    vmax_density,
)
from mergerexp.analysis.mass_function.choice import bootstrap_fits, choose, drawn_from, fit_both, interval
from mergerexp.analysis.mock_sample import mock_sample
from mergerexp.cosmology import comoving_volume

BETWEEN = (0.02, 0.06)
MERGERS = Schechter(10.81, (-0.62,), (-3.43,))
ALL = Schechter(10.79, (-1.69, -0.79), (-3.31, -2.01))
FLAT = MassLimit(np.array(BETWEEN), np.array([9.0, 9.0]))


def sample(truth: Schechter, area: float, seed: int, lowest: float = 9.0):
    mock = mock_sample(truth, BETWEEN, area, np.random.default_rng([11, seed]))
    bright = 17.77 - mock["magnitude"]
    limit = fit_mass_limit(mock["redshift"], mock["log_mass"], bright, BETWEEN, seed=0, draws=0).limit
    limit = limit.not_below(lowest)
    return mock, MassPoints.of(mock["log_mass"], limit.at(mock["redshift"])), SampleVolume(limit, area)


def test_mocks_of_mergers_give_the_truth_on_average():
    fits, bins, edges = [], [], mass_bins(9.0)
    for seed in range(25):
        _, points, volume = sample(MERGERS, 8000.0, seed)
        fits.append(fit := fit_schechter(points, volume))
        bins.append([vmax_density(points, volume, edges)["phi"], swml_density(points, volume, edges)["phi"]])
        assert not fit.at_bound
    pulls = [
        [*((fit.parameters - (10.81, -0.62)) / fit.errors), (fit.log_phi + 3.43) / fit.log_phi_error]
        for fit in fits
    ]
    assert np.abs(np.mean(pulls, axis=0)).max() < 0.25 + 3 / np.sqrt(25)
    assert np.std(pulls, axis=0) == pytest.approx(np.ones(3), abs=0.45)
    truth = [MERGERS.density(np.linspace(a, b, 41)).mean() for a, b in itertools.pairwise(edges)]
    full = (edges[:-1] > 9.7) & (edges[1:] < 11.3)  # a hundred galaxies and more
    assert (np.mean(bins, axis=0) / truth)[:, full] == pytest.approx(np.ones((2, full.sum())), abs=0.04)


def test_the_likelihood_is_the_closed_form():
    points = MassPoints.of([10.0, 10.7, 11.2], [9.1, 9.6, 10.3])
    fit = fit_schechter(points, SampleVolume(FLAT, 1000.0), draws=0)
    knee, alpha = fit.parameters
    above = gamma(alpha + 1) * gammaincc(alpha + 1, 10 ** (points.limit - knee))
    expected = np.log(Schechter(knee, (alpha,), (0.0,)).density(points.log_mass) / above).sum()
    assert fit.log_likelihood == pytest.approx(expected, abs=1e-4)
    for other in ((knee + 0.02, alpha), (knee - 0.02, alpha), (knee, alpha + 0.05), (knee, alpha - 0.05)):
        above = gamma(other[1] + 1) * gammaincc(other[1] + 1, 10 ** (points.limit - other[0]))
        shape = Schechter(other[0], (other[1],), (0.0,)).density(points.log_mass)
        assert np.log(shape / above).sum() < expected


def test_vmax_counts_each_galaxy_over_the_volume_in_which_it_is_visible():
    limit = MassLimit(np.array([0.02, 0.04, 0.06]), np.array([9.0, 10.0, 10.0]))
    points = MassPoints.of([9.5, 10.5], limit.at([0.021, 0.05]))
    found = vmax_density(points, SampleVolume(limit, 500.0), [9.0, 10.0, 11.0])
    volumes = np.array([comoving_volume(0.02, 0.03, 500.0), comoving_volume(0.02, 0.06, 500.0)]) * 0.343
    assert found["phi"].to_numpy() == pytest.approx(1 / volumes)
    assert found["whole"].tolist() == [True, True]
    assert not vmax_density(points, SampleVolume(limit.not_below(9.1), 500.0), [9.0, 10.0])["whole"].any()


def test_galaxies_counted_in_cells_give_the_same_within_a_twentieth_of_an_error():
    mock, points, volume = sample(MERGERS, 8000.0, 3)
    grid = MassGrid(volume.limit)
    for part in np.array_split(np.arange(len(mock)), 7):
        grid.add(mock["log_mass"].iloc[part], mock["redshift"].iloc[part])
    cells = grid.points()
    assert cells.total == len(points) and len(cells) < len(points)
    one, other = fit_schechter(points, volume), fit_schechter(cells, volume)
    assert np.abs((one.parameters - other.parameters) / one.errors).max() < 0.05
    assert abs(one.log_phi - other.log_phi) < 0.05 * one.log_phi_error
    edges = mass_bins(9.4, 11.6)
    stepwise, counted = (swml_density(each, volume, edges) for each in (points, cells))
    assert (np.abs(stepwise["phi"] - counted["phi"]) < 0.05 * stepwise["error"]).all()


def test_a_grid_leaves_out_a_region():
    mock, points, volume = sample(MERGERS, 8000.0, 4)
    region = np.arange(len(mock)) % 3
    weight = np.where(region == 1, 0.3, 0.7)
    grid = MassGrid(volume.limit, regions=3)
    kept = grid.add(mock["log_mass"], mock["redshift"], weight, region)
    assert kept == len(points)
    rest = grid.points(without=1)
    other = MassGrid(volume.limit)
    other.add(mock["log_mass"][region != 1], mock["redshift"][region != 1], weight[region != 1])
    assert rest.log_mass == pytest.approx(other.points().log_mass, abs=0.005)
    assert rest.total == pytest.approx(other.points().total) and rest.square.sum() == pytest.approx(
        0.7 * rest.total
    )


def test_weights_count_as_galaxies_but_their_errors_do_not():
    _, points, volume = sample(MERGERS, 2000.0, 5)
    twice = MassPoints(points.log_mass, points.limit, 2 * points.weight, 4 * points.square)
    pairs = MassPoints(points.log_mass, points.limit, 2 * points.weight, 2 * points.square)
    one, heavy, many = (fit_schechter(each, volume) for each in (points, twice, pairs))
    assert heavy.parameters == pytest.approx(one.parameters, abs=1e-4)
    assert heavy.log_phi - one.log_phi == pytest.approx(np.log10(2), abs=1e-4)
    assert heavy.errors / one.errors == pytest.approx(np.ones(2), abs=0.25)  # of 500 galaxies
    assert one.errors / many.errors == pytest.approx(np.full(2, np.sqrt(2)), abs=0.01)
    edges = mass_bins(9.8, 11.4)
    alone, weighted = (swml_density(each, volume, edges) for each in (points, twice))
    assert (weighted["error"] / weighted["phi"]).to_numpy() == pytest.approx(
        (alone["error"] / alone["phi"]).to_numpy(), rel=0.1
    )


def test_stepwise_errors_are_those_of_counts_where_all_masses_are_seen():
    _, points, volume = sample(MERGERS, 8000.0, 6, lowest=10.4)
    edges = mass_bins(10.4, 11.6)
    stepwise, vmax = swml_density(points, volume, edges), vmax_density(points, volume, edges)
    filled = vmax["n"] > 20
    assert stepwise["phi"][filled].to_numpy() == pytest.approx(vmax["phi"][filled].to_numpy(), rel=1e-3)
    assert stepwise["error"][filled].to_numpy() == pytest.approx(vmax["error"][filled].to_numpy(), rel=0.15)


def test_a_single_function_is_kept_for_a_single_population_and_rejected_for_two():
    _, points, volume = sample(MERGERS, 4000.0, 7)
    assert choose(points, volume, seed=0, draws=19).p_value > 0.05
    _, points, volume = sample(ALL, 2500.0, 8, lowest=7.0)
    choice = choose(points, volume, seed=0, draws=19)
    assert choice.p_value == 0.05 and choice.better(0.06) is choice.double
    assert choice.double.family.function(choice.double.parameters, -3.0).alpha[0] < -1.1


def test_bootstrap_intervals_hold_the_truth_and_shrink_with_the_sample():
    widths = []
    for area in (300.0, 1200.0):
        _, points, volume = sample(ALL, area, 9, lowest=7.0)
        cells = points.counted()
        fit = fit_both(cells, volume)[1]
        low, high = interval(bootstrap_fits(cells, volume, fit, seed=1, draws=30), [10.2, 10.8], level=0.95)
        assert (low < ALL.density([10.2, 10.8])).all() and (high > ALL.density([10.2, 10.8])).all()
        widths.append(np.log(high / low))
    assert (widths[1] < widths[0]).all()


def test_masses_drawn_from_a_fit_are_distributed_as_it_says():
    _, points, volume = sample(MERGERS, 8000.0, 10)
    fit = fit_schechter(points, volume)
    again = fit_schechter(drawn_from(fit, points, np.random.default_rng(0)), volume)
    assert np.abs((again.parameters - fit.parameters) / fit.errors).max() < 4


def test_a_fit_says_which_parameter_the_sample_does_not_determine():
    fit = fit_schechter(MassPoints.of(np.full(50, 10.5), np.full(50, 9.0)), SampleVolume(FLAT, 1000.0))
    assert "alpha" in fit.at_bound


@pytest.mark.parametrize(
    ("masses", "weights", "message"),
    [
        ([np.nan], [1.0], "must be numbers"),
        ([10.0], [-1.0], "not negative"),
        ([10.0, 11.0], [1.0], "one length"),
        ([13.5], [1.0], r"10\^13.50"),
    ],
)
def test_what_is_no_galaxy_is_refused(masses, weights, message):
    with pytest.raises(ValueError, match=message):
        MassPoints.of(masses, np.full(len(masses), 9.0), weights)


def test_samples_that_are_too_small_are_refused():
    volume = SampleVolume(FLAT, 1000.0)
    with pytest.raises(ValueError, match="too few for the parameters log_mass, alpha"):
        fit_schechter(MassPoints.of([10.0, 11.0], [9.0, 9.0]), volume)
    with pytest.raises(ValueError, match="no galaxy is in any bin"):
        swml_density(MassPoints.of([10.0], [9.0]), volume, [11.0, 12.0])
