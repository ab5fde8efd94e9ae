"""Image files in a folder or in tar files; the id of an object is the path of its file without the ending."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mergerexp.data.sources.folder.listing import IMAGE_SUFFIXES
from mergerexp.errors import UserError, describe
from mergerexp.survey.duplicates import find_duplicates
from mergerexp.survey.inputs import Item, Place, tar_files
from mergerexp.survey.inputs.listing import Containers, ListedInput, as_int64, in_batches
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
        return in_batches(_of_folder(place.path), schema)

    def read(self, start: int, stop: int) -> Sequence[Item]:
        """Return a range of the objects, with the bytes of their files."""
        names = self.rows(start, stop)["file"]
        return [
            read_file(self.place.path / name, own_id)
            for name, own_id in zip(names.to_pylist(), self._ids(names), strict=True)
        ]


class TarFiles(_Files):
    """All JPEG and PNG files in tar files, in the order that they have there."""

    kind = "tar"

    def __init__(
        self, place: Place, table: pa.Table, identity: dict[str, Any], file: Path | None = None
    ) -> None:
        super().__init__(place, table, identity, file)
        self._paths = Containers(place, table.schema).paths

    @classmethod
    def list(cls, place: Place) -> Iterator[pa.RecordBatch]:
        """Yield the names of the members, and where they are."""
        columns = {"file": pa.string(), "size": pa.int64(), "tar": pa.int32(), "offset": pa.int64()}
        paths = tar_files(place.path)
        rows = (row for number, path in enumerate(paths) for row in _members(path, number))
        return in_batches(rows, pa.schema(columns, metadata=Containers.described(paths)))

    def read(self, start: int, stop: int) -> Sequence[Item]:
        """Return a range of the objects, with the bytes of their files."""
        rows, items = self.rows(start, stop), []
        columns = [rows[name].to_pylist() for name in ("tar", "offset", "size")]
        for own_id, number, offset, size in zip(self._ids(rows["file"]), *columns, strict=True):
            with self._paths[number].open("rb") as file:
                file.seek(offset)
                items.append(Item(own_id, data=file.read(size)))
        return items


def _of_folder(folder: Path) -> Iterator[tuple[str, int]]:
    try:
        yield from _walk(folder, "", ())
    except OSError as error:  # no right to look, or a link to itself
        raise UserError(f"images={error.filename or folder} can't be read: {describe(error)}") from error


def _walk(folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, int]]:
    """Yield the images below a folder with their sizes, with one folder's names in memory at once."""
    about = folder.stat()
    here = (*above, (about.st_dev, about.st_ino))
    if here[-1] in above:
        raise UserError(f"images={folder}: this link leads to a folder that it is in; remove it")
    with os.scandir(folder) as entries:
        names = sorted((entry.is_dir(), entry.name) for entry in entries if not entry.name.startswith("."))
    for is_folder, name in names:
        if is_folder:
            yield from _walk(folder / name, f"{prefix}{name}/", here)
        elif _is_image(name):
            yield _readable(f"{prefix}{name}", folder), _size(folder / name)


def _is_image(name: str) -> bool:
    """Tell whether a file is an image by its name; hidden ones are what systems leave beside their files."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.rpartition("/")[2].startswith(".")


def _size(path: Path) -> int:
    """Return the size of a file; -1 if a link leads nowhere, so that the object still has a row."""
    return path.stat().st_size if path.exists() else -1


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
            end = 0
            for member in tar:
                end = tar.offset  # of the next header
                if _is_image(member.name):
                    if member.issym() or member.islnk() or member.issparse():
                        raise UserError(
                            f"images={path}: {member.name} is a link or a sparse file; pack the files "
                            "themselves (tar --dereference --hard-dereference, without --sparse)"
                        )
                    if member.isfile():
                        yield (
                            _readable(member.name.removeprefix("./"), path),
                            member.size,
                            number,
                            member.offset_data,
                        )
                tar.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
    except (tarfile.TarError, OSError) as error:
        raise UserError(f"images={path}: {describe(error)}") from error
    _check_end(path, end)


def _check_end(path: Path, end: int) -> None:
    """Refuse a tar file that does not end where its last member does; `tarfile` takes damage for the end."""
    with path.open("rb") as file:
        file.seek(end)
        first = file.read(tarfile.BLOCKSIZE)
        is_whole = len(first) == tarfile.BLOCKSIZE and not any(first)
        while is_whole and (rest := file.read(2**20)):
            is_whole = not rest.strip(b"\0")
    if not is_whole:
        raise UserError(
            f"images={path}: damaged, cut off or joined of several at byte {end}; the objects behind it "
            "would be lost, so pack it again"
        )


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
