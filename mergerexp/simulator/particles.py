"""The light of a disc's particles: spiral pattern, young stars, dust and adaptive smoothing.

Arms and bars are density waves: they are a pattern in the weights of a disc's particles, which is applied
when the picture is taken. Particles that were displaced instead would wind up the arms before the galaxies
meet, and a classifier could then recognise the winding rather than the encounter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mergerexp.simulator.discs import DISC_HEIGHT
from mergerexp.simulator.galaxies import DiscPattern, Galaxy
from mergerexp.simulator.photometry import EXTINCTION, YOUNG_COLOURS, Floats, band_fluxes, stellar_fluxes

# The light of a young particle relative to an old one, and of a clump (an HII region) to a young one.
YOUNG_BOOST = 1.1
CLUMP_SHARE = 0.02
CLUMP_BOOST = 6.0
# The dust layer is thinner than the stars', which makes lanes in discs seen edge-on.
DUST_HEIGHT = 0.5 * DISC_HEIGHT
DUST_LENGTH = 1.3
# The smallest |cos i| of a sightline, so that its path through the dust layer stays finite.
STEEPEST, GRAZING = 0.09, 0.02
# The number of particles in a smoothing kernel, and the sizes of the kernels in pixels.
NEIGHBOURS = 14.0
SMOOTHING = (0.75, 1.5, 3.0, 6.0)
DENSITY_SMOOTHING = 2.6


@dataclass(frozen=True)
class Activity:
    """The effects of an encounter on a galaxy's light.

    Attributes
    ----------
    burst
        The light of young stars relative to that in an undisturbed disc.
    glow
        The blue light of a central starburst as a fraction of the galaxy's light.
    turn
        The azimuth in radians by which arms and bar have turned.
    order
        The strength of arms, bar and lopsidedness relative to that in an undisturbed disc.
    """

    burst: float = 1.0
    glow: float = 0.0
    turn: float = 0.0
    order: float = 1.0


def disc_weights(coordinates: Floats, pattern: DiscPattern, activity: Activity, young: Floats) -> Floats:
    """Return the relative weights that the pattern of a disc gives to its particles.

    Parameters
    ----------
    coordinates
        The positions of the particles along the disc's axes in scale lengths, shape (3, n).
    pattern
        The arms, the bar and the lopsidedness.
    activity
        The effects of an encounter, which turn and weaken the pattern.
    young
        1 for each young particle and 0 for each old one, shape (n,); arms are sharper in young stars.

    Returns
    -------
    ndarray
        The weight of each particle, positive, float32, shape (n,).
    """
    radius = np.hypot(coordinates[0], coordinates[1]) + np.float32(1e-6)
    azimuth = np.arctan2(coordinates[1], coordinates[0]) - np.float32(activity.turn)
    # Matter that has left the disc's plane or its bounds takes no part in the pattern.
    fade = activity.order * np.exp(-((coordinates[2] / 0.4) ** 2) - (radius / 5.0) ** 4)
    weights = np.ones_like(radius)
    if pattern.bar_strength:
        bar = np.cos(2 * (azimuth - pattern.phases[1]))
        weights += pattern.bar_strength * fade * np.exp(-((radius / 1.1) ** 4)) * bar
    lopsided = np.clip(radius - 0.7, 0, 2) * np.cos(azimuth - pattern.phases[2])
    weights += pattern.lopsidedness * fade * lopsided
    weights = np.maximum(weights, 0.05)
    if pattern.arms:
        # The arms are logarithmic spirals, which start where the bulge or the bar ends.
        winding = np.log(np.maximum(radius, 0.4)) / np.tan(pattern.pitch)
        wave = np.cos(pattern.arms * (azimuth - winding - pattern.phases[0]))
        amplitude = pattern.arm_strength * fade * np.clip(1.3 * radius - 0.4, 0, 1)
        weights *= np.exp((0.9 + 1.6 * young) * amplitude * (wave - 0.3))
    return np.asarray(weights, dtype=np.float32)


def outside_layer(height: Floats) -> Floats:
    """Return the signed distance to the nearer face of the dust layer, 0 inside it, in scale lengths."""
    return np.asarray(np.sign(height) * np.maximum(np.abs(height) - np.float32(DUST_HEIGHT), 0))


def dust_depth(coordinates: Floats, sightline: NDArray[np.float64], dust: float) -> Floats:
    """Return the optical depth in r between each particle and the observer, for a thin exponential disc.

    Parameters
    ----------
    coordinates
        The positions of the particles along the disc's axes in scale lengths, shape (3, n).
    sightline
        The unit vector toward the observer along the same axes, shape (3,).
    dust
        The face-on optical depth through the whole layer at the centre.
    """
    height = coordinates[2]
    # The part of the layer in front of a particle is 1 on the far side and 0 on the near side.
    toward = np.float32(1.0 if sightline[2] >= 0 else -1.0)
    in_front = 1 / (1 + np.exp(np.clip(2 / DUST_HEIGHT * toward * height, -30, 30)))
    # The column is taken where the sightline meets the layer, or at the particle if it is in the layer.
    path = -outside_layer(height) / np.float32(toward * max(abs(sightline[2]), GRAZING))
    meeting = np.hypot(coordinates[0] + path * sightline[0], coordinates[1] + path * sightline[1])
    depth = dust / max(abs(sightline[2]), STEEPEST) * np.exp(-meeting / DUST_LENGTH) * in_front
    return np.asarray(depth, dtype=np.float32)


def disc_light(
    galaxy: Galaxy,
    coordinates: Floats,
    age: Floats,
    sightline: NDArray[np.float64],
    flux: float,
    activity: Activity,
) -> Floats:
    """Return the flux of each particle in g, r and i.

    Parameters
    ----------
    galaxy
        The galaxy that the disc belongs to.
    coordinates
        The positions of the particles along the disc's axes in scale lengths, shape (3, n).
    age
        The rank of each particle in age, shape (n,).
    sightline
        The unit vector toward the observer along the same axes, shape (3,).
    flux
        The r flux of the galaxy in nMgy, before dust.
    activity
        The effects of an encounter on the disc.

    Returns
    -------
    ndarray
        The flux of each particle in nMgy, float32, shape (3, n).
    """
    pattern = galaxy.pattern
    young = (age < pattern.young).astype(np.float32)
    weights = disc_weights(coordinates, pattern, activity, young)
    weights *= np.where(young > 0, np.float32(YOUNG_BOOST * activity.burst), np.float32(1))
    weights *= np.float32(flux * (1 - galaxy.bulge_fraction) / max(float(weights.sum()), 1e-9))
    # Clumps add to the flux; they are blue, so that they hardly change the r magnitude of the disc.
    weights *= 1 + np.float32(CLUMP_BOOST) * (age < CLUMP_SHARE * pattern.young)
    old_colour = stellar_fluxes(1.0, galaxy.disc_colour).astype(np.float32)
    young_colour = band_fluxes(1.0, *YOUNG_COLOURS).astype(np.float32)
    light = weights * np.where(young > 0, young_colour[:, None], old_colour[:, None])
    depth = dust_depth(coordinates, sightline, pattern.dust)
    return np.asarray(light * np.exp(-np.array(EXTINCTION, dtype=np.float32)[:, None] * depth))


def deposit(pixels: Floats, light: Floats, size: int) -> Floats:
    """Bin particles into an image, and smooth each with a kernel that suits the density around it.

    Every particle is shared between the two nearest of the kernels in `SMOOTHING`, so that flux is conserved
    except for that outside the frame.

    Parameters
    ----------
    pixels
        The positions of the particles in pixels from the lower left corner, shape (2, n).
    light
        The flux of the particles in each band, shape (3, n).
    size
        The side of the image in pixels.

    Returns
    -------
    ndarray
        The image, float32, shape (3, size, size); its axes are band, y and x.
    """
    inside = ((pixels >= 0) & (pixels < size)).all(axis=0)
    column, row = pixels[:, inside].astype(np.int64)
    cell, light = row * size + column, light[:, inside]
    counts = np.bincount(cell, minlength=size * size).reshape(size, size).astype(np.float32)
    density = gaussian_filter(counts, DENSITY_SMOOTHING, mode="constant").ravel()[cell]
    # A Gaussian of width s gathers particles from an area of 4 pi s^2.
    wanted = np.sqrt(NEIGHBOURS / (4 * np.pi * np.maximum(density, 1e-6)))
    level = np.clip(np.log2(wanted / SMOOTHING[0]), 0, len(SMOOTHING) - 1)
    image = np.zeros((3, size, size), dtype=np.float32)
    for step, width in enumerate(SMOOTHING):
        share = 1 - np.abs(level - step)
        part = share > 0
        if part.any():
            maps = [np.bincount(cell[part], band[part] * share[part], size * size) for band in light]
            stack = np.array(maps, dtype=np.float32).reshape(3, size, size)
            image += gaussian_filter(stack, (0, width, width), mode="constant", truncate=3.0)
    return image
