"""The mass function of a population by all methods, with the errors of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergerexp.analysis.completeness import LimitFit, MassLimit
from mergerexp.analysis.mass_function import (
    SINGLE,
    Fit,
    MassGrid,
    MassPoints,
    SampleVolume,
    fit_schechter,
    mass_bins,
    swml_density,
    vmax_density,
)
from mergerexp.analysis.mass_function.choice import Choice, bootstrap_fits, choose, interval
from mergerexp.analysis.mass_function.schechter import Family
from mergerexp.analysis.metrics import Floats
from mergerexp.analysis.sky import Regions, jackknife_covariance

HIGHEST = 12.4  # log10(M/M☉) up to which there are bins
WIDE = 0.02  # dex, of the cells that regions are counted in
CURVE = 0.05  # dex between the masses at which a fit and its interval are drawn
LEVEL = 0.05  # p-value below which a single Schechter function is rejected
SIGMA = 0.68  # the part of the bootstrap's fits that intervals hold


@dataclass(frozen=True)
class MassFunction:
    """The mass function of a population.

    Attributes
    ----------
    name, title
        The name of the population in files, and in words.
    galaxies
        How many galaxies, or the sum of their weights, lie above the mass limit.
    limit
        The mass limit.
    bins
        A row for each bin of mass: log_mass, n, whole, vmax, vmax_error, swml, swml_error, and of vmax
        jackknife_error.
    fit
        The Schechter function that is taken.
    choice
        The comparison of a single with a double one; None where only a single one was fitted.
    errors
        The standard deviations of log10(M*), of each α, and of each log10(Φ*), from the bootstrap.
    jackknife
        The same from the regions of the sky; None without them.
    curve
        The fit with its interval: log_mass, phi, low, high.
    """

    name: str
    title: str
    galaxies: float
    limit: LimitFit
    bins: pd.DataFrame
    fit: Fit
    choice: Choice | None
    errors: Floats
    jackknife: Floats | None
    curve: pd.DataFrame


@dataclass(frozen=True)
class Grids:
    """The galaxies of a population in cells, and in wider cells for each region of the sky.

    Attributes
    ----------
    whole
        All of them.
    by_region
        The same by regions, for the jackknife; None without regions.
    """

    whole: MassGrid
    by_region: MassGrid | None

    @classmethod
    def of(cls, limit: MassLimit, regions: Regions | None) -> Grids:
        """Return empty grids above a mass limit."""
        parts = None if regions is None else MassGrid(limit, regions.number, WIDE)
        return cls(MassGrid(limit), parts)

    def add(
        self, log_mass: Floats, redshift: Floats, weight: Floats, region: NDArray[np.int64] | None
    ) -> None:
        """Count further galaxies; see `mergerexp.analysis.mass_function.MassGrid.add`."""
        self.whole.add(log_mass, redshift, weight)
        if self.by_region is not None:
            self.by_region.add(log_mass, redshift, weight, region)


@dataclass(frozen=True)
class Effort:
    """How much is drawn for errors.

    Attributes
    ----------
    draws
        The number of draws of each bootstrap.
    seed
        Their seed.
    compare
        Whether a single Schechter function is compared with a double one, and which is taken.
    """

    draws: int
    seed: int
    compare: bool


def measure_mass_function(
    name: str,
    title: str,
    grids: Grids,
    limit: LimitFit,
    area: float,
    regions: Regions | None,
    width: float,
    effort: Effort,
) -> MassFunction:
    """Measure the mass function of a population.

    Parameters
    ----------
    name, title
        The name of the population in files, and in words.
    grids
        Its galaxies.
    limit
        Its mass limit.
    area
        Its effective area in square degrees.
    regions
        The regions of the sky; None for no jackknife.
    width
        The width of the bins of mass in dex.
    effort
        How much is drawn.

    Raises
    ------
    ValueError
        If there are too few galaxies.
    """
    grid = grids.whole
    points, volume = grid.points(), SampleVolume(grid.limit, area)
    if not len(points):
        raise ValueError("no galaxy is above the mass limit")
    edges = mass_bins(float(grid.limit.log_mass[0]) - width, HIGHEST, width)
    vmax, swml = vmax_density(points, volume, edges), swml_density(points, volume, edges)
    choice = choose(points, volume, seed=effort.seed, draws=effort.draws) if effort.compare else None
    fit = choice.better(LEVEL) if choice else fit_schechter(points, volume, SINGLE, draws=0)
    fits = bootstrap_fits(points, volume, fit, seed=effort.seed, draws=effort.draws)
    bins = pd.DataFrame(
        {
            "log_mass": vmax["log_mass"], "n": vmax["n"], "whole": vmax["whole"],
            "vmax": vmax["phi"], "vmax_error": vmax["error"],
            "swml": swml["phi"], "swml_error": swml["error"],
        }
    )  # fmt: skip
    deviations = _jackknife(grids.by_region, regions, volume, fit, edges)
    jackknife = None if deviations is None else deviations[: -len(bins)]
    bins["jackknife_error"] = np.nan if deviations is None else deviations[-len(bins) :]
    mass = np.arange(float(grid.limit.log_mass[0]), HIGHEST, CURVE)
    low, high = interval(fits, mass, SIGMA)
    curve = pd.DataFrame({"log_mass": mass, "phi": fit.function.density(mass), "low": low, "high": high})
    errors = np.std([parameters_of(each) for each in fits], axis=0)
    return MassFunction(name, title, points.total, limit, bins, fit, choice, errors, jackknife, curve)


def _jackknife(
    grid: MassGrid | None, regions: Regions | None, volume: SampleVolume, fit: Fit, edges: Floats
) -> Floats | None:
    """Return the deviations of the parameters and of the densities in bins; None where that can't be done."""
    if grid is None or regions is None:
        return None
    try:
        left_out = [
            np.concatenate(_without(grid, region, volume.fraction(1 - share), fit, edges))
            for region, share in enumerate(regions.shares())
        ]
    except ValueError:  # nearly all galaxies are in one region
        return None
    return np.sqrt(np.diag(jackknife_covariance(left_out)))


def _without(
    grid: MassGrid, region: int, volume: SampleVolume, fit: Fit, edges: Floats
) -> tuple[Floats, Floats]:
    """Return the parameters of the fit, and the densities by 1/V_max, without a region of the sky."""
    points: MassPoints = grid.points(without=region)
    family: Family = fit.family
    again = fit_schechter(points, volume, family, starts=[fit.parameters], draws=0)
    return parameters_of(again), vmax_density(points, volume, edges)["phi"].to_numpy(dtype=np.float64)


def parameters_of(fit: Fit) -> Floats:
    """Return log10(M*), each α and each log10(Φ*) of a fit."""
    function = fit.function
    return np.array([function.log_mass, *function.alpha, *function.log_phi])


def number_density(fit: Fit, lowest: float) -> float:
    """Return the density of galaxies above a mass, in the unit of the fit's Φ* (h³ Mpc⁻³)."""
    mass = np.arange(lowest, 13.0, 0.005)
    return float(np.trapezoid(fit.function.density(mass), mass))
