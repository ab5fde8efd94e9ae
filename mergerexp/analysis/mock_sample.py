"""Mock flux-limited samples whose mass function and colours are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from mergerexp.analysis.mass_function.schechter import Schechter
from mergerexp.analysis.metrics import Floats
from mergerexp.cosmology import (
    H_CUBED,
    LIGHT_SPEED,
    SQUARE_DEGREES,
    comoving_distance,
    comoving_volume,
    distance_modulus,
)

SUN_R = 4.65  # absolute r magnitude of the Sun
HEAVIEST = 12.5  # log10(M/M☉)
FLUX_LIMIT = 17.77  # of SDSS's main sample, in r
CELLS = 8001
FIELD, WIDEST = (110.0, 260.0), 8000.0  # degrees of right ascension, and the area that fits there


# What Weigel et al. 2016 found of all galaxies, and Ackermann et al. 2018 of mergers.
GALAXIES = Schechter(10.79, (-1.69, -0.79), (-3.31, -2.01))
MERGERS = Schechter(10.81, (-0.62,), (-3.43,))


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


@dataclass(frozen=True)
class MockSurvey:
    """A mock survey with mergers that a classifier has rated.

    Attributes
    ----------
    galaxies, mergers : Schechter
        The mass functions of galaxies that do not merge, and of those that do.
    paired : float
        The fraction of mergers that have a lighter companion in the survey, which merges with them.
    prevalence : float
        The one that the classifier's p_calibrated holds at.
    seen : float
        The fraction of bright mergers that are known by eye.
    trained : float
        The fraction of these that one of the four networks has not been trained on, and the others have.
    """

    galaxies: Schechter = GALAXIES
    mergers: Schechter = MERGERS
    paired: float = 0.0
    prevalence: float = 0.231
    seen: float = 0.5
    trained: float = 0.7

    def draw(self, between: tuple[float, float], area: float, random: np.random.Generator) -> pd.DataFrame:
        """Draw the galaxies of a survey.

        Parameters
        ----------
        between : tuple of float
            The lower and upper redshift.
        area : float
            The area in square degrees: right ascensions of 110 to 260 degrees, or all for more than 8000
            square degrees, from the equator northwards.
        random : Generator
            Where the draws come from.

        Returns
        -------
        DataFrame
            A row for each galaxy: objid, ra, dec, z, log_mass, magnitude_u, magnitude_r, visual (1 for
            mergers that are known by eye), is_merger (the truth), and what predict tells: p_best,
            p_calibrated, p_prior, n_models and in_training_set.

        Examples
        --------
        >>> survey = MockSurvey().draw((0.02, 0.06), 200.0, np.random.default_rng(0))
        >>> bool(0.01 < survey["is_merger"].mean() < 0.05)
        True
        """
        parts = [
            mock_sample(truth, between, area, random).assign(is_merger=is_merger)
            for truth, is_merger in ((self.galaxies, False), (self.mergers, True))
        ]
        table = pd.concat(parts, ignore_index=True)
        table = table.rename(columns={"redshift": "z", "magnitude": "magnitude_r"})
        n = len(table)
        first, last = FIELD if area < WIDEST else (0.0, 360.0)
        table["ra"] = random.uniform(first, last, n)
        highest = min(1.0, area / SQUARE_DEGREES / np.radians(last - first))
        table["dec"] = np.degrees(np.arcsin(random.uniform(0, highest, n)))
        table = pd.concat([table, self._companions(table, random)], ignore_index=True)
        table["magnitude_u"] = table["magnitude_r"] + self._colours(table, random)
        table.insert(0, "objid", 587_722_981_742_084_097 + np.arange(len(table)))
        self._rate(table, random)
        return table

    def _companions(self, table: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
        """Return companions of some mergers within 40 kpc and 200 km/s, lighter by up to 0.5 dex."""
        mergers = table[table["is_merger"]]
        chosen = mergers[random.random(len(mergers)) < self.paired].copy()
        n, z = len(chosen), chosen["z"].to_numpy()
        radians = 0.02 / (comoving_distance(z) / (1 + z))  # 20 kpc
        angle = random.uniform(0, 2 * np.pi, n)
        offset = np.degrees(radians * random.uniform(0.5, 2, n))
        chosen["dec"] += offset * np.sin(angle)
        chosen["ra"] = (chosen["ra"] + offset * np.cos(angle) / np.cos(np.radians(chosen["dec"]))) % 360
        chosen["z"] += random.uniform(-200, 200, n) / LIGHT_SPEED * (1 + z)
        lighter = random.uniform(0, 0.5, n)
        chosen["log_mass"] -= lighter
        chosen["magnitude_r"] += 2.5 * lighter
        inside = chosen["z"].between(table["z"].min(), table["z"].max())
        return chosen[(chosen["magnitude_r"] < FLUX_LIMIT) & inside]

    def _colours(self, table: pd.DataFrame, random: np.random.Generator) -> Floats:
        """Return u - r of a red sequence and a blue cloud; mergers are bluer by a tenth of a magnitude."""
        mass, n = table["log_mass"].to_numpy(), len(table)
        is_red = random.random(n) < expit((mass - 10.3) / 0.35)
        red = 2.45 + 0.12 * (mass - 10.5) + random.normal(0, 0.12, n)
        blue = 1.65 + 0.25 * (mass - 10.0) + random.normal(0, 0.25, n)
        return np.asarray(np.where(is_red, red, blue) - 0.1 * table["is_merger"])

    def _rate(self, table: pd.DataFrame, random: np.random.Generator) -> None:
        """Add ratings whose logits are ratios of likelihoods, better ones of bright galaxies."""
        is_merger = table["is_merger"].to_numpy()
        width = 9.0 - (table["magnitude_r"] - 14).clip(lower=0)
        score = np.where(is_merger, width / 2, -width / 2) + np.sqrt(width) * random.normal(size=len(table))
        bright = is_merger & (table["magnitude_r"] < 17.0)
        seen = bright & (random.random(len(table)) < self.seen)
        table["visual"] = seen.astype(int)
        table["p_best"] = expit(score)
        for name, prevalence in (("p_calibrated", self.prevalence), ("p_prior", is_merger.mean())):
            table[name] = expit(score + np.log(prevalence / (1 - prevalence)))
        others = ~is_merger & (random.random(len(table)) < 0.05)
        table["in_training_set"] = (seen & (random.random(len(table)) < self.trained)) | others
        table["n_models"] = np.where(table["in_training_set"], 1, 4)


def _integral(values: Floats, grid: Floats) -> Floats:
    """Return the integral from the start of a grid to each of its places."""
    steps = (values[1:] + values[:-1]) / 2 * np.diff(grid)
    return np.concatenate([[0.0], np.cumsum(steps)])
