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

from mergerexp.errors import UserError, describe
from mergerexp.survey.inputs import Item, Place, parquet_files
from mergerexp.survey.inputs.columns import (
    check_columns,
    check_ids,
    columns_of,
    has_integers,
    parquet,
)
from mergerexp.survey.inputs.listing import ListedInput
from mergerexp.survey.statuses import Status


class ImageTable(ListedInput):
    """Parquet files with an image in each row; what is listed are their row groups."""

    kind = "parquet"

    def __init__(self, place: Place, table: pa.Table, identity: dict[str, Any]) -> None:
        super().__init__(place, table, identity)
        self._paths = parquet_files(place.path)
        self._ends = np.concatenate([[0], np.cumsum(table["rows"].to_numpy())])
        # Chunks are smaller than row groups, and several threads read neighbouring ones.
        self._last: deque[tuple[int, pa.Table]] = deque(maxlen=2)
        self._lock = threading.Lock()

    @classmethod
    def list(cls, place: Place) -> Iterator[pa.RecordBatch]:
        """Yield the row groups of each file, with the hash of its footer."""
        columns, kinds = place.columns, set()
        for number, path in enumerate(parquet_files(place.path)):
            file = parquet(path)
            check_columns(path, file.schema_arrow.names, [columns.id, columns.image])
            kinds.add(has_integers(path, columns.id, file.schema_arrow.field(columns.id).type))
            if len(kinds) > 1:
                raise UserError(f"images={path}: its ids are integers or texts, unlike those of other files")
            check_ids(path, columns.id, (batch[0] for batch in file.iter_batches(columns=[columns.id])))
            groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            n = len(groups)
            if sum(groups):
                yield pa.record_batch(
                    {
                        "file": pa.array([number] * n, pa.int32()),
                        "group": pa.array(range(n), pa.int32()),
                        "rows": pa.array(groups, pa.int64()),
                        "footer": pa.array([_footer(path)] * n, pa.string()),
                        "integers": pa.array([*kinds] * n, pa.bool_()),
                    }
                )

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
            ids, ra, dec = columns_of(table, columns)
            images = table[columns.image].to_pylist()
            for own_id, east, north, image in zip(ids, ra.tolist(), dec.tolist(), images, strict=True):
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
        columns, row = self.place.columns, self.table.slice(number, 1).to_pylist()[0]
        path, group = self._paths[row["file"]], row["group"]
        wanted = [columns.id, columns.image, columns.ra, columns.dec]
        file = parquet(path)
        try:
            return file.read_row_group(group, [name for name in wanted if name in file.schema_arrow.names])
        except Exception as error:  # Arrow's exceptions have no common base
            raise UserError(f"images={path}, row group {group}: {describe(error)}") from error


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
