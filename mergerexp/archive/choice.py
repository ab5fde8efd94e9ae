"""Which galaxies make the paper's sample: Darg's mergers, and a draw of galaxies without merger votes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from mergerexp.analysis.sky import unit_vectors
from mergerexp.archive.settings import ArchiveSettings

SAME_ARCSEC = 3.0  # within which positions are of one object; DR7 has two ids for some
MERGER, OTHER = "merger", "noninteracting"


@dataclass(frozen=True)
class Candidates:
    """The galaxies that a sample is chosen of.

    Attributes
    ----------
    galaxies
        All galaxies, with the further columns usable (whether a cutout can be made), group (equal for the
        members of a pair, or of pairs with a common member), in_pair, and is_first (whether the galaxy is the
        first object of a pair of Darg's table).
    order
        The rows of galaxies that nobody took for mergers, in the order in which they are drawn.
    lost
        How many of Darg's mergers are not among the galaxies.
    """

    galaxies: pd.DataFrame
    order: NDArray[np.int64]
    lost: int

    @property
    def mergers(self) -> pd.DataFrame:
        """The mergers of the sample: the first object of each pair that has a cutout."""
        return self.galaxies[self.galaxies["is_first"] & self.galaxies["usable"]]


def find_candidates(galaxies: pd.DataFrame, darg: pd.DataFrame, settings: ArchiveSettings) -> Candidates:
    """Find Darg's mergers among all galaxies, and put the others into the order of the draw.

    Parameters
    ----------
    galaxies
        The columns dr7objid (text), ra, dec, z, p_mg and petroRad_r.
    darg
        The columns object1, object2 (text), ra1, dec1, ra2 and dec2 of Darg et al. 2010; and f_m, if there.
    settings
        What a merger is, and the seed of the draw.

    Notes
    -----
    An object is found by its id, or else within 3 arcseconds. The draw depends on the ids of the galaxies and
    the seed alone, so that a galaxy without a cutout is replaced by the next one.
    """
    table = galaxies.sort_values("dr7objid", kind="stable").reset_index(drop=True)
    table["usable"] = table[["ra", "dec"]].notna().all(axis=1) & (table["petroRad_r"] > 0)
    votes = darg["f_m"] if "f_m" in darg else pd.Series(1.0, index=darg.index)
    confirmed = darg[votes >= settings.merger_votes].reset_index(drop=True)
    find = _finder(table)
    first, second = (
        find(confirmed[f"object{member}"], confirmed[f"ra{member}"], confirmed[f"dec{member}"])
        for member in (1, 2)
    )
    rows = np.arange(len(table))
    table["is_first"] = np.isin(rows, first)
    table["in_pair"] = np.isin(rows, first) | np.isin(rows, second)
    whole = (first >= 0) & (second >= 0)
    ends, size = (first[whole], second[whole]), len(table)
    links = coo_array((np.ones(whole.sum()), ends), shape=(size, size))
    table["group"] = connected_components(links, directed=False)[1]
    plain = table["usable"] & (table["p_mg"] < settings.other_votes) & ~table["in_pair"]
    candidates = np.flatnonzero(plain)
    order = np.random.default_rng(settings.seed).permutation(candidates)
    return Candidates(table, order, int((first < 0).sum()))


def _finder(table: pd.DataFrame) -> Callable[[pd.Series, pd.Series, pd.Series], NDArray[np.int64]]:
    """Return what finds the rows of objects by ids, or else by positions; -1 where there is none."""
    by_id = pd.Series(np.arange(len(table)), index=table["dr7objid"].astype(str))
    by_id = by_id[~by_id.index.duplicated()]
    placed = np.flatnonzero(table[["ra", "dec"]].notna().all(axis=1))
    tree = cKDTree(unit_vectors(table["ra"].to_numpy()[placed], table["dec"].to_numpy()[placed]))
    reach = 2 * np.sin(np.radians(SAME_ARCSEC / 3600) / 2)

    def find(ids: pd.Series, ra: pd.Series, dec: pd.Series) -> NDArray[np.int64]:
        rows = by_id.reindex(ids.astype(str)).fillna(-1).to_numpy(dtype=np.int64)
        known = ra.notna().to_numpy() & dec.notna().to_numpy() & (rows < 0)
        if known.any() and len(placed):
            distance, nearest = tree.query(unit_vectors(ra.to_numpy()[known], dec.to_numpy()[known]))
            rows[known] = np.where(distance <= reach, placed[np.minimum(nearest, len(placed) - 1)], -1)
        return rows

    return find
