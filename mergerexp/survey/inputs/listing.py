"""The list of a survey's objects: in a file that is mapped into memory, so that its length does not matter.

The process that plans a survey looks for its objects. Others, such as the jobs of its shards, read the list.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mergerexp.errors import UserError, describe
from mergerexp.files import written
from mergerexp.survey.inputs import Item, Place

BATCH = 65_536  # objects that are listed at once
LISTING, CHECKSUMS = b"mergerexp.listing", b"mergerexp.checksums"  # of each batch
CONTAINERS = b"mergerexp.containers"  # of the files that hold the images
AGAIN = "remove it, and the same command makes it"


class ListedInput(ABC):
    """An input whose objects are listed.

    Parameters
    ----------
    place
        What is rated.
    table
        The list, whose columns depend on the kind of input.
    identity
        What tells this input from another one.
    file
        The file of a list that another process has written.
    """

    kind: ClassVar[str]

    def __init__(
        self, place: Place, table: pa.Table, identity: dict[str, Any], file: Path | None = None
    ) -> None:
        self.place, self.table, self._identity, self._file = place, table, identity, file
        self.id_system, self.has_integer_ids = str(identity["id_system"]), bool(identity["integer_ids"])
        # Those of the batches of a list that another process has written; none of them is read unchecked.
        self._checksums = None if file is None else json.loads(table.schema.metadata[CHECKSUMS])
        self._checked: set[int] = set()

    @classmethod
    def listed(cls, place: Place, scratch: Path) -> Self:
        """Look for the objects, and list them in a file without a name.

        Parameters
        ----------
        place
            What is rated.
        scratch
            A folder for the file.

        Raises
        ------
        UserError
            If there are none, or they can't be read.
        """
        table, listing = _write(cls.list(place), scratch)
        if table is None:
            raise UserError(f"images={place.path}: {cls.nothing()}")
        identity = {
            "kind": cls.kind,
            "listing": listing,
            "integer_ids": cls.are_integers(place, table, scratch),
            "id_system": place.id_system or place.path.name,
            **cls.settings(place),
        }
        return cls(place, table, identity)

    @classmethod
    def again(cls, place: Place, identity: dict[str, Any], path: Path) -> Self:
        """Open the input by the list that `save` has written.

        Raises
        ------
        UserError
            If the list is missing, damaged or of another input.
        """
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            listing = table.schema.metadata[LISTING].decode()
        except Exception as error:  # Arrow's exceptions have no common base
            raise UserError(f"{path} can't be read ({describe(error)}); {AGAIN}") from error
        if listing != identity["listing"]:
            raise UserError(f"{path} lists other objects than those of this survey; {AGAIN}")
        return cls(place, table, identity, path)

    def save(self, path: Path) -> None:
        """Write the list for other processes, unless it is there: they may have it mapped."""
        known = {**(self.table.schema.metadata or {}), LISTING: self._identity["listing"].encode()}
        if path.is_file():
            with contextlib.suppress(Exception), pa.memory_map(str(path)) as file:
                about = pa.ipc.open_file(file).schema.metadata
                if {key: about.get(key) for key in known} == known:
                    return
        checksums = [_checksum(batch) for batch in self.table.to_batches()]
        table = self.table.replace_schema_metadata({**known, CHECKSUMS: json.dumps(checksums).encode()})
        with written(path) as partial, pa.ipc.new_file(str(partial), table.schema) as writer:
            writer.write_table(table)

    def rows(self, start: int, stop: int) -> pa.Table:
        """Return some rows of the list.

        Raises
        ------
        UserError
            If the list that another process has written is damaged there.
        """
        rows = self.table.slice(start, stop - start)
        if self._checksums is not None:
            for number in set(range(start // BATCH, -(-stop // BATCH))) - self._checked:
                (batch,) = self.table.slice(number * BATCH, BATCH).combine_chunks().to_batches()
                if _checksum(batch) != self._checksums[number]:
                    raise UserError(f"{self._file} is damaged; {AGAIN}")
                self._checked.add(number)
        return rows

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def identity(self) -> dict[str, Any]:
        """Return what tells this input from another one, without an absolute path of this machine."""
        return self._identity

    @classmethod
    def settings(cls, place: Place) -> dict[str, Any]:
        """Return the settings that decide what is read, beside the list."""
        return {}

    @classmethod
    @abstractmethod
    def list(cls, place: Place) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the list, all with one schema."""

    @classmethod
    @abstractmethod
    def are_integers(cls, place: Place, table: pa.Table, scratch: Path) -> bool:
        """Tell whether the ids are integers of 64 bits."""

    @classmethod
    @abstractmethod
    def nothing(cls) -> str:
        """Say that there are no objects."""

    @abstractmethod
    def read(self, start: int, stop: int) -> Sequence[Item]:
        """Return a range of the objects, with their images."""


def _write(batches: Iterable[pa.RecordBatch], scratch: Path) -> tuple[pa.Table | None, str]:
    """Write rows into a file without a name; return them as a mapped table, and the hash of its content.

    The hash is of the values of `BATCH` rows each, since the bytes of the file, and where Arrow divides what
    it reads, depend on Arrow's version.
    """
    found, writer = hashlib.sha256(), None
    with TemporaryFile(dir=scratch) as file:
        for batch in _in_equal_batches(batches):
            writer = writer or pa.ipc.new_file(file, batch.schema)
            writer.write_batch(batch)
            for column in batch.columns:
                found.update(_bytes(column))
        if writer is None:
            return None, ""
        known = json.loads((batch.schema.metadata or {}).get(CONTAINERS, b"[]"))
        found.update(json.dumps([(name, size) for name, size, _ in known]).encode())
        writer.close()
        file.flush()
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return pa.ipc.open_file(pa.py_buffer(mapped)).read_all(), found.hexdigest()


def _in_equal_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the rows in batches of `BATCH`, but for the last one."""
    waiting: list[pa.RecordBatch] = []

    def joined() -> pa.RecordBatch:
        (batch,) = pa.Table.from_batches(waiting).combine_chunks().to_batches()
        return batch

    number = 0
    for batch in batches:
        waiting.append(batch)
        number += len(batch)
        while number >= BATCH:
            whole = joined()
            yield whole.slice(0, BATCH)
            waiting[:] = [whole.slice(BATCH)]
            number -= BATCH
    if number:
        yield joined()


def _checksum(batch: pa.RecordBatch) -> int:
    found = 0
    for column in batch.columns:
        found = zlib.crc32(_bytes(column), found)
    return found


def _bytes(column: pa.Array) -> bytes:
    if pa.types.is_string(column.type):
        lengths = np.asarray(pc.fill_null(pc.binary_length(column), -1), dtype=np.int64)
        return lengths.tobytes() + "".join(pc.fill_null(column, "").to_pylist()).encode()
    return bytes(column.to_numpy(zero_copy_only=False).tobytes())


def as_int64(texts: pa.Array | pa.ChunkedArray) -> Any:
    """Return texts as integers of 64 bits; None if one of them is none in its usual form, as 007 is not."""
    try:
        numbers = pc.cast(texts, pa.int64())
    except pa.ArrowInvalid:
        return None
    return numbers if pc.all(pc.equal(pc.cast(numbers, pa.string()), texts)).as_py() else None


class Containers:
    """The files that hold the images of many objects each, as they were when the objects were listed.

    Parameters
    ----------
    place
        What is rated: one such file, or the folder of all.
    schema
        The schema of the list, which names them.

    Raises
    ------
    UserError
        If a file is missing, or has changed since.
    """

    def __init__(self, place: Place, schema: pa.Schema) -> None:
        known = json.loads(schema.metadata[CONTAINERS])
        self.paths = [place.path / name if place.path.is_dir() else place.path for name, _, _ in known]
        for path, (_, *mark) in zip(self.paths, known, strict=True):
            if not path.is_file() or _mark(path) != mark:
                raise UserError(
                    f"images={path}: it is missing, or not as it was when its objects were listed"
                )

    @staticmethod
    def described(paths: Sequence[Path]) -> dict[bytes, bytes]:
        """Return what the schema of a list has to say of the files."""
        return {CONTAINERS: json.dumps([[path.name, *_mark(path)] for path in paths]).encode()}


def _mark(path: Path) -> list[int]:
    """Return the size of a file and when it was changed, in ns."""
    about = path.stat()
    return [about.st_size, about.st_mtime_ns]


def in_batches(rows: Iterable[tuple[Any, ...]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield rows in batches."""
    waiting: list[tuple[Any, ...]] = []

    def batch() -> pa.RecordBatch:
        columns = zip(*waiting, strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
        return pa.record_batch(arrays, schema=schema)

    for row in rows:
        waiting.append(row)
        if len(waiting) == BATCH:
            yield batch()
            waiting.clear()
    if waiting:
        yield batch()
