"""Distances in a flat universe of matter and a cosmological constant (H0=70 km/s/Mpc, Om=0.3)."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

HUBBLE = 70.0
OMEGA_MATTER = 0.3
LIGHT_SPEED = 299_792.458
Z_MAX = 1.0
ARCSEC_PER_RADIAN = 206_264.806
SQUARE_DEGREES = (180 / np.pi) ** 2  # in a steradian
H_CUBED = (HUBBLE / 100) ** 3  # a density per Mpc³ divided by this is one per (Mpc/h)³


@cache
def _table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    z = np.linspace(0.0, Z_MAX, 4001)
    inverse_e = 1.0 / np.sqrt(OMEGA_MATTER * (1 + z) ** 3 + 1 - OMEGA_MATTER)
    steps = 0.5 * (inverse_e[1:] + inverse_e[:-1]) * np.diff(z)
    return z, LIGHT_SPEED / HUBBLE * np.concatenate([[0.0], np.cumsum(steps)])


def comoving_distance(redshift: ArrayLike) -> NDArray[np.float64]:
    """Comoving distance in Mpc, by cumulative trapezoidal integration (0 <= redshift <= 1)."""
    z, distance = _table()
    return np.interp(np.asarray(redshift, dtype=np.float64), z, distance)


def redshift_at(distance: float) -> float:
    """Redshift at a comoving distance in Mpc."""
    z, table = _table()
    return float(np.interp(distance, table, z))


def comoving_volume(near: ArrayLike, far: ArrayLike, area: float) -> NDArray[np.float64]:
    """Comoving volume in Mpc³ between two redshifts, over an area of the sky in square degrees."""
    cubes = comoving_distance(far) ** 3 - comoving_distance(near) ** 3
    return np.asarray(area / SQUARE_DEGREES / 3 * cubes)


def distance_modulus(redshift: ArrayLike) -> NDArray[np.float64]:
    """Apparent minus absolute magnitude, without K correction."""
    luminosity_distance = comoving_distance(redshift) * (1 + np.asarray(redshift, dtype=np.float64))
    return np.asarray(5 * np.log10(luminosity_distance) + 25)


def arcsec_per_kpc(redshift: float) -> float:
    """Angle subtended by one (physical) kiloparsec, in arcsec."""
    angular_distance = float(comoving_distance(redshift)) / (1 + redshift)
    return ARCSEC_PER_RADIAN / 1000 / angular_distance
