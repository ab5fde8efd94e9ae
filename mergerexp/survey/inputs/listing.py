"""The list of a survey's objects: in a file that is mapped into memory, so that its length does not matter.

The process that plans a survey looks for its objects. Others, such as the jobs of its shards, read the list.
"""

from __future__ import annotations

import hashlib
import mmap
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
    """

    kind: ClassVar[str]

    def __init__(self, place: Place, table: pa.Table, identity: dict[str, Any]) -> None:
        self.place, self.table, self._identity = place, table, identity
        self.id_system, self.has_integer_ids = str(identity["id_system"]), bool(identity["integer_ids"])

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
        }
        return cls(place, table, identity)

    @classmethod
    def again(cls, place: Place, identity: dict[str, Any], path: Path) -> Self:
        """Open the input by the list that `save` has written.

        Raises
        ------
        UserError
            If the list is missing or can't be read.
        """
        try:
            return cls(place, pa.ipc.open_file(pa.memory_map(str(path))).read_all(), identity)
        except Exception as error:  # Arrow's exceptions have no common base
            raise UserError(f"{path} can't be read ({describe(error)}); the same command makes it") from error

    def save(self, path: Path) -> None:
        """Write the list for other processes."""
        with written(path) as partial, pa.ipc.new_file(str(partial), self.table.schema) as writer:
            writer.write_table(self.table)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def identity(self) -> dict[str, Any]:
        """Return what tells this input from another one, without a path of this machine."""
        return self._identity

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

    The hash is of the values, since the bytes of the file depend on Arrow's version.
    """
    found, writer = hashlib.sha256(), None
    with TemporaryFile(dir=scratch) as file:
        for batch in batches:
            writer = writer or pa.ipc.new_file(file, batch.schema)
            writer.write_batch(batch)
            for column in batch.columns:
                found.update(_bytes(column))
        if writer is None:
            return None, ""
        writer.close()
        file.flush()
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return pa.ipc.open_file(pa.py_buffer(mapped)).read_all(), found.hexdigest()


def _bytes(column: pa.Array) -> bytes:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
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
