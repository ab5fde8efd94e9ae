"""Mock flux-limited samples whose mass function and colours are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mergerexp.analysis.mass_function.schechter import Schechter
from mergerexp.analysis.metrics import Floats
from mergerexp.cosmology import H_CUBED, comoving_volume, distance_modulus

SUN_R = 4.65  # absolute r magnitude of the Sun
HEAVIEST = 12.5  # log10(M/M☉)
FLUX_LIMIT = 17.77  # of SDSS's main sample, in r
CELLS = 8001


@dataclass(frozen=True)
class MassToLight:
    """The ratio of mass to r light: log10(M/L) = mean + slope · (log10 M - 10.5), with a normal scatter.

    Attributes
    ----------
    mean, slope, scatter
        Its parameters, in solar units and dex.
    """

    mean: float = 0.30
    slope: float = 0.15
    scatter: float = 0.13


def mock_sample(
    truth: Schechter,
    between: tuple[float, float],
    area: float,
    random: np.random.Generator,
    *,
    lightest: float = 7.5,
    light: MassToLight | None = None,
    flux_limit: float = FLUX_LIMIT,
) -> pd.DataFrame:
    """Draw galaxies at random places in the universe, and keep those that are bright enough.

    Parameters
    ----------
    truth : Schechter
        Their mass function, in h³ Mpc⁻³ dex⁻¹.
    between : tuple of float
        The lower and upper redshift.
    area : float
        The area on the sky in square degrees.
    random : Generator
        Where the draws come from.
    lightest : float
        Masses log10(M/M☉) of the lightest galaxies.
    light : MassToLight, optional
        Their ratio of mass to light.
    flux_limit : float
        The faintest r magnitude.

    Returns
    -------
    DataFrame
        A row for each galaxy: redshift, log_mass and magnitude (r). There is no k-correction.

    Examples
    --------
    >>> truth = Schechter(10.8, (-0.6,), (-3.4,))
    >>> sample = mock_sample(truth, (0.02, 0.06), 8000.0, np.random.default_rng(0))
    >>> bool(sample["magnitude"].max() < 17.77), bool(sample["redshift"].between(0.02, 0.06).all())
    (True, True)
    """
    light = light or MassToLight()
    grid = np.linspace(lightest, HEAVIEST, CELLS)
    above = _integral(truth.density(grid), grid)
    number = random.poisson(above[-1] * float(comoving_volume(*between, area)) * H_CUBED)
    mass = np.interp(random.random(number) * above[-1], above, grid)
    z = np.linspace(*between, CELLS)
    within = comoving_volume(between[0], z, area)
    redshift = np.interp(random.random(number) * within[-1], within, z)
    ratio = light.mean + light.slope * (mass - 10.5) + light.scatter * random.standard_normal(number)
    magnitude = SUN_R - 2.5 * (mass - ratio) + distance_modulus(redshift)
    frame = pd.DataFrame({"redshift": redshift, "log_mass": mass, "magnitude": magnitude})
    return frame[frame["magnitude"] < flux_limit].reset_index(drop=True)


def _integral(values: Floats, grid: Floats) -> Floats:
    """Return the integral from the start of a grid to each of its places."""
    steps = (values[1:] + values[:-1]) / 2 * np.diff(grid)
    return np.concatenate([[0.0], np.cumsum(steps)])
