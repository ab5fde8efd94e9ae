"""Test objects with their images and logits, on which a model proves that it rates as the study did.

Each row of ``references.parquet`` is an object of a fold: fold, objid, label, the logits that the run
recorded, the bytes of its image and how these are to be read: ``source``, the file that the data set was made
from, or ``stamp``, the prepared stamp as PNG, where there is no such file.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from mergerexp.data.sources.folder.stamp import UnusableImage, make_stamp
from mergerexp.data.store import Dataset
from mergerexp.errors import UserError
from mergerexp.frames import records
from mergerexp.hashing import hash63

SOURCE, STAMP = "source", "stamp"


def choose_references(test: pd.DataFrame, n: int) -> pd.DataFrame:
    """Choose galaxies of a test fold whose p_m are spread evenly over the ranks of all."""
    ranked = test.sort_values(["p_m", "objid"])
    chosen = np.unique(np.linspace(0, len(ranked) - 1, min(n, len(ranked))).round().astype(int))
    return ranked.iloc[chosen]


def reference_rows(
    chosen: pd.DataFrame, dataset: Dataset, root: Path | None, crop: float, fold: int
) -> pd.DataFrame:
    """Return the rows of ``references.parquet`` for some galaxies of a fold.

    Parameters
    ----------
    chosen
        The galaxies, with objid, label, logit_0 and logit_1.
    dataset
        The data set that they are from.
    root
        The folder of the data set's files; None if it is not made of files.
    crop
        The fraction of the side of the images that was kept.
    fold
        The fold.
    """
    rows = []
    for galaxy in records(chosen):
        row = int(dataset.rows_of(np.array([galaxy["objid"]]))[0])
        stamp = dataset.images[row]
        data = _source_bytes(dataset, row, root)
        kind = SOURCE
        if data is None or not np.array_equal(make_stamp(data, len(stamp), crop)[0], stamp):
            kind, data = STAMP, _png(stamp)
        rows.append(
            {
                "fold": fold,
                "objid": int(galaxy["objid"]),
                "label": int(galaxy["label"]),
                "logit_0": float(galaxy["logit_0"]),
                "logit_1": float(galaxy["logit_1"]),
                "kind": kind,
                "image": data,
            }
        )
    return pd.DataFrame(rows)


def decode_references(
    images: Sequence[bytes], kinds: Sequence[str], size: int, crop: float
) -> NDArray[np.uint8]:
    """Decode the images of references, as a rating decodes those of a survey, to shape (n, size, size, 3).

    Raises
    ------
    UserError
        If an image cannot be decoded.
    """
    stamps = np.empty((len(images), size, size, 3), dtype=np.uint8)
    for number, (data, kind) in enumerate(zip(images, kinds, strict=True)):
        try:
            stamps[number] = make_stamp(data, size, crop if kind == SOURCE else 1.0)[0]
        except UnusableImage as error:
            raise UserError(f"reference object {number} of the model folder: {error}") from error
    return stamps


def _source_bytes(dataset: Dataset, row: int, root: Path | None) -> bytes | None:
    """Return the file that a stamp was made from, if it is still there and is the same."""
    catalogue = dataset.catalogue
    if root is None or "file" not in catalogue or "content" not in catalogue:
        return None
    try:
        data = (root / str(catalogue["file"].iloc[row])).read_bytes()
    except OSError:
        return None
    return data if hash63(data) == int(catalogue["content"].iloc[row]) else None


def _png(stamp: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(stamp).save(file, "PNG")
    return file.getvalue()
