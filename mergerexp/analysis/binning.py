"""Bins of the merger probability."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mergerexp.analysis.metrics import Floats

BinKind = Literal["width", "mass"]


def bin_edges(p_m: Floats, bins: int, kind: BinKind) -> Floats:
    """Return the limits of bins that cover p_m from 0 to 1.

    Parameters
    ----------
    p_m : ndarray of float, shape (n,)
        The merger probability of each galaxy, in [0, 1].
    bins : int
        The number of bins.
    kind : {"width", "mass"}
        Bins of equal width in p_m, or bins with equally many galaxies (fewer bins where p_m has ties, so
        that each bin holds at least one galaxy).

    Returns
    -------
    ndarray of float, shape (bins + 1,) or shorter
        The limits, ascending from 0 to 1.

    Raises
    ------
    ValueError
        If there is no bin, or the kind is neither ``width`` nor ``mass``.

    Examples
    --------
    >>> bin_edges(np.array([0.0, 0.1, 0.2, 0.9]), bins=2, kind="mass").tolist()
    [0.0, 0.2, 1.0]
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    if kind == "width":
        return np.arange(bins + 1) / bins
    if kind != "mass":
        raise ValueError(f"kind must be 'width' or 'mass', not {kind!r}")
    ordered = np.sort(p_m)
    inner = np.unique(ordered[len(ordered) * np.arange(1, bins) // bins])
    return np.concatenate([[0.0], inner[inner > ordered[0]], [1.0]])


def bin_index(p_m: Floats, edges: Floats) -> NDArray[np.int64]:
    """Return the bin that each galaxy is in.

    Parameters
    ----------
    p_m : ndarray of float, shape (n,)
        The merger probability of each galaxy, in [0, 1].
    edges : ndarray of float, shape (bins + 1,)
        The limits of the bins, ascending from 0 to 1 (see `bin_edges`).

    Returns
    -------
    ndarray of int, shape (n,)
        The number of the bin, from 0 on. A bin holds its lower limit, and the last one also 1.

    Examples
    --------
    >>> bin_index(np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.5, 1.0])).tolist()
    [0, 1, 1]
    """
    at = np.searchsorted(edges, p_m, side="right") - 1
    return np.minimum(at, len(edges) - 2).astype(np.int64)
