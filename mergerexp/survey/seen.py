"""The objects that models have seen, and which models may rate a survey's objects (docs/science.md §4).

No object may get its p_m from a model that trained or stopped on it. Two entries are the same object if they
have the same id in one id system, positions within `SAME_OBJECT_ARCSEC`, equal files or equal stamps, or the
same group of one data set. A stamp that contains another's object counts too, in both directions, since its
pixels were seen.

Each row of ``seen.parquet`` is an object: id_system and id (text), ra and dec (degrees) and width (of the
stamp, in arcseconds) where they are known, content (of the file) and stamp (of the prepared pixels; both
`mergerexp.hashing.hash63`), group, test_fold (-1: none) and part (of the calibrators of this fold; -1: none),
and for every fold k a column ``seen_by_k``: whether its model, or a network that it started from, trained or
stopped on the object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mergerexp.analysis.sky import unit_vectors
from mergerexp.data.splits import Split
from mergerexp.data.store import Dataset
from mergerexp.hashing import hash63

SAME_OBJECT_ARCSEC = 3.0
NO_CALIBRATOR = -2  # in place of a part: every calibrator was fitted on the object
WHOLE = -1  # in place of a part: the calibrator that was fitted to all of the test fold
BY = ("id", "position", "file", "stamp", "group", "overlap")  # the ways in which objects can be matched


@dataclass(frozen=True)
class Objects:
    """What is known of some objects of a survey, each in an array of shape (n,).

    Attributes
    ----------
    id_system
        The name of the system of the ids.
    ids
        The ids as text.
    ra, dec
        The positions in degrees; NaN where they are not known.
    width
        The width of the stamps in arcseconds; NaN where it is not known.
    content, stamp
        The hashes of files and of stamps; -1 where there is none.
    group
        The groups, which are those of the data set with the same id system; -1 where there is none.
    """

    id_system: str
    ids: NDArray[np.object_]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    width: NDArray[np.float64]
    content: NDArray[np.int64]
    stamp: NDArray[np.int64]
    group: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


def seen_table(
    dataset: Dataset,
    splits: Mapping[int, Split],
    parts: Mapping[int, NDArray[np.int8]],
    id_system: str,
    positions: tuple[str, str] | None,
    width: float | None,
) -> pd.DataFrame:
    """Return the contents of ``seen.parquet`` for the objects of a data set that some split uses.

    Parameters
    ----------
    dataset
        The data set.
    splits
        The split of each fold's run.
    parts
        The part of each test object of each fold, in the order of ``split.test``.
    id_system
        The name of the system of the objids.
    positions
        The columns of the catalogue with right ascension and declination in degrees; None if it has none.
    width
        The width of a stamp in arcseconds; None if it is not known.
    """
    test_fold, part = np.full(len(dataset), -1, dtype=np.int16), np.full(len(dataset), -1, dtype=np.int8)
    seen_by = {fold: np.zeros(len(dataset), dtype=bool) for fold in splits}
    for fold, split in splits.items():
        seen_by[fold][np.concatenate([split.train, split.val])] = True
        test_fold[split.test], part[split.test] = fold, parts[fold]
    used = np.flatnonzero((test_fold >= 0) | np.logical_or.reduce(list(seen_by.values())))
    catalogue = dataset.catalogue.iloc[used]
    unknown = pd.array([pd.NA] * len(used), dtype="Float64")
    no_hash = pd.array([pd.NA] * len(used), dtype="Int64")
    table = {
        "id_system": id_system,
        "id": catalogue["objid"].astype(str).to_numpy(),
        "ra": catalogue[positions[0]].to_numpy(dtype=np.float64) if positions else unknown,
        "dec": catalogue[positions[1]].to_numpy(dtype=np.float64) if positions else unknown,
        "width": unknown if width is None else np.full(len(used), width),
        "content": catalogue["content"].to_numpy() if "content" in catalogue else no_hash,
        "stamp": [hash63(dataset.images[row].tobytes()) for row in used.tolist()],
        "group": catalogue["group"].to_numpy(),
        "test_fold": test_fold[used],
        "part": part[used],
    }
    return pd.DataFrame(table | {f"seen_by_{fold}": seen[used] for fold, seen in seen_by.items()})


def with_ancestors(own: pd.DataFrame, theirs: pd.DataFrame, folds: Sequence[int]) -> pd.DataFrame:
    """Add the objects that an ancestor of all networks has seen to the contents of ``seen.parquet``.

    Parameters
    ----------
    own
        The contents for the data set of the networks.
    theirs
        Those rows of the ancestor's own file that it has seen.
    folds
        The folds that have a network.
    """
    rows = theirs[[name for name in own.columns if name in theirs and not name.startswith("seen_by_")]]
    rows = rows.assign(test_fold=np.int16(-1), part=np.int8(-1))  # no calibrator of ours was fitted on them
    for fold in folds:
        rows[f"seen_by_{fold}"] = True
    both: pd.DataFrame = pd.concat([own, rows], ignore_index=True)
    return both


@dataclass(frozen=True)
class Eligibility:
    """Which models may rate some objects, and with which calibrators.

    Attributes
    ----------
    allowed
        Whether a fold's model may rate an object, shape (n, folds).
    part
        The part without which the calibrator of a fold has to have been fitted, `WHOLE` or `NO_CALIBRATOR`,
        shape (n, folds).
    matched
        The ways in which an object was found among those seen, shape (n, ways), in the order of `BY`.
    """

    allowed: NDArray[np.bool_]
    part: NDArray[np.int8]
    matched: NDArray[np.bool_]

    @property
    def in_training_set(self) -> NDArray[np.bool_]:
        """Whether an object is one of those seen, and not only beside one, shape (n,)."""
        return np.asarray(self.matched[:, : BY.index("overlap")].any(axis=1), dtype=np.bool_)


class SeenObjects:
    """The objects that the models of a folder, or the networks they started from, have seen.

    Parameters
    ----------
    table
        The contents of ``seen.parquet``.
    folds
        The folds that have a model.
    """

    def __init__(self, table: pd.DataFrame, folds: Sequence[int]) -> None:
        self._seen_by = np.stack([table[f"seen_by_{fold}"].to_numpy(dtype=bool) for fold in folds], axis=1)
        self._test = np.stack([table["test_fold"].to_numpy() == fold for fold in folds], axis=1)
        self._part = table["part"].to_numpy(dtype=np.int8)
        ids = table["id_system"].astype(str) + "\0" + table["id"].astype(str)
        self._by_id = _rows_by(ids[table["id"].notna().to_numpy(dtype=bool)])
        self._by_content = _rows_by(_known(table["content"]))
        self._by_stamp = _rows_by(_known(table["stamp"]))
        groups = table["id_system"].astype(str) + "\0" + table["group"].astype(str)
        self._by_group = _rows_by(groups[table["group"].notna().to_numpy(dtype=bool)])
        ra, dec = (table[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in ("ra", "dec"))
        self._placed = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
        self._tree = cKDTree(unit_vectors(ra[self._placed], dec[self._placed])) if len(self._placed) else None
        self._width = table["width"].to_numpy(dtype=np.float64, na_value=np.nan)

    def eligibility(self, objects: Objects) -> Eligibility:
        """Find out which models may rate some objects."""
        n, folds = len(objects), self._seen_by.shape[1]
        allowed = np.ones((n, folds), dtype=bool)
        part = np.full((n, folds), WHOLE, dtype=np.int8)
        matched = np.zeros((n, len(BY)), dtype=bool)
        for way, pairs in self._matches(objects).items():
            for row, seen in pairs:
                matched[row, BY.index(way)] = True
                allowed[row] &= ~self._seen_by[seen]
                for fold in np.flatnonzero(self._test[seen]):
                    here, its = part[row, fold], self._part[seen]
                    part[row, fold] = its if here in (WHOLE, its) and its >= 0 else NO_CALIBRATOR
        return Eligibility(allowed, part, matched)

    def _matches(self, objects: Objects) -> dict[str, list[tuple[int, int]]]:
        """Return for each way the pairs of a row of the objects and a row of those seen."""
        system = objects.id_system
        ids = [f"{system}\0{each}" for each in objects.ids]
        groups = [f"{system}\0{each}" if each >= 0 else None for each in objects.group.tolist()]
        near = self._neighbours(objects)
        return {
            "id": _pairs(ids, self._by_id),
            "file": _pairs(objects.content.tolist(), self._by_content),
            "stamp": _pairs(objects.stamp.tolist(), self._by_stamp),
            "group": _pairs(groups, self._by_group),
            "position": [(row, seen) for row, seen, apart in near if apart <= SAME_OBJECT_ARCSEC],
            "overlap": [
                (row, seen)
                for row, seen, apart in near
                if SAME_OBJECT_ARCSEC < apart <= self._reach(objects.width[row], self._width[seen])
            ],
        }

    @staticmethod
    def _reach(one: float, other: float) -> float:
        """Return how far from the centre the corner of the wider stamp is, whichever way it is turned."""
        return float(np.nanmax([one, other, 0.0]) / np.sqrt(2))

    def _neighbours(self, objects: Objects) -> list[tuple[int, int, float]]:
        """Return the pairs that may be too close, with their separation in arcseconds."""
        placed = np.flatnonzero(np.isfinite(objects.ra) & np.isfinite(objects.dec))
        if self._tree is None or not len(placed):
            return []
        widest = np.nanmax([0.0, *self._width[self._placed]])
        reach = np.array([self._reach(width, widest) for width in objects.width[placed]])
        radius = np.maximum(reach, SAME_OBJECT_ARCSEC)
        centres = unit_vectors(objects.ra[placed], objects.dec[placed])
        found = self._tree.query_ball_point(centres, chord(radius) * (1 + 1e-9))
        return [
            (int(row), int(self._placed[number]), separation(centre, self._tree.data[number]))
            for row, centre, numbers in zip(placed, centres, found, strict=True)
            for number in numbers
        ]


def chord(separation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distances of unit vectors that are so many arcseconds apart."""
    return 2 * np.sin(np.radians(separation / 3600) / 2)


def separation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the angle between two unit vectors in arcseconds."""
    half = float(np.linalg.norm(one - other)) / 2
    return float(np.degrees(2 * np.arcsin(min(1.0, half))) * 3600)


def _known(hashes: pd.Series) -> pd.Series:
    return hashes[hashes.notna().to_numpy(dtype=bool)]


def _rows_by(keys: pd.Series) -> dict[object, list[int]]:
    """Return the rows of each key; the index of the series has the rows."""
    rows: dict[object, list[int]] = {}
    for row, key in zip(keys.index.tolist(), keys.tolist(), strict=True):
        rows.setdefault(key, []).append(row)
    return rows


def _pairs(keys: Sequence[object], rows: dict[object, list[int]]) -> list[tuple[int, int]]:
    return [(number, row) for number, key in enumerate(keys) if key is not None for row in rows.get(key, [])]
