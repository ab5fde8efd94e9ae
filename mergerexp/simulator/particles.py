"""From particles to light: spiral pattern, young stars, dust, adaptive smoothing.

Arms and bars are density waves: a pattern in the weights of a disc's particles, laid on when the
picture is taken. Displacing particles instead would wind the arms up before the galaxies meet, and a
classifier could tell the classes by the winding rather than by the encounter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mergerexp.simulator.discs import DISC_HEIGHT
from mergerexp.simulator.galaxies import DiscPattern, Galaxy
from mergerexp.simulator.photometry import (
    EXTINCTION,
    YOUNG_COLOURS,
    Floats,
    band_fluxes,
    stellar_fluxes,
)

# Light of a young particle relative to an old one, and of a clump (an HII region) to a young one.
YOUNG_BOOST = 1.1
CLUMP_SHARE = 0.02
CLUMP_BOOST = 6.0
# The dust layer is thinner than the stars', hence lanes in discs seen edge-on.
DUST_HEIGHT = 0.5 * DISC_HEIGHT
DUST_LENGTH = 1.3
# Least |cos i|: no sightline runs within the layer for ever, or misses it altogether.
STEEPEST, GRAZING = 0.09, 0.02
# Particles that share a smoothing kernel, and the kernel's sizes in pixels.
NEIGHBOURS = 14.0
SMOOTHING = (0.75, 1.5, 3.0, 6.0)
DENSITY_SMOOTHING = 2.6


@dataclass(frozen=True)
class Activity:
    """What an encounter adds to a galaxy's light.

    Attributes
    ----------
    burst
        Light of young stars relative to an undisturbed disc's.
    glow
        Blue light of a central starburst as a fraction of the galaxy's.
    turn
        Azimuth (radians) by which arms and bar have turned.
    order
        Strength of arms, bar and lopsidedness relative to an undisturbed disc's.
    """

    burst: float = 1.0
    glow: float = 0.0
    turn: float = 0.0
    order: float = 1.0


def disc_weights(coordinates: Floats, pattern: DiscPattern, activity: Activity, young: Floats) -> Floats:
    """Relative weight of each particle under the disc's pattern.

    Parameters
    ----------
    coordinates
        Particles along the disc's axes, shape (3, n), in scale lengths.
    pattern
        Arms, bar, lopsidedness.
    activity
        How far the pattern has turned, and how much of it is left.
    young
        1 for young particles, else 0, shape (n,): arms are sharper in young stars.

    Returns
    -------
    ndarray
        float32, shape (n,), positive.
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
        # A logarithmic spiral, which starts where the bulge or the bar ends.
        winding = np.log(np.maximum(radius, 0.4)) / np.tan(pattern.pitch)
        wave = np.cos(pattern.arms * (azimuth - winding - pattern.phases[0]))
        amplitude = pattern.arm_strength * fade * np.clip(1.3 * radius - 0.4, 0, 1)
        weights *= np.exp((0.9 + 1.6 * young) * amplitude * (wave - 0.3))
    return np.asarray(weights, dtype=np.float32)


def outside_layer(height: Floats) -> Floats:
    """Signed distance to the nearer face of the dust layer, 0 within it; in scale lengths."""
    return np.asarray(np.sign(height) * np.maximum(np.abs(height) - np.float32(DUST_HEIGHT), 0))


def dust_depth(coordinates: Floats, sightline: NDArray[np.float64], dust: float) -> Floats:
    """Optical depth in r between each particle and the observer, for a thin exponential dust disc.

    Parameters
    ----------
    coordinates
        Particles along the disc's axes, shape (3, n), in scale lengths.
    sightline
        Unit vector toward the observer along the same axes, shape (3,).
    dust
        Face-on optical depth at the centre, through the whole layer.
    """
    height = coordinates[2]
    # Share of the layer in front of a particle: all of it from behind, none from the near side.
    toward = np.float32(1.0 if sightline[2] >= 0 else -1.0)
    in_front = 1 / (1 + np.exp(np.clip(2 / DUST_HEIGHT * toward * height, -30, 30)))
    # The column is that where the sightline meets the layer; within the layer, that on the spot.
    path = -outside_layer(height) / np.float32(toward * max(abs(sightline[2]), GRAZING))
    meeting = np.hypot(coordinates[0] + path * sightline[0], coordinates[1] + path * sightline[1])
    depth = dust / max(abs(sightline[2]), STEEPEST) * np.exp(-meeting / DUST_LENGTH) * in_front
    return np.asarray(depth, dtype=np.float32)


def disc_light(
    galaxy: Galaxy,
    coordinates: Floats,
    age: Floats,
    sightline: NDArray[np.float64],
    *,
    flux: float,
    activity: Activity,
) -> Floats:
    """Flux of each particle in g, r, i.

    Parameters
    ----------
    galaxy
        The galaxy whose disc this is.
    coordinates
        Particles along the disc's axes, shape (3, n), in scale lengths.
    age
        Rank of each particle's age, shape (n,).
    sightline
        Unit vector toward the observer along the same axes, shape (3,).
    flux
        r flux of the whole disc in nMgy, before dust.
    activity
        What an encounter has done to the disc.

    Returns
    -------
    ndarray
        float32, shape (3, n), nMgy.
    """
    pattern = galaxy.pattern
    young = (age < pattern.young).astype(np.float32)
    weights = disc_weights(coordinates, pattern, activity, young)
    weights *= np.where(young > 0, np.float32(YOUNG_BOOST * activity.burst), np.float32(1))
    weights *= np.float32(flux / max(float(weights.sum()), 1e-9))
    # Clumps shine on top; they are blue, so that they hardly change the disc's r magnitude.
    weights *= 1 + np.float32(CLUMP_BOOST) * (age < CLUMP_SHARE * pattern.young)
    old_colour = stellar_fluxes(1.0, galaxy.disc_colour).astype(np.float32)
    young_colour = band_fluxes(1.0, *YOUNG_COLOURS).astype(np.float32)
    light = weights * np.where(young > 0, young_colour[:, None], old_colour[:, None])
    depth = dust_depth(coordinates, sightline, pattern.dust)
    return np.asarray(light * np.exp(-np.array(EXTINCTION, dtype=np.float32)[:, None] * depth))


def deposit(pixels: Floats, light: Floats, size: int) -> Floats:
    """Bin particles into an image and smooth each with a kernel that suits the density around it.

    Every particle is shared between the two nearest of the kernels in `SMOOTHING`, so that flux is
    conserved but for what lies beyond the frame.

    Parameters
    ----------
    pixels
        Positions in pixels from the lower left corner, shape (2, n).
    light
        Flux in each band, shape (3, n).
    size
        Side of the image in pixels.

    Returns
    -------
    ndarray
        float32, shape (3, size, size); the first image axis is y.
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
