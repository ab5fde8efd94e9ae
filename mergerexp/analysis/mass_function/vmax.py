"""Mass functions by 1/V_max (Schmidt 1968, ApJ 151, 393; Weigel et al. 2016, MNRAS 459, 2150, §3.2)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mergerexp.analysis.mass_function.points import MassPoints, bin_of
from mergerexp.analysis.mass_function.volume import SampleVolume
from mergerexp.analysis.metrics import Floats


def mass_bins(lowest: float, highest: float = 12.4, width: float = 0.2) -> Floats:
    """Return the edges of bins at round masses.

    Parameters
    ----------
    lowest : float
        The mass log10(M/M☉) that the first bin begins at, or above.
    highest : float
        The mass log10(M/M☉) that the last bin ends at, or below.
    width : float
        The width of the bins in dex.

    Returns
    -------
    ndarray of float
        The edges.

    Examples
    --------
    >>> mass_bins(9.93, 10.7)
    array([10. , 10.2, 10.4, 10.6])
    """
    first, last = np.ceil(lowest / width - 1e-9), np.floor(highest / width + 1e-9)
    return np.asarray(np.round(np.arange(first, last + 1) * width, 9))


def vmax_density(points: MassPoints, volume: SampleVolume, edges: ArrayLike) -> pd.DataFrame:
    """Return the density in bins of mass, each galaxy counted as one over the volume in which it is visible.

    Parameters
    ----------
    points : MassPoints
        The galaxies.
    volume : SampleVolume
        The volume that they were found in.
    edges : array_like of float, shape (bins + 1,)
        The edges of the bins, log10(M/M☉).

    Returns
    -------
    DataFrame
        A row for each bin: log_mass (its centre), phi (h³ Mpc⁻³ dex⁻¹), error (from √Σ(w/V)²), n (the sum of
        the weights) and whole, which is whether the bin lies above the mass limit at the lowest redshift.
        Others miss galaxies.

    Examples
    --------
    >>> from mergerexp.analysis.completeness import MassLimit
    >>> limit = MassLimit(np.array([0.02, 0.06]), np.array([9.0, 9.0]))
    >>> points = MassPoints.of([10.1, 10.1, 10.3], [9.0, 9.0, 9.0])
    >>> found = vmax_density(points, SampleVolume(limit, 1000.0), [10.0, 10.2, 10.4])
    >>> found["n"].tolist(), round(float(found["phi"][0] / found["phi"][1]), 9)
    ([2.0, 1.0], 2.0)
    """
    bounds = np.asarray(edges, dtype=np.float64)
    width, number = np.diff(bounds), len(bounds) - 1
    seen = volume.visible(points.log_mass)
    at = bin_of(points.log_mass, bounds)
    inside = (at >= 0) & (at < number) & (seen > 0)
    at, seen = at[inside], seen[inside]
    weight, square = points.weight[inside], points.square[inside]
    return pd.DataFrame(
        {
            "log_mass": (bounds[1:] + bounds[:-1]) / 2,
            "phi": np.bincount(at, weight / seen, number) / width,
            "error": np.sqrt(np.bincount(at, square / seen**2, number)) / width,
            "n": np.bincount(at, weight, number),
            "whole": bounds[:-1] >= volume.limit.log_mass[0] - 1e-9,
        }
    )
