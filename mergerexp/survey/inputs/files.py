"""Image files in a folder or in tar files; the id of an object is the path of its file without the ending."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mergerexp.data.sources.folder.listing import IMAGE_SUFFIXES
from mergerexp.errors import UserError, describe
from mergerexp.survey.duplicates import find_duplicates
from mergerexp.survey.inputs import Item, Place, tar_files
from mergerexp.survey.inputs.listing import ListedInput, as_int64, in_batches
from mergerexp.survey.statuses import Status


class _Files(ListedInput):
    """What folders and tar files have in common: the ids come from the names of the files."""

    @classmethod
    def are_integers(cls, place: Place, table: pa.Table, scratch: Path) -> bool:
        """Tell whether all names are integers, no two of which are equal."""
        pieces = table["file"].chunks
        if any(as_int64(_plain(piece)) is None for piece in pieces):
            return False
        numbers = ((pa.chunked_array([as_int64(_plain(piece))]), None) for piece in pieces)
        return not find_duplicates(numbers, len(table), scratch).any()

    @classmethod
    def nothing(cls) -> str:
        """Say that there is no image."""
        return f"no {', '.join(IMAGE_SUFFIXES)} in it or below it"

    def _ids(self, names: pa.ChunkedArray) -> list[int | str]:
        found = as_int64(_plain(names)) if self.has_integer_ids else _stem(names)
        return list(found.to_pylist())


class ImageFolder(_Files):
    """All JPEG and PNG files below a folder: first its own, by their names, then each folder's."""

    kind = "folder"

    @classmethod
    def list(cls, place: Place) -> Iterator[pa.RecordBatch]:
        """Yield the paths of the files, and their sizes, which tell one version of a folder from another."""
        schema = pa.schema({"file": pa.string(), "size": pa.int64()})
        return in_batches(_walk(place.path, "", ()), schema)

    def read(self, start: int, stop: int) -> Sequence[Item]:
        """Return a range of the objects, with the bytes of their files."""
        names = self.table["file"].slice(start, stop - start)
        return [
            read_file(self.place.path / name, own_id)
            for name, own_id in zip(names.to_pylist(), self._ids(names), strict=True)
        ]


class TarFiles(_Files):
    """All JPEG and PNG files in tar files, in the order that they have there."""

    kind = "tar"

    def __init__(self, place: Place, table: pa.Table, identity: dict[str, object]) -> None:
        super().__init__(place, table, identity)
        self._paths = tar_files(place.path)

    @classmethod
    def list(cls, place: Place) -> Iterator[pa.RecordBatch]:
        """Yield the names of the members, and where they are."""
        schema = pa.schema({"file": pa.string(), "size": pa.int64(), "tar": pa.int32(), "offset": pa.int64()})
        rows = (row for number, path in enumerate(tar_files(place.path)) for row in _members(path, number))
        return in_batches(rows, schema)

    def read(self, start: int, stop: int) -> Sequence[Item]:
        """Return a range of the objects, with the bytes of their files."""
        rows, items = self.table.slice(start, stop - start), []
        columns = [rows[name].to_pylist() for name in ("tar", "offset", "size")]
        for own_id, number, offset, size in zip(self._ids(rows["file"]), *columns, strict=True):
            with self._paths[number].open("rb") as file:
                file.seek(offset)
                items.append(Item(own_id, data=file.read(size)))
        return items


def _walk(folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, int]]:
    """Yield the images below a folder with their sizes, with one folder's names in memory at once."""
    about = folder.stat()
    here = (*above, (about.st_dev, about.st_ino))
    if here[-1] in above:
        raise UserError(f"images={folder}: this link leads to a folder that it is in; remove it")
    folders = []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.name.lower().endswith(IMAGE_SUFFIXES) and entry.is_file():
                yield _readable(f"{prefix}{entry.name}", folder), entry.stat().st_size
    for name in folders:
        yield from _walk(folder / name, f"{prefix}{name}/", here)


def _readable(name: str, place: Path) -> str:
    """Return a name that can be an id, and refuse bytes that are no text."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(f"images={place}: {name!r} is no name in UTF-8, so rename the file") from None
    return name


def _members(path: Path, number: int) -> Iterator[tuple[str, int, int, int]]:
    if path.name.lower().endswith((".gz", ".tgz")):
        raise UserError(
            f"images={path}: a compressed tar file can't be read from the middle; unpack it to .tar"
        )
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.isfile() and member.name.lower().endswith(IMAGE_SUFFIXES):
                    yield _readable(member.name, path), member.size, number, member.offset_data
                tar.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
    except (tarfile.TarError, OSError) as error:
        raise UserError(f"images={path}: {describe(error)}") from error


def read_file(path: Path, own_id: int | str, ra: float = float("nan"), dec: float = float("nan")) -> Item:
    """Return an object with the bytes of its file, or the reason why these can't be had."""
    try:
        return Item(own_id, ra, dec, path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return Item(own_id, ra, dec, status=Status.NO_IMAGE, reason="no such file")
    except (OSError, ValueError) as error:
        return Item(own_id, ra, dec, status=Status.UNREADABLE, reason=describe(error))


def _stem(names: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return paths without their endings."""
    return pc.replace_substring_regex(names, r"\.[^.]*$", "")


def _plain(names: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return the names of files without folders and endings."""
    return pc.replace_substring_regex(_stem(names), "^.*/", "")
