"""The objects of a survey and their images, from where they are: each kind of place is a module of its own.

An input has a fixed order, and any range of its objects can be read without those before it, so that shards
and restarts read the same.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mergerexp.config.survey_schema import SurveyColumns
from mergerexp.data.sources.folder.listing import IMAGE_SUFFIXES
from mergerexp.data.store import META
from mergerexp.errors import UserError
from mergerexp.survey.statuses import Status

if TYPE_CHECKING:
    from mergerexp.survey.inputs.listing import ListedInput

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


@dataclass(frozen=True)
class Place:
    """What is rated, and how it is to be read.

    Attributes
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
    """

    path: Path
    columns: SurveyColumns
    root: Path | None
    id_system: str | None
    size: int


class Input(Protocol):
    """The objects of a survey in a fixed order."""

    id_system: str
    has_integer_ids: bool

    def __len__(self) -> int: ...

    def identity(self) -> dict[str, Any]:
        """Return what tells this input from another one, in types of JSON, without a path of this machine."""

    def save(self, path: Path) -> None:
        """Write what another process needs to open this input without looking for its objects again."""

    def read(self, start: int, stop: int) -> Sequence[Item]:
        """Return a range of the objects, with their images."""


def open_input(place: Place, scratch: Path) -> Input:
    """Open the place that the images of a survey are in, by what it is.

    Parameters
    ----------
    place
        What is rated.
    scratch
        A folder for a file with the list of the objects, which has no name.

    Raises
    ------
    UserError
        If there is nothing, or nothing that is understood.
    """
    kind = _kind(place)
    if place.root is not None and kind != "catalogue":
        raise UserError(
            f"root={place.root}: images={place.path} is no catalogue, whose files could be elsewhere"
        )
    if kind == "prepared":
        return _prepared(place)
    return _listed()[kind].listed(place, scratch)


def open_again(place: Place, identity: Mapping[str, Any], path: Path) -> Input:
    """Open an input whose objects another process has listed.

    Parameters
    ----------
    place
        What is rated.
    identity
        What that process found it to be.
    path
        What it has saved.

    Raises
    ------
    UserError
        If the list can't be read.
    """
    if identity["kind"] == "prepared":
        return _prepared(place)
    return _listed()[identity["kind"]].again(place, dict(identity), path)


def _prepared(place: Place) -> Input:
    from mergerexp.survey.inputs.prepared import PreparedSet

    return PreparedSet(place.path, place.id_system, place.size)


def _listed() -> dict[str, type[ListedInput]]:
    from mergerexp.survey.inputs import catalogues, files, tables

    classes = (files.ImageFolder, files.TarFiles, tables.ImageTable, catalogues.Catalogue)
    return {each.kind: each for each in classes}


def _kind(place: Place) -> str:
    from mergerexp.survey.inputs.columns import has_column

    path = place.path
    if not path.exists():
        raise UserError(f"images={path}: no such file or folder")
    if path.is_dir():
        return "prepared" if (path / META).is_file() else _kind_of_folder(path)
    if path.name.lower().endswith(TARS):
        return "tar"
    if path.suffix.lower() not in TABLES:
        raise UserError(
            f"images={path}: not understood; a prepared data set, a folder, tar files ({', '.join(TARS)}) or "
            f"a table ({', '.join(TABLES)}) is needed"
        )
    is_table = path.suffix.lower() == ".parquet" and has_column(path, place.columns.image)
    return "parquet" if is_table else "catalogue"


def _kind_of_folder(path: Path) -> str:
    """Return what a folder has, by the names in it; one with two kinds at its top is refused."""
    tars, tables, others = False, False, False
    with os.scandir(path) as entries:
        for entry in entries:
            name = entry.name.lower()
            tars |= name.endswith(TARS)
            tables |= name.endswith(".parquet")
            others |= name.endswith(IMAGE_SUFFIXES) or (not name.startswith(".") and entry.is_dir())
    if tars + tables + others > 1:
        raise UserError(
            f"images={path}: it has tar or Parquet files beside images, folders or each other, of which one "
            "kind alone can be rated at once; name the files, or a folder with one kind"
        )
    return "tar" if tars else "parquet" if tables else "folder"


def tar_files(path: Path) -> list[Path]:
    """Return a tar file, or the tar files of a folder."""
    return _in_folder(path, TARS)


def parquet_files(path: Path) -> list[Path]:
    """Return a Parquet file, or the Parquet files of a folder."""
    return _in_folder(path, (".parquet",))


def _in_folder(path: Path, endings: tuple[str, ...]) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(item for item in path.iterdir() if item.name.lower().endswith(endings))
