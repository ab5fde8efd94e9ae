"""The columns of tables of objects: ids that stay exact, positions, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mergerexp.config.survey_schema import SurveyColumns
from mergerexp.errors import UserError, describe


class Rows(NamedTuple):
    """The ids of some rows, integers of 64 bits or texts, and their positions, NaN where not known."""

    ids: pa.Array
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]


def checked_rows(path: Path, batch: pa.RecordBatch, columns: SurveyColumns, start: int) -> Rows:
    """Return the ids and positions of some rows.

    Parameters
    ----------
    path
        The file, for messages.
    batch
        The rows, with a column of ids, and with two of positions or none.
    columns
        The names of the columns.
    start
        The number of the first row.

    Raises
    ------
    UserError
        If an id is empty or neither an integer nor a text, or a position is none; the message names the row.
    """
    ids = _ids(path, columns.id, batch.column(columns.id))
    empty = pc.is_null(ids) if pa.types.is_integer(ids.type) else pc.equal(pc.fill_null(ids, ""), "")
    if (row := pc.index(empty, True).as_py()) >= 0:
        raise UserError(f"images={path}, row {start + row + 1}: column {columns.id!r} is empty")
    positions = []
    for name, limit in ((columns.ra, 360.0), (columns.dec, 90.0)):
        if name not in batch.schema.names:
            positions.append(np.full(len(batch), np.nan))
            continue
        kind = batch.schema.field(name).type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
            raise UserError(f"images={path}: column {name!r} has the type {kind}; positions are degrees")
        degrees = batch.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False)
        if (wrong := np.abs(degrees) > limit).any():
            row = int(wrong.argmax())
            raise UserError(
                f"images={path}, row {start + row + 1}: {name}={degrees[row]:g} is no position in degrees"
            )
        positions.append(degrees)
    return Rows(ids, *positions)


def _ids(path: Path, name: str, ids: pa.Array) -> pa.Array:
    """Return ids as integers of 64 bits with a sign, or as texts, which those of uint64 become."""
    if pa.types.is_dictionary(ids.type):
        ids = ids.dictionary_decode()
    if is_int64_type(ids.type):
        return ids.cast(pa.int64())
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_uint64)
    if any(is_one(ids.type) for is_one in texts):
        return ids.cast(pa.string())
    raise UserError(f"images={path}: column {name!r} has the type {ids.type}; ids are integers or texts")


def is_int64_type(kind: pa.DataType) -> bool:
    """Tell whether all values of a type are integers of 64 bits with a sign."""
    return bool(pa.types.is_integer(kind) and not pa.types.is_uint64(kind))


def has_column(path: Path, name: str) -> bool:
    """Tell whether a Parquet file has a column."""
    return name in parquet(path).schema_arrow.names


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


def chosen_columns(path: Path, names: Sequence[str], columns: SurveyColumns, image: str) -> list[str]:
    """Return the names of the columns that are read, of those that a table has.

    Parameters
    ----------
    path
        The table, for messages.
    names
        The columns that it has.
    columns
        The names of the columns.
    image
        The column with the images, or with their files.

    Raises
    ------
    UserError
        If a column is missing that is needed or was named, or one of the two of a position.
    """
    usual = SurveyColumns()
    named = [name for name, own in ((columns.ra, usual.ra), (columns.dec, usual.dec)) if name != own]
    positions = [name for name in (columns.ra, columns.dec) if name in names]
    needed = [columns.id, image, *named, *([columns.ra, columns.dec] if positions else [])]
    if twice := [name for name in needed if names.count(name) > 1]:
        raise UserError(f"images={path} has several columns {twice[0]!r}; rename all but one")
    for name in (columns.ra, columns.dec):
        alike = [other for other in names if other.lower() == name.lower()]
        if alike and name not in names:
            raise UserError(
                f"images={path} has a column {alike[0]!r}; columns.ra and columns.dec name positions"
            )
    if missing := [name for name in needed if name not in names]:
        has = f"its columns are {', '.join(names)}" if names else "it is empty"
        raise UserError(
            f"images={path} has no column {missing[0]!r}; {has}, and columns.id, columns.file, "
            "columns.image, columns.ra and columns.dec say which are used"
        )
    return list(dict.fromkeys([columns.id, image, *positions]))
