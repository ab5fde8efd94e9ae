"""One network on degraded versions of its test images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from mergerexp.batches.images import ImageStore
from mergerexp.degradations.degrade import degraded
from mergerexp.errors import UserError
from mergerexp.models.stored import StoredNetwork

TOLERANCE = 1e-4  # of a p_m; what machines and batch sizes differ in is far below it

Strengths = Mapping[str, Sequence[float]]  # of each degradation, the first of which is none


def passes(strengths: Strengths) -> int:
    """Return how often each image goes through the network: as it is, and at every strength but none."""
    return 1 + sum(len(own) - 1 for own in strengths.values())


def rate_degraded(
    network: StoredNetwork,
    images: ImageStore,
    rows: NDArray[np.int64],
    test: pd.DataFrame,
    strengths: Strengths,
    *,
    seed: int,
    batch: int,
    advance: Callable[[int], None] = lambda n: None,
) -> pd.DataFrame:
    """Rate test galaxies at every strength of every degradation.

    Parameters
    ----------
    network
        A run's.
    images
        Of the data set that it was trained on.
    rows
        Of the test galaxies in it, shape (n,).
    test
        objid, label and p_m as the run recorded them, in the order of ``rows``.
    strengths
        The degradations, and the strengths of each.
    seed
        Of noise and stars.
    batch
        Images in one pass of the network.
    advance
        Told how many images have been rated, for a progress report.

    Returns
    -------
    DataFrame
        objid, label, degradation (str), strength (float64), p_m (float64): a row a galaxy, degradation and
        strength, in the order of the last two.

    Raises
    ------
    UserError
        If the p_m of undegraded images are not those of the record.
    """
    levels = [(name, strength) for name, own in strengths.items() for strength in own]
    p_m = np.empty((len(levels), len(rows)))
    for start in range(0, len(rows), batch):
        chosen = slice(start, start + batch)
        pixels = images.pixels(rows[chosen])
        clean = network.rate(pixels)
        advance(len(clean))
        _check(clean, test[chosen])
        of_level = _rate_levels(network, pixels, clean, test["objid"][chosen].tolist(), strengths, seed)
        for level, rated in enumerate(of_level):
            p_m[level, chosen] = rated
            if rated is not clean:
                advance(len(rated))
    n = len(rows)
    return pd.DataFrame(
        {
            "objid": np.tile(test["objid"].to_numpy(), len(levels)),
            "label": np.tile(test["label"].to_numpy(), len(levels)),
            "degradation": np.repeat([name for name, _ in levels], n),
            "strength": np.repeat([float(strength) for _, strength in levels], n),
            "p_m": p_m.ravel(),
        }
    )


def _rate_levels(
    network: StoredNetwork,
    pixels: Tensor,
    clean: NDArray[np.float64],
    objids: Sequence[int],
    strengths: Strengths,
    seed: int,
) -> Iterator[NDArray[np.float64]]:
    """Rate a batch at each strength in turn; that of none is known."""
    for name, own in strengths.items():
        yield clean
        for spoiled in degraded(name, pixels, own[1:], objids, seed):
            yield network.rate(spoiled)


def _check(p_m: NDArray[np.float64], test: pd.DataFrame) -> None:
    """Refuse a network that does not say of the test galaxies what it said when it was trained."""
    off = np.abs(p_m - test["p_m"].to_numpy())
    worst = int(off.argmax())
    if not off[worst] <= TOLERANCE:
        objid, recorded = int(test["objid"].iloc[worst]), float(test["p_m"].iloc[worst])
        raise UserError(
            f"object {objid} had p_m {recorded:.6f} after training and has {p_m[worst]:.6f} now: "
            "network, images or this machine's arithmetic are not those of the record. The run's "
            "provenance.json says where it was trained; device= chooses another device"
        )
