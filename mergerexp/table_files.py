"""Reading columns of tables (CSV, Parquet, FITS, VOTable) piece by piece, with ids that stay exact."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from mergerexp.errors import DataError, describe

BATCH = 65_536  # rows that are read at once
TRUE = ["1", "1.0", "true", "True", "TRUE", "T", "yes"]
FALSE = ["0", "0.0", "false", "False", "FALSE", "F", "no"]
VOTABLES = (".vot", ".votable", ".xml")


def is_csv(path: Path) -> bool:
    """Tell whether a table is a CSV file, by its name."""
    return path.suffix.lower() == ".csv" or path.name.lower().endswith(".csv.gz")


def column_names(path: Path) -> list[str]:
    """Return the names of a table's columns.

    Raises
    ------
    DataError
        If the file can't be read.
    """
    try:
        if path.suffix.lower() == ".parquet":
            return list(pq.ParquetFile(path).schema_arrow.names)
        if is_csv(path):
            return _csv_header(path)
        return list(_astropy(path).colnames)
    except Exception as error:  # as in `pieces_of`
        raise _unreadable(path, error) from error


def read_columns(
    path: Path, numbers: Collection[str], texts: Collection[str], flags: Collection[str] = ()
) -> Iterator[pa.RecordBatch]:
    """Yield columns of a table in pieces.

    Parameters
    ----------
    path
        The table.
    numbers
        Columns of numbers, which become 64-bit floats, with nulls where there is none.
    texts
        Columns of integers or texts, which become texts.
    flags
        Columns of truth values, as such, as numbers or as words, which become 64-bit floats, too.

    Raises
    ------
    DataError
        If the file can't be read, or a cell is no number; the message names its row and column.
    """
    names = list(dict.fromkeys([*texts, *numbers, *flags]))
    kinds = {name: pa.string() if name in texts else pa.float64() for name in names}
    kinds |= {name: pa.bool_() for name in flags}
    start = 0
    for piece in pieces_of(path, names, kinds):
        arrays = [_as(piece.column(name), kinds[name], path, name, start) for name in names]
        start += len(piece)
        yield pa.record_batch(arrays, names=names)


def pieces_of(path: Path, names: Sequence[str], kinds: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    """Yield columns of a table in pieces, with the types that they have there.

    Parameters
    ----------
    path
        The table.
    names
        The columns.
    kinds
        Their types in a CSV file, which has none.

    Raises
    ------
    DataError
        If the file can't be read, or a cell of a CSV file is no number; the message names its row and column.
    """
    try:
        if path.suffix.lower() == ".parquet":
            with pq.ParquetFile(path) as file:
                # One row group after another: an iteration over all keeps what it has read until its end.
                for group in range(file.num_row_groups):
                    yield from file.iter_batches(BATCH, row_groups=[group], columns=list(names))
        elif is_csv(path):
            yield from _csv(path, names, kinds)
        else:
            table = _astropy(path)
            columns = {name: _native(path, name, table[name]) for name in names}
            yield from pa.table(columns).to_batches(BATCH)
    except DataError:
        raise
    except Exception as error:  # the exceptions of Arrow and astropy have no common base
        raise _wrong_cell(path, names, kinds) or _unreadable(path, error) from error


def _as(column: pa.Array, kind: pa.DataType, path: Path, name: str, start: int) -> pa.Array:
    """Return a column as texts or 64-bit floats."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(kind) and pa.types.is_floating(column.type):
        values = column.to_numpy(zero_copy_only=False)
        if (wrong := ~np.isnan(values) & ((values != np.floor(values)) | (np.abs(values) > 2**53))).any():
            raise DataError(
                f"{path}, row {start + int(wrong.argmax()) + 1}: column {name!r} has {values[wrong][0]:g}, "
                "which is neither an integer of 64 bits nor a text"
            )
        column = pa.array(values, from_pandas=True).cast(pa.int64())
    if pa.types.is_boolean(kind):
        kind = pa.float64()
    if pa.types.is_boolean(column.type) and pa.types.is_floating(kind):
        column = column.cast(pa.int8())
    try:
        return column.cast(kind)
    except pa.ArrowInvalid:
        for row, cell in enumerate(column.to_pylist()):
            try:
                pa.scalar(cell, column.type).cast(kind)
            except pa.ArrowInvalid:
                raise DataError(
                    f"{path}, row {start + row + 1}: column {name!r} has {cell!r}, which is no number"
                ) from None
        raise


def _csv_header(path: Path) -> list[str]:
    return next(_csv_lines(path), [])


def _csv_lines(path: Path) -> Iterator[list[str]]:
    """Yield the lines of a CSV file that are not empty."""
    with pa.input_stream(str(path), compression="detect") as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
        yield from filter(None, csv.reader(text))


def _csv(path: Path, names: Sequence[str], kinds: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    if next(itertools.islice(_csv_lines(path), 1, None), None) is None:  # which Arrow can't read
        return
    options = pa.csv.ConvertOptions(
        column_types=kinds, include_columns=list(names), true_values=TRUE, false_values=FALSE
    )
    # Line breaks may stand inside of quotes, also in columns that are not read.
    breaks = pa.csv.ParseOptions(newlines_in_values=True)
    with pa.input_stream(str(path), compression="detect") as raw:
        yield from pa.csv.open_csv(raw, convert_options=options, parse_options=breaks)


def _wrong_cell(path: Path, names: Sequence[str], kinds: Mapping[str, pa.DataType]) -> DataError | None:
    """Return an error that names the first cell of a CSV file that is no number; None if there is none."""
    if not is_csv(path):
        return None
    start = 0
    try:
        for piece in _csv(path, names, dict.fromkeys(names, pa.string())):
            for name in names:
                _as(piece.column(name), kinds[name], path, name, start)
            start += len(piece)
    except DataError as error:
        return error
    except Exception:  # the file has another fault
        return None
    return None


def _astropy(path: Path) -> Any:
    from astropy.table import Table  # takes seconds to import

    return Table.read(path, format="votable" if path.suffix.lower() in VOTABLES else None)


def _native(path: Path, name: str, column: Any) -> pa.Array:
    """Return a column of astropy's: FITS has another byte order, and texts as bytes.

    A table of one row whose cells are lists, as IDL writes structures, is a table of their entries.
    """
    values, mask = np.asarray(column), np.asarray(getattr(column, "mask", False))
    if values.ndim == 2 and len(values) == 1:
        values, mask = values[0], mask[0] if mask.ndim == 2 else mask
    if values.ndim != 1:
        raise DataError(f"{path}: column {name!r} has several values in each row")
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    if values.dtype.kind in "iufb":
        native = values.astype(values.dtype.newbyteorder("="))
        return pa.array(native, mask=np.broadcast_to(mask, native.shape).copy())
    hidden = np.broadcast_to(mask, values.shape).tolist()
    cells = zip(values.tolist(), hidden, strict=True)
    return pa.array([None if is_hidden else str(value).strip() for value, is_hidden in cells], pa.string())


def _unreadable(path: Path, error: Exception) -> DataError:
    if isinstance(error, UnicodeDecodeError):
        return DataError(f"{path} can't be read: it is not in UTF-8; write it again in this encoding")
    # astropy lists all formats behind its first line
    return DataError(
        f"{path} can't be read: {describe(error).splitlines()[0]}; tables are CSV (.csv, .csv.gz), Parquet "
        "(.parquet), FITS and VOTable"
    )
