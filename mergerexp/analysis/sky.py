"""Places on the sky: unit vectors, regions of equal area for a jackknife, and galaxies that belong together.

Everything is done with unit vectors in three dimensions, for which right ascensions of 0 and 360 degrees and
the poles are places like any other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from mergerexp.analysis.metrics import Floats
from mergerexp.cosmology import LIGHT_SPEED, comoving_distance

COLUMNS = 360  # pixels in right ascension; they are a degree wide at the equator
ROWS = 115  # pixels in declination, of equal area, about a square degree each


def unit_vectors(ra: ArrayLike, dec: ArrayLike) -> Floats:
    """Return the directions of some positions.

    Parameters
    ----------
    ra, dec : array_like of float, shape (n,)
        Right ascensions and declinations in degrees.

    Returns
    -------
    ndarray of float, shape (n, 3)
        Vectors of length 1.

    Examples
    --------
    >>> unit_vectors([0.0, 90.0], [0.0, 0.0]).round(12) + 0.0
    array([[1., 0., 0.],
           [0., 1., 0.]])
    """
    a, d = np.radians(np.asarray(ra, dtype=np.float64)), np.radians(np.asarray(dec, dtype=np.float64))
    return np.stack([np.cos(a) * np.cos(d), np.sin(a) * np.cos(d), np.sin(d)], axis=-1)


def pixels(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.int64]:
    """Return the pixel of each position; all pixels have the same area, about a square degree.

    Parameters
    ----------
    ra, dec : array_like of float, shape (n,)
        Right ascensions and declinations in degrees.

    Returns
    -------
    ndarray of int, shape (n,)
        Numbers from 0 to `ROWS` · `COLUMNS` - 1.

    Examples
    --------
    >>> pixels([359.99999, 0.0], [-90.0, 90.0]).tolist()
    [359, 41040]
    """
    column = np.floor(np.mod(np.asarray(ra, dtype=np.float64), 360.0) / 360.0 * COLUMNS)
    height = (np.sin(np.radians(np.asarray(dec, dtype=np.float64))) + 1) / 2
    row = np.clip(np.floor(height * ROWS), 0, ROWS - 1)
    return np.asarray(row * COLUMNS + np.clip(column, 0, COLUMNS - 1)).astype(np.int64)


@dataclass(frozen=True)
class Regions:
    """Regions of a survey's footprint, each contiguous and of nearly the same area.

    Attributes
    ----------
    number : int
        How many there are.
    of_pixel : ndarray of int, shape (ROWS * COLUMNS,)
        The region of each pixel; -1 outside of the footprint.
    """

    number: int
    of_pixel: NDArray[np.int64]

    def at(self, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.int64]:
        """Return the region of each position.

        Parameters
        ----------
        ra, dec : array_like of float, shape (n,)
            Right ascensions and declinations in degrees.

        Returns
        -------
        ndarray of int, shape (n,)
            The regions; -1 outside of the footprint.
        """
        return self.of_pixel[pixels(ra, dec)]

    def shares(self) -> Floats:
        """Return the part of the footprint's area that lies in each region.

        Returns
        -------
        ndarray of float, shape (number,)
            The parts, which sum to 1.
        """
        inside = self.of_pixel[self.of_pixel >= 0]
        return np.bincount(inside, minlength=self.number) / len(inside)


def equal_areas(counts: ArrayLike, number: int) -> Regions:
    """Divide the footprint of a survey into regions of equal area, whatever the number of galaxies in each.

    The footprint is where the survey has galaxies. It is halved across its longest direction, and so are its
    parts, until there are enough.

    Parameters
    ----------
    counts : array_like of int, shape (ROWS * COLUMNS,)
        How many galaxies of the whole survey are in each pixel; see `pixels`.
    number : int
        How many regions there shall be.

    Returns
    -------
    Regions
        The regions.

    Raises
    ------
    ValueError
        If fewer pixels than regions have galaxies.

    Examples
    --------
    >>> around_0 = np.bincount(pixels([359.5, 0.5, 10.5, 11.5], [0.0] * 4), minlength=ROWS * COLUMNS)
    >>> found = equal_areas(around_0, 2).at([359.5, 0.5, 10.5, 11.5], [0.0] * 4)
    >>> bool(found[0] == found[1] != found[2] == found[3])
    True
    """
    filled = np.flatnonzero(np.asarray(counts) > 0)
    if len(filled) < number:
        raise ValueError(f"{len(filled)} square degrees with galaxies can't be divided into {number} regions")
    row, column = np.divmod(filled, COLUMNS)
    dec = np.degrees(np.arcsin((row + 0.5) / ROWS * 2 - 1))
    vectors = unit_vectors((column + 0.5) / COLUMNS * 360, dec)
    of_pixel = np.full(ROWS * COLUMNS, -1, dtype=np.int64)
    waiting, made = [(np.arange(len(filled)), number)], 0
    while waiting:
        part, pieces = waiting.pop()
        if pieces == 1:
            of_pixel[filled[part]] = made
            made += 1
            continue
        off = vectors[part] - vectors[part].mean(axis=0)
        longest = np.linalg.svd(off, full_matrices=False)[2][0]
        order = part[np.argsort(off @ longest, kind="stable")]
        cut = round(len(part) * (pieces // 2) / pieces)
        waiting += [(order[:cut], pieces // 2), (order[cut:], pieces - pieces // 2)]
    return Regions(number, of_pixel)


def jackknife_covariance(left_out: ArrayLike) -> Floats:
    """Return the covariance of numbers that were computed without each region in turn.

    Parameters
    ----------
    left_out : array_like of float, shape (regions, k)
        The numbers without each region.

    Returns
    -------
    ndarray of float, shape (k, k)
        Their covariance in the whole survey (Norberg et al. 2009, MNRAS 396, 19, equation 2).

    Examples
    --------
    >>> x = np.array([1.0, 2.0, 4.0, 5.0])
    >>> means = [[np.delete(x, i).mean()] for i in range(4)]
    >>> round(float(jackknife_covariance(means)[0, 0] / (x.var(ddof=1) / 4)), 9)
    1.0
    """
    values = np.asarray(left_out, dtype=np.float64)
    off = values - values.mean(axis=0)
    return np.asarray((len(values) - 1) / len(values) * off.T @ off)


def systems(
    ra: ArrayLike, dec: ArrayLike, redshift: ArrayLike, kiloparsecs: float, velocity: float
) -> NDArray[np.int64]:
    """Find galaxies that belong together: linked by neighbours near on the sky and in redshift.

    Parameters
    ----------
    ra, dec : array_like of float, shape (n,)
        Right ascensions and declinations in degrees.
    redshift : array_like of float, shape (n,)
        Redshifts above 0.
    kiloparsecs : float
        The largest projected distance of two neighbours, at the mean of their redshifts.
    velocity : float
        The largest difference of their velocities along the line of sight, c Δz / (1 + z), in km/s.

    Returns
    -------
    ndarray of int, shape (n,)
        The number of each galaxy's system. A galaxy without neighbours is a system of its own.

    Examples
    --------
    >>> systems([10.0, 10.001, 10.0, 50.0], [0.0] * 4, [0.05, 0.05, 0.06, 0.05], 50, 500).tolist()
    [0, 0, 1, 2]
    """
    vectors, z = unit_vectors(ra, dec), np.asarray(redshift, dtype=np.float64)
    if not len(z):
        return np.zeros(0, dtype=np.int64)
    nearest = float(comoving_distance(z.min())) / (1 + z.min()) * 1000  # kpc in a radian
    chord = 2 * np.sin(min(kiloparsecs / nearest, np.pi) / 2)
    pairs = cKDTree(vectors).query_pairs(chord, output_type="ndarray")
    first, second = pairs[:, 0], pairs[:, 1]
    mean = (z[first] + z[second]) / 2
    lengths = np.linalg.norm(vectors[first] - vectors[second], axis=1)
    apart = 2 * np.arcsin(np.minimum(lengths / 2, 1)) * comoving_distance(mean) / (1 + mean) * 1000
    speed = LIGHT_SPEED * np.abs(z[first] - z[second]) / (1 + mean)
    linked = (apart <= kiloparsecs) & (speed <= velocity)
    ends = first[linked], second[linked]
    graph = coo_array((np.ones(linked.sum(), dtype=bool), ends), shape=(len(z), len(z)))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)
