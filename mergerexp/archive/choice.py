"""Which galaxies make the paper's sample: Darg's mergers, and a draw of galaxies without merger votes."""

from __future__ import annotations

import logging
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

log = logging.getLogger(__name__)
SAME_ARCSEC = 3.0  # within which positions are of one object; DR7 has two ids for some
MERGER, OTHER = "merger", "noninteracting"
FEW_VOTES = "has too few votes"
TAKEN = "is a merger of the sample"  # what becomes of a row of Darg's table
HASH_KEY = "mergerexp choice"  # 16 characters, as pandas wants them


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
    darg
        What becomes of each row of Darg's table: the columns row (of the galaxy that is its first object, −1
        if there is none) and fate.
    """

    galaxies: pd.DataFrame
    order: NDArray[np.int64]
    darg: pd.DataFrame

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
    An object is found by its id, or else within 3 arcseconds. A galaxy's place
    in the draw depends on its id and the seed alone, so that one without a cutout is replaced by the next
    one, and no other moves.
    """
    table = galaxies.sort_values("dr7objid", kind="stable").reset_index(drop=True)
    table["usable"] = table[["ra", "dec"]].notna().all(axis=1) & (table["petroRad_r"] > 0)
    find = _finder(table)
    first, second = (
        find(darg[f"object{member}"], darg[f"ra{member}"], darg[f"dec{member}"]) for member in (1, 2)
    )
    fates = _fates_of_darg(darg, first, table, settings)
    is_confirmed = (fates != FEW_VOTES).to_numpy()
    first, second = np.where(is_confirmed, first, -1), np.where(is_confirmed, second, -1)
    rows = np.arange(len(table))
    table["is_first"] = np.isin(rows, first)
    table["in_pair"] = np.isin(rows, first) | np.isin(rows, second)
    whole = (first >= 0) & (second >= 0)
    ends, size = (first[whole], second[whole]), len(table)
    links = coo_array((np.ones(whole.sum()), ends), shape=(size, size))
    table["group"] = connected_components(links, directed=False)[1]
    plain = table["usable"] & (table["p_mg"] < settings.other_votes) & ~table["in_pair"]
    candidates = np.flatnonzero(plain)
    drawn = f"{settings.seed}:" + table["dr7objid"].iloc[candidates].astype(str)
    place = pd.util.hash_array(drawn.to_numpy(dtype=object), hash_key=HASH_KEY, categorize=False)
    order = candidates[np.argsort(place, kind="stable")]
    return Candidates(table, order, pd.DataFrame({"row": first, "fate": fates.to_numpy()}))


def _fates_of_darg(
    darg: pd.DataFrame, first: NDArray[np.int64], table: pd.DataFrame, settings: ArchiveSettings
) -> pd.Series:
    """Return what becomes of each row of Darg's table, before cutouts are asked for."""
    fates = pd.Series(TAKEN, index=darg.index)
    if "f_m" in darg:
        fates[~(darg["f_m"] >= settings.merger_votes)] = FEW_VOTES
    else:
        log.info("the table of mergers has no f_m: data.archive.merger_votes is not applied to them")
    left = fates == TAKEN
    fates[left & (first < 0)] = "is not among the galaxies"
    fates[left & (first >= 0) & ~table["usable"].to_numpy()[first]] = "has no photometry"
    left = fates == TAKEN
    again = pd.Series(first, index=darg.index)[left].duplicated()
    fates[again.index[again]] = "has the first object of an earlier row"
    return fates


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
