"""Galaxies: their luminosity, size and colours, and the redshift and magnitude at which they are seen.

The scale length of an exponential disc is 3.1 kpc at L* and grows as L^0.38 (as in Shen et al. 2003, MNRAS
343, 978, though not exactly); haloes have 2e11 L^0.9 solar masses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mergerexp.cosmology import arcsec_per_kpc, comoving_distance, distance_modulus, redshift_at
from mergerexp.simulator.discs import Halo

R_BAND_MSTAR = -21.3
FAINTEST = 0.08  # the lowest luminosity, in L*
Z_RANGE = (0.01, 0.1)
# The range of r in SDSS's main galaxy sample; its pipeline splits brighter galaxies into pieces.
R_RANGE = (13.5, 17.77)
ZERO_POINT = 22.5


@dataclass(frozen=True)
class DiscPattern:
    """The deviations of a disc's light from an axisymmetric exponential disc.

    Attributes
    ----------
    arms
        The number of spiral arms; 0 for none.
    arm_strength
        The relative amplitude of the spiral arms.
    bar_strength
        The relative amplitude of the bar (m = 2).
    lopsidedness
        The relative amplitude of the lopsidedness (m = 1).
    pitch
        The pitch angle of the arms in radians.
    phases
        The azimuths of arms, bar and lopsidedness in radians.
    young
        The fraction of young particles.
    dust
        The face-on optical depth in r at the centre of the disc.
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
    """The intrinsic properties of one galaxy.

    Attributes
    ----------
    luminosity
        The r-band luminosity in units of L*.
    early
        Whether the galaxy is an elliptical, with all its light in the Sersic component.
    halo
        The halo.
    disc_scale
        The scale length of the disc in kpc.
    bulge_fraction
        The fraction of the light in the Sersic component.
    bulge_radius
        The half-light radius of the Sersic component in kpc.
    bulge_index
        The Sersic index of the Sersic component.
    bulge_ratio
        The axis ratio of the Sersic component.
    bulge_angle
        The position angle of the Sersic component in radians.
    disc_colour
        The colour g-r of the disc's old stars.
    bulge_colour
        The colour g-r of the Sersic component.
    pattern
        The arms, the bar, the lopsidedness, the young stars and the dust of the disc.
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
        """The Petrosian radius in kpc, as a mean of those of disc and bulge that is weighted by light."""
        if self.early:
            return 2.0 * self.bulge_radius
        share = self.bulge_fraction
        return 3.6 * self.disc_scale * (1 - share) + 2.2 * self.bulge_radius * share


@dataclass(frozen=True)
class Placement:
    """The distance at which a galaxy is seen.

    Attributes
    ----------
    redshift
        The redshift of the galaxy.
    magnitude
        The apparent r magnitude of the galaxy.
    scale
        The number of arcsec per kpc at that redshift.
    """

    redshift: float
    magnitude: float
    scale: float


def flux_of(magnitude: float) -> float:
    """Return the flux in nanomaggies of a magnitude."""
    return float(10 ** (-0.4 * (magnitude - ZERO_POINT)))


def draw_luminosity(rng: np.random.Generator) -> float:
    """Draw a luminosity in L* from a Schechter function (slope -1.05) above `FAINTEST`."""
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
    """Draw a galaxy, whose luminosity (in L*) and whether it is an elliptical may be given."""
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
        # The red sequence is narrow, and brighter galaxies are slightly redder.
        bulge_colour=0.80 + 0.05 * float(np.log10(lum)) + rng.normal(0, 0.03),
        pattern=_draw_pattern(rng),
    )


def place(
    rng: np.random.Generator, luminosity: float, limit: float = R_RANGE[1], z_max: float = Z_RANGE[1]
) -> Placement:
    """Draw a redshift, uniform in comoving volume, at which a galaxy is within the flux limits of the sample.

    Parameters
    ----------
    rng
        The generator of random numbers.
    luminosity
        The r-band luminosity of the galaxy in L*.
    limit
        The faintest apparent r magnitude.
    z_max
        The largest redshift.
    """
    absolute = R_BAND_MSTAR - 2.5 * np.log10(luminosity)
    z = np.linspace(Z_RANGE[0], z_max, 400)
    magnitude = absolute + distance_modulus(z)
    seen = z[(magnitude < limit) & (magnitude > R_RANGE[0])]
    # A galaxy that is too faint (too bright) at all redshifts is put at the lowest (highest) one.
    if not seen.size:
        seen = z[:2] if magnitude[0] >= limit else z[-2:]
    near, far = comoving_distance(seen[[0, -1]])
    redshift = redshift_at(float((near**3 + rng.random() * (far**3 - near**3)) ** (1 / 3)))
    return Placement(redshift, float(absolute + distance_modulus(redshift)), arcsec_per_kpc(redshift))
