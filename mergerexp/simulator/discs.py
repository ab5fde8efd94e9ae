"""Hernquist haloes (1990, ApJ 356, 359) and the discs of test particles that rotate in them.

The units are kpc, km/s and 1e10 solar masses, so that the unit of time is kpc/(km/s) = 0.978 Gyr.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]

G = 43007.1
DISC_EDGE = 5.5
DISC_HEIGHT = 0.11
DISC_DISPERSION = 0.06


@dataclass(frozen=True)
class Halo:
    """A Hernquist sphere with a ``mass`` (1e10 solar masses) and a ``scale`` radius (kpc)."""

    mass: float
    scale: float

    def circular_velocity(self, radius: ArrayLike) -> NDArray[np.float64]:
        """Return the speed of a circular orbit (km/s) at a radius (kpc)."""
        r = np.asarray(radius, dtype=np.float64)
        return np.asarray(np.sqrt(G * self.mass * r) / (r + self.scale))

    def density(self, radius: float) -> float:
        """Return the mass density (1e10 solar masses per kpc^3) at a radius (kpc)."""
        return self.mass * self.scale / (2 * math.pi * radius * (radius + self.scale) ** 3)


@dataclass(frozen=True)
class Disc:
    """The test particles of one disc, relative to its nucleus.

    Attributes
    ----------
    positions
        The position of each particle in kpc, float32, shape (3, n).
    velocities
        The velocity of each particle in km/s, float32, shape (3, n).
    age
        The rank of each particle in age, float32, shape (n,), uniform in [0, 1); the lowest ones are young.
    axes
        The two unit vectors in the plane of the disc and the direction of its spin as rows, float64,
        shape (3, 3).
    scale_length
        The exponential scale length in kpc.
    """

    positions: Floats
    velocities: Floats
    age: Floats
    axes: NDArray[np.float64]
    scale_length: float


def rotation(inclination: float, node: float, phase: float) -> NDArray[np.float64]:
    """Return the matrix, shape (3, 3), that rotates about z by phase, x by inclination and z by node."""

    def about_z(t: float) -> NDArray[np.float64]:
        c, s = math.cos(t), math.sin(t)
        return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])

    c, s = math.cos(inclination), math.sin(inclination)
    about_x = np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
    return np.asarray(about_z(node) @ about_x @ about_z(phase))


def random_rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a rotation matrix, shape (3, 3), uniform over all orientations."""
    node, phase = rng.uniform(0, 2 * np.pi, 2)
    return rotation(float(np.arccos(rng.uniform(-1, 1))), float(node), float(phase))


def sample_disc(
    rng: np.random.Generator, count: int, scale_length: float, halo: Halo, turn: NDArray[np.float64]
) -> Disc:
    """Draw an exponential disc of particles on near-circular orbits.

    Parameters
    ----------
    rng
        The generator of random numbers.
    count
        The number of particles, which may be 0.
    scale_length
        The exponential scale length in kpc; the disc ends at `DISC_EDGE` scale lengths.
    halo
        The halo that determines the circular velocity.
    turn
        The rotation, shape (3, 3), from a disc in the x-y plane to the orientation wanted.
    """
    radius = rng.gamma(2.0, 1.0, count)
    # Particles beyond the edge, 3 % of all, are drawn again with a uniform distribution of their radius.
    radius = np.where(radius > DISC_EDGE, rng.uniform(0.3, DISC_EDGE, count), radius) * scale_length
    angle = rng.uniform(0, 2 * np.pi, count)
    cos, sin = np.cos(angle), np.sin(angle)
    height = rng.normal(0, DISC_HEIGHT * scale_length, count)
    speed = halo.circular_velocity(np.maximum(radius, 0.05 * scale_length))
    random = DISC_DISPERSION * speed * rng.standard_normal((3, count))
    positions = np.stack([radius * cos, radius * sin, height])
    velocities = np.stack([-speed * sin, speed * cos, np.zeros(count)]) + random * [[1.0], [1.0], [0.3]]
    return Disc(
        positions=(turn @ positions).astype(np.float32),
        velocities=(turn @ velocities).astype(np.float32),
        age=rng.random(count, dtype=np.float32),
        axes=turn.T,
        scale_length=scale_length,
    )
