"""The mass limit of a flux-limited sample leaves out the masses at which galaxies are missing."""

from __future__ import annotations

import numpy as np
import pytest

from mergerexp.analysis.completeness import MassLimit, fit_mass_limit
from mergerexp.analysis.mass_function.schechter import Schechter
from mergerexp.analysis.mock_sample import MassToLight, mock_sample

BETWEEN = (0.02, 0.06)
STEEP = Schechter(10.8, (-1.2,), (-2.6,))


def fitted(mock, **settings):
    bright = 17.77 - mock["magnitude"]
    return fit_mass_limit(mock["redshift"], mock["log_mass"], bright, BETWEEN, seed=0, **settings)


@pytest.mark.parametrize("area", [100.0, 3000.0])
def test_nearly_all_galaxies_above_the_limit_are_bright_enough(area):
    mock = mock_sample(STEEP, BETWEEN, area, np.random.default_rng(1))
    everything = mock_sample(STEEP, BETWEEN, 1500.0, np.random.default_rng(2), flux_limit=99.0)
    limit = fitted(mock, draws=0).limit
    low = limit.at(everything["redshift"])
    just_above = everything[(everything["log_mass"] > low) & (everything["log_mass"] < low + 0.1)]
    just_below = everything[(everything["log_mass"] < low - 0.2) & (everything["log_mass"] > low - 0.3)]
    assert (just_above["magnitude"] < 17.77).mean() > 0.93
    assert (just_below["magnitude"] < 17.77).mean() < 0.8


def test_redder_galaxies_have_a_higher_limit():
    plain = fitted(mock_sample(STEEP, BETWEEN, 3000.0, np.random.default_rng(3)), draws=0).limit
    redder = MassToLight(mean=0.45)
    red = fitted(mock_sample(STEEP, BETWEEN, 3000.0, np.random.default_rng(3), light=redder), draws=0).limit
    assert red.at(0.04) - plain.at(0.04) == pytest.approx(0.15 / 0.85, abs=0.05)  # 1 - the slope of M/L


def test_small_samples_have_fewer_bins_and_a_larger_error():
    few = fitted(mock_sample(STEEP, BETWEEN, 60.0, np.random.default_rng(4)))
    many = fitted(mock_sample(STEEP, BETWEEN, 3000.0, np.random.default_rng(4)))
    assert 2 <= len(few.bins) < len(many.bins) == 16
    assert few.error[400] > 2 * many.error[400] > 0
    assert abs(few.limit.at(0.04) - many.limit.at(0.04)) < 5 * few.error[400]
    assert few.bins["n"].max() - few.bins["n"].min() <= 1


def test_the_stricter_of_two_cuts_decides_at_each_redshift():
    mock = mock_sample(STEEP, BETWEEN, 3000.0, np.random.default_rng(5))
    from mergerexp.cosmology import distance_modulus

    absolute = mock["magnitude"] - distance_modulus(mock["redshift"])
    cut = mock[absolute < -19.0]
    both = np.column_stack([17.77 - cut["magnitude"], -19.0 - absolute[absolute < -19.0]])
    limit = fit_mass_limit(cut["redshift"], cut["log_mass"], both, BETWEEN, seed=0, draws=0).limit
    flux = fitted(cut, draws=0).limit
    # M_r = -19 is r = 17.77 at a redshift of 0.053.
    assert limit.at(0.025) > flux.at(0.025) + 0.2
    assert limit.at(0.03) == pytest.approx(float(limit.at(0.05)), abs=0.1)


def test_the_limit_never_falls_and_its_inverse_is_the_farthest_redshift():
    limit = fitted(mock_sample(STEEP, BETWEEN, 500.0, np.random.default_rng(6)), draws=0).limit.not_below(9.3)
    assert (np.diff(limit.log_mass) >= 0).all() and limit.log_mass[0] == 9.3
    rising = np.flatnonzero(limit.log_mass > 9.3)[::50]
    assert limit.farthest(limit.log_mass[rising]) == pytest.approx(limit.redshift[rising])
    assert limit.farthest(9.3) == pytest.approx(limit.redshift[limit.log_mass <= 9.3][-1])
    assert limit.farthest([9.29, 12.0]).tolist() == [0.02, 0.06]


def test_a_redshift_where_the_limit_is_not_known_is_refused():
    limit = MassLimit(np.array(BETWEEN), np.array([9.0, 10.0]))
    for z in (0.019, 0.061, np.nan):
        with pytest.raises(ValueError, match=r"outside of 0.02 to 0.06"):
            limit.at([0.03, z])


def test_samples_that_no_limit_can_be_fitted_to_are_refused():
    z, m = np.full(59, 0.03), np.full(59, 10.0)
    with pytest.raises(ValueError, match=r"59 galaxies between redshifts of 0.02 and 0.06 are too few"):
        fit_mass_limit(z, m, np.zeros(59), BETWEEN, seed=0)
    z, m = np.linspace(*BETWEEN, 100), np.full(100, 10.0)
    with pytest.raises(ValueError, match=r"2 galaxies are fainter than .* by up to 0.30 mag"):
        fit_mass_limit(z, m, [-0.1, -0.3, *[0.5] * 98], BETWEEN, seed=0)
