"""Catalogues: tables in which each row names a file."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from mergerexp.config.survey_schema import SurveyColumns
from mergerexp.errors import UserError, describe
from mergerexp.survey.inputs import Item, Place
from mergerexp.survey.inputs.columns import check_columns, check_ids, columns_of, has_integers, parquet
from mergerexp.survey.inputs.files import read_file
from mergerexp.survey.inputs.listing import BATCH, ListedInput, as_int64
from mergerexp.survey.statuses import Status


class Catalogue(ListedInput):
    """A table in which each row names a file: CSV, Parquet, FITS or VOTable."""

    kind = "catalogue"

    @classmethod
    def list(cls, place: Place) -> Iterator[pa.RecordBatch]:
        """Yield ids, as integers of 64 bits or texts, files and positions."""
        start, batches = 0, _batches(place.path, place.columns)
        while True:
            try:
                batch = next(batches, None)
                rows = None if batch is None else _rows(place, batch, start)
            except UserError:
                raise
            except Exception as error:  # the exceptions of Arrow and astropy have no common base
                raise UserError(f"images={place.path} can't be read: {describe(error)}") from error
            if rows is None:
                return
            start += len(rows)
            if len(rows):
                yield rows

    @classmethod
    def are_integers(cls, place: Place, table: pa.Table, scratch: Path) -> bool:
        """Tell whether the ids are integers of 64 bits, by their type or, in a CSV file, by their texts."""
        if pa.types.is_integer(table["id"].type):
            return True
        is_csv = place.path.suffix.lower() == ".csv"
        return is_csv and all(as_int64(piece) is not None for piece in table["id"].chunks)

    @classmethod
    def nothing(cls) -> str:
        """Say that there are no rows."""
        return "it has no rows"

    def read(self, start: int, stop: int) -> Sequence[Item]:
        """Return a range of the objects, with the bytes of their files."""
        rows, root = self.table.slice(start, stop - start), self.place.root or self.place.path.parent
        ids = rows["id"]
        if self.has_integer_ids and not pa.types.is_integer(ids.type):  # of a CSV file
            ids = as_int64(ids)
        columns = [ids.to_pylist(), *(rows[name].to_pylist() for name in ("ra", "dec", "file"))]
        return [
            read_file(root / file, own_id, ra, dec)
            if file
            else Item(own_id, ra, dec, status=Status.NO_IMAGE, reason="the cell of the file is empty")
            for own_id, ra, dec, file in zip(*columns, strict=True)
        ]


def _rows(place: Place, batch: pa.RecordBatch, start: int) -> pa.RecordBatch:
    """Return the columns that are needed under names of our own, from a row on."""
    path, columns = place.path, place.columns
    check_columns(path, batch.schema.names, [columns.id, columns.file])
    integers = has_integers(path, columns.id, batch[columns.id].type)
    check_ids(path, columns.id, [batch[columns.id]], start)
    _, ra, dec = columns_of(batch, columns)
    return pa.record_batch(
        {
            "id": batch[columns.id].cast(pa.int64() if integers else pa.string()),
            "file": batch[columns.file].cast(pa.string()),
            "ra": ra,
            "dec": dec,
        }
    )


def _batches(path: Path, columns: SurveyColumns) -> Iterator[pa.RecordBatch]:
    """Yield the columns of a catalogue in pieces, in which integers of 64 bits stay exact."""
    wanted = [columns.id, columns.file, columns.ra, columns.dec]
    if path.suffix.lower() == ".parquet":
        file = parquet(path)
        names = [name for name in wanted if name in file.schema_arrow.names]
        yield from file.iter_batches(BATCH, columns=names)
    elif path.suffix.lower() == ".csv":
        yield from _read_csv(path, columns, wanted)
    else:
        yield from _read_astropy(path, wanted).to_batches(BATCH)


def _read_csv(path: Path, columns: SurveyColumns, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Read ids and files as text, and positions as numbers."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        names = next(csv.reader(file), [])
    check_columns(path, names, [columns.id, columns.file])
    types = {columns.id: pa.string(), columns.file: pa.string()}
    types |= {name: pa.float64() for name in (columns.ra, columns.dec)}
    options = pa.csv.ConvertOptions(
        column_types=types, include_columns=[name for name in wanted if name in names]
    )
    yield from pa.csv.open_csv(path, convert_options=options)


def _read_astropy(path: Path, wanted: Sequence[str]) -> pa.Table:
    """Read a FITS file or VOTable, which are small enough for memory: others are Parquet or CSV."""
    from astropy.table import Table  # takes seconds to import

    read = Table.read(path, format="votable" if path.suffix.lower() in (".vot", ".xml", ".votable") else None)
    arrays: dict[str, Any] = {}
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
