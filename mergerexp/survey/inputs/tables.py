"""Parquet with the images in a column, in one file or a folder of files."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mergerexp.errors import UserError, describe
from mergerexp.survey.inputs import Item, Place, parquet_files
from mergerexp.survey.inputs.columns import checked_rows, chosen_columns, parquet
from mergerexp.survey.inputs.listing import Containers, ListedInput
from mergerexp.survey.statuses import Status

LARGEST_GROUP = 2**31  # bytes


class ImageTable(ListedInput):
    """Parquet files with an image in each row; what is listed are their row groups."""

    kind = "parquet"

    def __init__(
        self, place: Place, table: pa.Table, identity: dict[str, Any], file: Path | None = None
    ) -> None:
        super().__init__(place, table, identity, file)
        self._paths = Containers(place, table.schema).paths
        self._groups = self.rows(0, len(table)).select(["file", "group"]).to_pylist()
        self._ends = np.concatenate([[0], np.cumsum(table["rows"].to_numpy())])
        # Chunks are smaller than row groups, and several threads read neighbouring ones.
        self._last: deque[tuple[int, pa.Table]] = deque(maxlen=2)
        self._lock = threading.Lock()

    @classmethod
    def list(cls, place: Place) -> Iterator[pa.RecordBatch]:
        """Yield the row groups of each file, with the hash of its footer."""
        paths, kind = parquet_files(place.path), None
        described = Containers.described(paths)
        for number, path in enumerate(paths):
            file = parquet(path)
            if not file.metadata.num_rows:  # its types say nothing
                continue
            own = _check(place, path, file)
            if kind is not None and own != kind:
                raise UserError(
                    f"images={path}: its ids are {_WORD[own]}, and those of {paths[0].name} {_WORD[kind]}; "
                    "use one type"
                )
            kind = own
            groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            filled = [group for group, rows in enumerate(groups) if rows]
            n = len(filled)
            if n:
                columns = {
                    "file": pa.array([number] * n, pa.int32()),
                    "group": pa.array(filled, pa.int32()),
                    "rows": pa.array([groups[group] for group in filled], pa.int64()),
                    "footer": pa.array([_footer(path)] * n, pa.string()),
                    "integers": pa.array([kind] * n, pa.bool_()),
                }
                yield pa.record_batch(columns, metadata=described)

    @classmethod
    def settings(cls, place: Place) -> dict[str, Any]:
        """Return the names of the columns, which decide what is read."""
        columns = place.columns
        return {"columns": [columns.id, columns.image, columns.ra, columns.dec]}

    @classmethod
    def are_integers(cls, place: Place, table: pa.Table, scratch: Path) -> bool:
        """Tell whether the ids are integers of 64 bits, by their type."""
        return bool(table["integers"][0].as_py())

    @classmethod
    def nothing(cls) -> str:
        """Say that there are no rows."""
        return "it has no rows"

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, start: int, stop: int) -> Sequence[Item]:
        """Return a range of the objects, with their images."""
        first = int(np.searchsorted(self._ends, start, side="right")) - 1
        columns, items = self.place.columns, list[Item]()
        while first < len(self.table) and self._ends[first] < stop:
            low, high = int(self._ends[first]), int(self._ends[first + 1])
            table = self._group(first).slice(max(start - low, 0), min(stop, high) - max(start, low))
            (batch,) = table.combine_chunks().to_batches()
            rows = checked_rows(self._paths[self._groups[first]["file"]], batch, columns, max(start - low, 0))
            images = table[columns.image].to_pylist()
            positions = (rows.ids.to_pylist(), rows.ra.tolist(), rows.dec.tolist())
            for own_id, east, north, image in zip(*positions, images, strict=True):
                if data := _bytes(image):
                    items.append(Item(own_id, east, north, data))
                else:
                    why = "the cell of the image is empty"
                    items.append(Item(own_id, east, north, status=Status.NO_IMAGE, reason=why))
            first += 1
        return items

    def _group(self, number: int) -> pa.Table:
        with self._lock:
            for known, table in self._last:
                if known == number:
                    return table
            self._last.append((number, self._read_group(number)))
            return self._last[-1][1]

    def _read_group(self, number: int) -> pa.Table:
        columns, row = self.place.columns, self._groups[number]
        path, group = self._paths[row["file"]], row["group"]
        file = parquet(path)
        wanted = chosen_columns(path, file.schema_arrow.names, columns, columns.image)
        try:
            return file.read_row_group(group, wanted)
        except Exception as error:  # Arrow's exceptions have no common base
            raise UserError(f"images={path}, row group {group}: {describe(error)}") from error


_WORD = {True: "integers", False: "texts"}


def _check(place: Place, path: Path, file: pq.ParquetFile) -> bool:
    """Read ids and positions of a file, and return whether the ids are integers of 64 bits.

    Raises
    ------
    UserError
        If a column is missing or has another type, a row is wrong, or a row group is too large for memory.
    """
    columns, schema = place.columns, file.schema_arrow
    wanted = chosen_columns(path, schema.names, columns, columns.image)
    kind = schema.field(columns.image).type
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    if not is_bytes and not (pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0):
        raise UserError(
            f"images={path}: column {columns.image!r} has the type {kind}; it needs the bytes of image files "
            "(a catalogue of files has no such column, and columns.image=NAME names another one)"
        )
    for group in range(file.num_row_groups):
        size = file.metadata.row_group(group).total_byte_size
        if size > LARGEST_GROUP:
            raise UserError(
                f"images={path}: row group {group} has {size / 1e9:.1f} GB, and two are held in memory; "
                "write the file with fewer rows in a group (row_group_size=1000)"
            )
    start, is_integer = 0, bool(pa.types.is_integer(schema.field(columns.id).type))
    for batch in file.iter_batches(columns=[name for name in wanted if name != columns.image]):
        is_integer = bool(pa.types.is_integer(checked_rows(path, batch, columns, start).ids.type))
        start += len(batch)
    return is_integer


def _footer(path: Path) -> str:
    """Return the hash of a Parquet file's footer: it has the sizes and ranges of the values, not these."""
    with path.open("rb") as file:
        file.seek(-8, 2)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-8 - length, 2)
        return hashlib.sha256(file.read(length)).hexdigest()


def _bytes(image: Any) -> bytes | None:
    """Return the bytes of a cell, which may be those of a data set on a model hub: {bytes, path}."""
    found = image.get("bytes") if isinstance(image, dict) else image
    return found or None
