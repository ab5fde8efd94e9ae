"""The stamps of a prepared data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mergerexp.data.store import Dataset
from mergerexp.errors import UserError
from mergerexp.survey.inputs import Item

POSITIONS = (("ra", "dec"), ("csv_ra", "csv_dec"))  # the columns of catalogues that are looked for


class PreparedSet:
    """A prepared data set, whose stamps are rated as they are.

    Parameters
    ----------
    path
        The folder of the data set.
    id_system
        The name of the system of its objids; None for its own, as `mergerexp.export` names it.
    size
        The side of the stamps in pixels that the networks take.

    Raises
    ------
    UserError
        If it is damaged, or its stamps have another size.
    """

    has_integer_ids = True

    def __init__(self, path: Path, id_system: str | None, size: int) -> None:
        self._set = Dataset.open(path)
        found = len(self._set.images[0])
        if found != size:
            raise UserError(f"images={path}: its stamps have {found} px, and the networks take {size} px")
        self.id_system = id_system or own_id_system(self._set)
        columns = position_columns(self._set)
        nowhere = np.full(len(self._set), np.nan)
        self._ra, self._dec = (
            (self._set.catalogue[name].to_numpy(dtype=np.float64) for name in columns)
            if columns
            else (nowhere, nowhere)
        )

    def __len__(self) -> int:
        return len(self._set)

    def identity(self) -> dict[str, Any]:
        """Return the hash of the content."""
        return {"kind": "prepared", "content_hash": self._set.content_hash, "id_system": self.id_system}

    def save(self, path: Path) -> None:
        """Write nothing: the data set says itself what it has."""

    def read(self, start: int, stop: int) -> Sequence[Item]:
        """Return a range of the objects, with their stamps."""
        catalogue = self._set.catalogue.iloc[start:stop]
        contents = catalogue["content"].tolist() if "content" in catalogue else [None] * len(catalogue)
        rows = zip(catalogue["objid"].tolist(), contents, catalogue["group"].tolist(), strict=True)
        stamps = np.array(self._set.images[start:stop])
        return [
            Item(
                objid,
                float(self._ra[start + i]),
                float(self._dec[start + i]),
                stamp=stamps[i],
                content=content,
                group=group,
            )
            for i, (objid, content, group) in enumerate(rows)
        ]


def own_id_system(dataset: Dataset) -> str:
    """Return the name of the id system that a data set's objids are in, unless somebody names another."""
    return f"{dataset.meta['name']} {dataset.content_hash[:12]}"


def position_columns(dataset: Dataset) -> tuple[str, str] | None:
    """Return the columns of a data set's catalogue with right ascension and declination in degrees."""
    return next((pair for pair in POSITIONS if set(pair) <= set(dataset.catalogue)), None)
