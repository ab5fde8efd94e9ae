"""Rating degraded versions of a network's test images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergerexp.batches.images import ImageStore
from mergerexp.degradations.degrade import degraded
from mergerexp.errors import UserError
from mergerexp.models.stored import StoredNetwork

# How much p_m may differ from the record. Machines and batch sizes make differences that are far smaller.
TOLERANCE = 1e-4

# The strengths of each degradation, the first of which leaves images as they are.
Levels = Mapping[str, Sequence[float]]


def passes(strengths: Levels) -> int:
    """Return how often each image goes through the network: once as it is, and at every other strength."""
    return 1 + sum(len(levels) - 1 for levels in strengths.values())


def rate_degraded(
    network: StoredNetwork,
    images: ImageStore,
    rows: NDArray[np.int64],
    test: pd.DataFrame,
    strengths: Levels,
    *,
    seed: int,
    batch: int,
    advance: Callable[[int], None] = lambda n: None,
) -> pd.DataFrame:
    """Rate test galaxies at every strength of every degradation.

    Parameters
    ----------
    network
        The network of a run.
    images
        The images of the data set that it was trained on.
    rows
        The rows of the test galaxies in this data set, shape (n,).
    test
        The objid, label and p_m of the test galaxies as the run recorded them, in the order of ``rows``.
    strengths
        The degradations, and the strengths of each.
    seed
        The seed of noise and stars.
    batch
        The number of images in one pass of the network.
    advance
        A function that is called with the number of images that have been rated since its last call.

    Returns
    -------
    DataFrame
        A row for each galaxy, degradation and strength, in the order of the last two, with the columns
        objid, label, degradation (str), strength (float64) and p_m (float64).

    Raises
    ------
    UserError
        If the p_m of undegraded images are not those that the run recorded.
    """
    levels = [(name, strength) for name, of_name in strengths.items() for strength in of_name]
    p_m = np.empty((len(levels), len(rows)))
    for start in range(0, len(rows), batch):
        chosen = slice(start, start + batch)
        pixels = images.pixels(rows[chosen])
        clean = network.rate(pixels)
        advance(len(clean))
        _check_reproduced(clean, test[chosen])
        objids, rated = test["objid"][chosen].tolist(), []
        for name, of_name in strengths.items():
            rated.append(clean)
            for worse in degraded(name, pixels, of_name[1:], objids, seed):
                rated.append(network.rate(worse))
                advance(len(clean))
        p_m[:, chosen] = rated
    parts = [
        test[["objid", "label"]].assign(degradation=name, strength=float(strength), p_m=of_level)
        for (name, strength), of_level in zip(levels, p_m, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def _check_reproduced(p_m: NDArray[np.float64], test: pd.DataFrame) -> None:
    """Refuse a network that does not rate the test galaxies as it did when it was trained."""
    off = np.abs(p_m - test["p_m"].to_numpy())
    worst = int(off.argmax())
    if not off[worst] <= TOLERANCE:
        objid, recorded = int(test["objid"].iloc[worst]), float(test["p_m"].iloc[worst])
        raise UserError(
            f"object {objid} had p_m {recorded:.6f} after training and has {p_m[worst]:.6f} now: "
            "network, images or this machine's arithmetic are not those of the record. The run's "
            "provenance.json says where it was trained; device= chooses another device"
        )
