"""Galaxies and where they are put: luminosity, size, colours; redshift and apparent magnitude.

Scalings follow the recipe of the specification: an exponential disc of 3.1 kpc at L*, growing as
L^0.38 (Shen et al. 2003, MNRAS 343, 978, in spirit); haloes of 2e11 L^0.9 solar masses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mergerexp.cosmology import (
    arcsec_per_kpc,
    comoving_distance,
    distance_modulus,
    redshift_at,
)
from mergerexp.simulator.discs import Halo

R_BAND_MSTAR = -21.3
FAINTEST = 0.08  # in L*
Z_RANGE = (0.01, 0.1)
# The magnitudes of SDSS's main galaxy sample; brighter galaxies are shredded by its pipeline.
R_RANGE = (13.5, 17.77)
ZERO_POINT = 22.5


@dataclass(frozen=True)
class DiscPattern:
    """How light deviates from an axisymmetric exponential disc.

    Attributes
    ----------
    arms
        Number of spiral arms; 0 for none.
    arm_strength, bar_strength, lopsidedness
        Relative amplitudes of the m=arms, m=2 and m=1 patterns.
    pitch
        Pitch angle of the arms in radians.
    phases
        Azimuth of arms, bar and lopsidedness in radians.
    young
        Fraction of young particles.
    dust
        Face-on optical depth in r at the disc's centre.
    """

    arms: int
    arm_strength: float
    bar_strength: float
    lopsidedness: float
    pitch: float
    phases: tuple[float, float, float]
    young: float
    dust: float


@dataclass(frozen=True)
class Galaxy:
    """Intrinsic properties of one galaxy.

    Attributes
    ----------
    luminosity
        r-band luminosity in units of L*.
    early
        An elliptical: all its light is in the Sersic component.
    halo
        Mass and scale of its halo.
    disc_scale
        Scale length of the disc in kpc.
    bulge_fraction, bulge_radius, bulge_index, bulge_ratio, bulge_angle
        Sersic component: share of the light, half-light radius (kpc), index, axis ratio, position
        angle (radians).
    disc_colour, bulge_colour
        g-r of the disc's old stars and of the bulge.
    pattern
        Arms, bar, lopsidedness, young stars and dust of the disc.
    """

    luminosity: float
    early: bool
    halo: Halo
    disc_scale: float
    bulge_fraction: float
    bulge_radius: float
    bulge_index: float
    bulge_ratio: float
    bulge_angle: float
    disc_colour: float
    bulge_colour: float
    pattern: DiscPattern

    @property
    def petrosian_radius(self) -> float:
        """Petrosian radius in kpc: of an exponential disc, of a bulge, or their mean by light."""
        if self.early:
            return 2.0 * self.bulge_radius
        share = self.bulge_fraction
        return 3.6 * self.disc_scale * (1 - share) + 2.2 * self.bulge_radius * share


@dataclass(frozen=True)
class Placement:
    """Where a galaxy is seen.

    Attributes
    ----------
    redshift
        Its redshift.
    magnitude
        Its apparent r magnitude.
    scale
        Arcsec per kpc at that redshift.
    """

    redshift: float
    magnitude: float
    scale: float


def flux_of(magnitude: float) -> float:
    """Flux in nanomaggies."""
    return float(10 ** (-0.4 * (magnitude - ZERO_POINT)))


def draw_luminosity(rng: np.random.Generator) -> float:
    """Draw from a Schechter function (slope -1.05) above `FAINTEST`, in L*."""
    while True:
        value = float(rng.exponential())
        if value > FAINTEST and rng.random() < (value / FAINTEST) ** -0.05:
            return value


def _draw_pattern(rng: np.random.Generator) -> DiscPattern:
    phases = rng.uniform(0, 2 * np.pi, 3)
    return DiscPattern(
        arms=int(rng.choice([0, 2, 2, 2, 2, 3, 4])),
        arm_strength=rng.uniform(0.25, 0.9),
        bar_strength=rng.uniform(0.4, 0.9) if rng.random() < 0.3 else 0.0,
        lopsidedness=abs(rng.normal(0, 0.12)),
        pitch=np.radians(rng.uniform(11, 28)),
        phases=(float(phases[0]), float(phases[1]), float(phases[2])),
        young=rng.uniform(0.12, 0.55),
        dust=0.7 * 10 ** rng.normal(0, 0.25),
    )


def draw_galaxy(
    rng: np.random.Generator, luminosity: float | None = None, early: bool | None = None
) -> Galaxy:
    """Draw a galaxy; its luminosity (L*) and whether it is an elliptical may be given."""
    lum = draw_luminosity(rng) if luminosity is None else luminosity
    if early is None:
        chance = np.clip(0.22 + 0.28 * np.log10(max(lum, 0.1) / 0.3), 0.1, 0.6)
        early = bool(rng.random() < chance)
    disc_scale = 3.1 * lum**0.38 * 10 ** rng.normal(0, 0.11)
    if early:
        bulge_radius = 4.6 * lum**0.55 * 10 ** rng.normal(0, 0.1)
    else:
        bulge_radius = 0.22 * disc_scale * 10 ** rng.normal(0, 0.12)
    return Galaxy(
        luminosity=lum,
        early=early,
        halo=Halo(mass=20 * lum**0.9, scale=3.2 * disc_scale),
        disc_scale=disc_scale,
        bulge_fraction=1.0 if early else float(np.clip(rng.beta(1.6, 4.5), 0.02, 0.7)),
        bulge_radius=bulge_radius,
        bulge_index=float(rng.choice([3.0, 4.0, 5.0] if early else [1.5, 2.5, 4.0])),
        bulge_ratio=rng.uniform(0.55, 1.0) if early else rng.uniform(0.7, 1.0),
        bulge_angle=rng.uniform(0, np.pi),
        disc_colour=rng.normal(0.60, 0.10),
        # The red sequence is narrow and slopes gently: brighter is redder.
        bulge_colour=0.80 + 0.05 * float(np.log10(lum)) + rng.normal(0, 0.03),
        pattern=_draw_pattern(rng),
    )


def place(
    rng: np.random.Generator,
    luminosity: float,
    limit: float = R_RANGE[1],
    z_max: float = Z_RANGE[1],
) -> Placement:
    """Draw a redshift, even in comoving volume, where the galaxy is within the sample's flux limits.

    Parameters
    ----------
    rng
        Random stream.
    luminosity
        r-band luminosity in L*.
    limit
        Faintest apparent r magnitude.
    z_max
        Largest redshift.
    """
    absolute = R_BAND_MSTAR - 2.5 * np.log10(luminosity)
    z = np.linspace(Z_RANGE[0], z_max, 400)
    magnitude = absolute + distance_modulus(z)
    seen = z[(magnitude < limit) & (magnitude > R_RANGE[0])]
    # Whatever is too faint (too bright) everywhere is put at the near (far) end.
    if not seen.size:
        seen = z[:2] if magnitude[0] >= limit else z[-2:]
    near, far = comoving_distance(seen[[0, -1]])
    redshift = redshift_at(float((near**3 + rng.random() * (far**3 - near**3)) ** (1 / 3)))
    return Placement(redshift, float(absolute + distance_modulus(redshift)), arcsec_per_kpc(redshift))
