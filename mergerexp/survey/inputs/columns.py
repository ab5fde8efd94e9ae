"""The columns of tables of objects: ids that stay exact, positions, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mergerexp.config.survey_schema import SurveyColumns
from mergerexp.errors import UserError, describe


def has_column(path: Path, name: str) -> bool:
    """Tell whether a Parquet file has a column."""
    return name in parquet(path).schema_arrow.names


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


def has_integers(path: Path, name: str, kind: pa.DataType) -> bool:
    """Tell whether ids are integers of 64 bits with a sign, by their type.

    Raises
    ------
    UserError
        If they are neither integers nor texts.
    """
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not is_text and not pa.types.is_integer(kind):
        raise UserError(f"images={path}: column {name!r} has the type {kind}; ids are integers or texts")
    return is_int64_type(kind)


def check_ids(path: Path, name: str, pieces: Iterable[pa.Array], start: int = 0) -> None:
    """Refuse an empty id, which would be that of several objects.

    Parameters
    ----------
    path
        The file, for the message.
    name
        The name of the column.
    pieces
        The ids, in pieces.
    start
        The row of the first of them.

    Raises
    ------
    UserError
        If an id is missing or an empty text.
    """
    for ids in pieces:
        empty = pc.is_null(ids) if pa.types.is_integer(ids.type) else pc.equal(pc.fill_null(ids, ""), "")
        if (row := pc.index(empty, True).as_py()) >= 0:
            raise UserError(f"images={path}, row {start + row + 1}: column {name!r} is empty")
        start += len(ids)


def parquet(path: Path) -> pq.ParquetFile:
    """Open a Parquet file.

    Raises
    ------
    UserError
        If that can't be done.
    """
    try:
        return pq.ParquetFile(path)
    except Exception as error:  # Arrow's exceptions have no common base
        raise UserError(f"images={path} can't be read: {describe(error)}") from error


def check_columns(path: Path, names: Sequence[str], needed: Sequence[str]) -> None:
    """Refuse a table that lacks a column.

    Raises
    ------
    UserError
        With the names of the columns that it has.
    """
    if missing := [name for name in needed if name not in names]:
        raise UserError(
            f"images={path} has no column {missing[0]!r}; its columns are {', '.join(names)}, and "
            "columns.id, columns.file and columns.image say which are used"
        )
