"""The objects of a survey and their images, from where they are: each kind of place is a module of its own.

An input has a fixed order, and any range of its objects can be read without those before it, so that shards
and restarts read the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mergerexp.config.survey_schema import SurveyColumns
from mergerexp.data.store import META
from mergerexp.errors import UserError
from mergerexp.survey.statuses import Status

TABLES = (".csv", ".parquet", ".fits", ".fit", ".vot", ".xml", ".votable")
TARS = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class Item:
    """An object of a survey, with its image or the reason why there is none.

    Attributes
    ----------
    id
        Its id, an integer or text.
    ra, dec
        Its position in degrees; NaN if it is not known.
    data
        The bytes of its image file; None for a prepared stamp, or where there is no image.
    stamp
        The prepared stamp, uint8, shape (size, size, 3), of an input that has stamps.
    content, group
        The hash of the file that a prepared stamp was made from, and its group; None where unknown.
    status, reason
        Why there is no image; `Status.RATED` and empty if there is one.
    """

    id: int | str
    ra: float = float("nan")
    dec: float = float("nan")
    data: bytes | None = None
    stamp: NDArray[np.uint8] | None = None
    content: int | None = None
    group: int | None = None
    status: Status = Status.RATED
    reason: str = ""


class Input(Protocol):
    """The objects of a survey in a fixed order."""

    id_system: str
    has_integer_ids: bool

    def __len__(self) -> int: ...

    def identity(self) -> dict[str, Any]:
        """Return what tells this input from another one, in types of JSON, without a path of this machine."""

    def read(self, start: int, stop: int) -> Sequence[Item]:
        """Return a range of the objects, with their images."""


def open_input(
    path: Path, columns: SurveyColumns, root: Path | None, id_system: str | None, size: int
) -> Input:
    """Open the place that the images of a survey are in, by what it is.

    Parameters
    ----------
    path
        A prepared data set, a folder of images, a tar file or a folder of tar files, a Parquet file or folder
        of Parquet files with an image column, or a catalogue with a column of files.
    columns
        The names of the columns of a table.
    root
        The folder that the files of a catalogue are relative to; None for the folder of the catalogue.
    id_system
        The name of the system of the ids; None for one of the input's own.
    size
        The side of a stamp in pixels.

    Raises
    ------
    UserError
        If there is nothing, or nothing that is understood.
    """
    from mergerexp.survey.inputs import files, prepared, tables

    if not path.exists():
        raise UserError(f"images={path}: no such file or folder")
    name = id_system or path.name
    if path.is_dir():
        if (path / META).is_file():
            return prepared.PreparedSet(path, id_system, size)
        inside = sorted(item for item in path.iterdir() if item.is_file() and not item.name.startswith("."))
        if inside and all(item.name.lower().endswith(TARS) for item in inside):
            return files.TarFiles(inside, name)
        if inside and all(item.suffix.lower() == ".parquet" for item in inside):
            return tables.ImageTable(inside, columns, name)
        return files.ImageFolder(path, name)
    if path.name.lower().endswith(TARS):
        return files.TarFiles([path], name)
    if path.suffix.lower() not in TABLES:
        raise UserError(
            f"images={path}: not understood; a prepared data set, a folder, tar files ({', '.join(TARS)}) or "
            f"a table ({', '.join(TABLES)}) is needed"
        )
    if path.suffix.lower() == ".parquet" and tables.has_column(path, columns.image):
        return tables.ImageTable([path], columns, name)
    return tables.Catalogue(path, columns, root or path.parent, name)
