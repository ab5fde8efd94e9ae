"""Tables of objects: Parquet with the images in a column, or a catalogue with a column of files."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mergerexp.config.survey_schema import SurveyColumns
from mergerexp.errors import UserError, describe
from mergerexp.hashing import digest
from mergerexp.seals import sha256
from mergerexp.survey.inputs import Item
from mergerexp.survey.inputs.files import is_int64, read_file
from mergerexp.survey.statuses import Status


class ImageTable:
    """Parquet files with an image in each row.

    Parameters
    ----------
    paths
        The files, in their order.
    columns
        The names of the columns.
    id_system
        The name of the system of the ids.

    Raises
    ------
    UserError
        If a file is damaged or lacks a column.
    """

    def __init__(self, paths: Sequence[Path], columns: SurveyColumns, id_system: str) -> None:
        self.id_system, self._columns = id_system, columns
        self._groups: list[tuple[Path, int]] = []
        ends = [0]
        kinds = set()
        for path in paths:
            file = _parquet(path)
            _check_columns(path, file.schema_arrow.names, [columns.id, columns.image])
            kinds.add(_has_integers(path, columns.id, file.schema_arrow.field(columns.id).type))
            for group in range(file.num_row_groups):
                self._groups.append((path, group))
                ends.append(ends[-1] + file.metadata.row_group(group).num_rows)
            _check_ids(path, columns.id, (batch[0] for batch in file.iter_batches(columns=[columns.id])))
        if len(kinds) != 1 or ends[-1] == 0:
            raise UserError(f"images={paths[0]}: no rows, or integers and text as ids in different files")
        self._ends, self.has_integer_ids = np.array(ends), kinds.pop()
        self._paths = list(paths)
        # Chunks are smaller than row groups, and several threads read neighbouring ones.
        self._last: deque[tuple[int, pa.Table]] = deque(maxlen=2)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self._ends[-1])

    def identity(self) -> dict[str, Any]:
        """Return a hash of the hashes of the files."""
        return {"kind": "parquet", "files": digest([sha256(path) for path in self._paths])}

    def read(self, start: int, stop: int) -> Sequence[Item]:
        """Return a range of the objects, with their images."""
        first = int(np.searchsorted(self._ends, start, side="right")) - 1
        items: list[Item] = []
        while first < len(self._groups) and self._ends[first] < stop:
            low, high = int(self._ends[first]), int(self._ends[first + 1])
            table = self._group(first).slice(max(start - low, 0), min(stop, high) - max(start, low))
            ids, ra, dec = columns_of(table, self._columns)
            images = table[self._columns.image].to_pylist()
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
        path, group = self._groups[number]
        wanted = [self._columns.id, self._columns.image, self._columns.ra, self._columns.dec]
        file = _parquet(path)
        try:
            return file.read_row_group(group, [name for name in wanted if name in file.schema_arrow.names])
        except Exception as error:  # Arrow's exceptions have no common base
            raise UserError(f"images={path}, row group {group}: {describe(error)}") from error


class Catalogue:
    """A table in which each row names a file.

    Parameters
    ----------
    path
        CSV, Parquet, FITS or VOTable.
    columns
        The names of the columns.
    root
        The folder that the files are relative to.
    id_system
        The name of the system of the ids.

    Raises
    ------
    UserError
        If the table can't be read or lacks a column, or an id is empty.
    """

    def __init__(self, path: Path, columns: SurveyColumns, root: Path, id_system: str) -> None:
        self.id_system, self._path, self._root, self._columns = id_system, path, root, columns
        self._table = read_table(path, columns)
        _check_columns(path, self._table.column_names, [columns.id, columns.file])
        self.has_integer_ids = _has_integers(path, columns.id, self._table[columns.id].type)
        if not len(self):
            raise UserError(f"images={path}: it has no rows")
        _check_ids(path, columns.id, self._table[columns.id].chunks)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def identity(self) -> dict[str, Any]:
        """Return the hash of the table; the hash of each image is in the catalogue of ratings."""
        return {"kind": "catalogue", "file": sha256(self._path)}

    def read(self, start: int, stop: int) -> Sequence[Item]:
        """Return a range of the objects, with the bytes of their files."""
        table = self._table.slice(start, stop - start)
        ids, ra, dec = columns_of(table, self._columns)
        files = table[self._columns.file].to_pylist()
        return [
            read_file(self._root / str(file), own_id, east, north)
            if file not in (None, "")
            else Item(own_id, east, north, status=Status.NO_IMAGE, reason="the cell of the file is empty")
            for own_id, east, north, file in zip(ids, ra.tolist(), dec.tolist(), files, strict=True)
        ]


def has_column(path: Path, name: str) -> bool:
    """Tell whether a Parquet file has a column."""
    return name in _parquet(path).schema_arrow.names


def read_table(path: Path, columns: SurveyColumns) -> pa.Table:
    """Read the columns of a catalogue, in which integers of 64 bits stay exact.

    Raises
    ------
    UserError
        If it can't be read.
    """
    wanted = [columns.id, columns.file, columns.ra, columns.dec]
    try:
        if path.suffix.lower() == ".parquet":
            names = _parquet(path).schema_arrow.names
            return pq.read_table(path, columns=[name for name in wanted if name in names])
        if path.suffix.lower() == ".csv":
            return _with_integers(_read_csv(path, columns), columns.id)
        return _read_astropy(path, wanted)
    except UserError:
        raise
    except Exception as error:  # the exceptions of Arrow and astropy have no common base
        raise UserError(f"images={path} can't be read: {describe(error)}") from error


def _read_csv(path: Path, columns: SurveyColumns) -> pa.Table:
    """Read ids and files as text, and positions as numbers."""
    types = {columns.id: pa.string(), columns.file: pa.string()}
    types |= {name: pa.float64() for name in (columns.ra, columns.dec)}
    return pa.csv.read_csv(path, convert_options=pa.csv.ConvertOptions(column_types=types))


def _with_integers(table: pa.Table, name: str) -> pa.Table:
    """Convert the ids of a CSV to integers if all of them are, so that nothing is lost."""
    if name not in table.column_names:
        return table
    texts = table[name].to_pylist()
    if not texts or not all(text is not None and is_int64(text) for text in texts):
        return table
    numbers = pa.array([int(text) for text in texts], pa.int64())
    return table.set_column(table.column_names.index(name), name, numbers)


def _read_astropy(path: Path, wanted: Sequence[str]) -> pa.Table:
    from astropy.table import Table  # takes seconds to import

    read = Table.read(path, format="votable" if path.suffix.lower() in (".vot", ".xml", ".votable") else None)
    arrays = {}
    for name in wanted:
        if name in read.colnames:
            column = read[name]
            mask = np.asarray(getattr(column, "mask", np.zeros(len(read), dtype=bool)))
            values = np.asarray(column)
            if values.dtype.kind == "S":
                values = np.char.decode(values, "utf-8")
            native = values.astype(values.dtype.newbyteorder("=")) if values.dtype.kind in "iuf" else values
            arrays[name] = pa.array(native.tolist() if native.dtype.kind in "UO" else native, mask=mask)
    return pa.table(arrays)


def columns_of(
    table: pa.Table, columns: SurveyColumns
) -> tuple[list[Any], NDArray[np.float64], NDArray[np.float64]]:
    """Return the ids of a table, and its positions in degrees, NaN where they are not known."""
    positions = [
        table[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
        if name in table.column_names
        else np.full(table.num_rows, np.nan)
        for name in (columns.ra, columns.dec)
    ]
    ids = table[columns.id]
    if pa.types.is_integer(ids.type) and not is_int64_type(ids.type):
        ids = ids.cast(pa.string())
    return ids.to_pylist(), positions[0], positions[1]


def is_int64_type(kind: pa.DataType) -> bool:
    """Tell whether all values of a type are integers of 64 bits with a sign; uint64 ids become texts."""
    return bool(pa.types.is_integer(kind) and not pa.types.is_uint64(kind))


def _has_integers(path: Path, name: str, kind: pa.DataType) -> bool:
    """Tell whether ids are integers of 64 bits with a sign, and refuse what is neither integer nor text."""
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not is_text and not pa.types.is_integer(kind):
        raise UserError(f"images={path}: column {name!r} has the type {kind}; ids are integers or texts")
    return is_int64_type(kind)


def _check_ids(path: Path, name: str, pieces: Iterable[pa.Array]) -> None:
    """Refuse an empty id, which would be that of several objects."""
    start = 0
    for ids in pieces:
        empty = pc.is_null(ids) if pa.types.is_integer(ids.type) else pc.equal(pc.fill_null(ids, ""), "")
        if (row := pc.index(empty, True).as_py()) >= 0:
            raise UserError(f"images={path}, row {start + row + 1}: column {name!r} is empty")
        start += len(ids)


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except Exception as error:  # Arrow's exceptions have no common base
        raise UserError(f"images={path} can't be read: {describe(error)}") from error


def _check_columns(path: Path, names: Sequence[str], needed: Sequence[str]) -> None:
    if missing := [name for name in needed if name not in names]:
        raise UserError(
            f"images={path} has no column {missing[0]!r}; its columns are {', '.join(names)}, and "
            "columns.id, columns.file and columns.image say which are used"
        )


def _bytes(image: Any) -> bytes | None:
    """Return the bytes of a cell, which may be those of a data set on a model hub: {bytes, path}."""
    found = image.get("bytes") if isinstance(image, dict) else image
    return found or None
