"""Catalogues: tables in which each row names a file."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from mergerexp.config.survey_schema import SurveyColumns
from mergerexp.errors import UserError, describe
from mergerexp.survey.inputs import Item, Place
from mergerexp.survey.inputs.columns import checked_rows, chosen_columns, parquet
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
                reason = describe(error).splitlines()[0]  # astropy lists all formats behind it
                raise UserError(f"images={place.path} can't be read: {reason}") from error
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

    @classmethod
    def settings(cls, place: Place) -> dict[str, Any]:
        """Return where the files are, beside the catalogue."""
        return {"root": os.path.relpath(place.root or place.path.parent, place.path.parent)}

    def read(self, start: int, stop: int) -> Sequence[Item]:
        """Return a range of the objects, with the bytes of their files."""
        rows, root = self.rows(start, stop), self.place.root or self.place.path.parent
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
    ids, ra, dec = checked_rows(place.path, batch, place.columns, start)
    file = batch[place.columns.file]
    if pa.types.is_dictionary(file.type):
        file = file.dictionary_decode()
    return pa.record_batch({"id": ids, "file": file.cast(pa.string()), "ra": ra, "dec": dec})


def _batches(path: Path, columns: SurveyColumns) -> Iterator[pa.RecordBatch]:
    """Yield the columns of a catalogue in pieces, in which integers of 64 bits stay exact."""
    if path.suffix.lower() == ".parquet":
        file = parquet(path)
        names = chosen_columns(path, file.schema_arrow.names, columns, columns.file)
        yield from file.iter_batches(BATCH, columns=names)
    elif path.suffix.lower() == ".csv":
        yield from _read_csv(path, columns)
    else:
        yield from _read_astropy(path, columns).to_batches(BATCH)


def _read_csv(path: Path, columns: SurveyColumns) -> Iterator[pa.RecordBatch]:
    """Read ids and files as text, and positions as numbers."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        names = chosen_columns(path, next(filter(None, rows), []), columns, columns.file)
        if next(rows, None) is None:  # which Arrow can't read
            return
    types = {name: pa.float64() for name in (columns.ra, columns.dec)}
    types |= {columns.id: pa.string(), columns.file: pa.string()}
    options = pa.csv.ConvertOptions(column_types=types, include_columns=names)
    breaks = pa.csv.ParseOptions(
        newlines_in_values=True
    )  # inside of quotes, also in columns that are not read
    yield from pa.csv.open_csv(path, convert_options=options, parse_options=breaks)


def _read_astropy(path: Path, columns: SurveyColumns) -> pa.Table:
    """Read a FITS file or VOTable, which are small enough for memory: others are Parquet or CSV."""
    from astropy.table import Table  # takes seconds to import

    read = Table.read(path, format="votable" if path.suffix.lower() in (".vot", ".xml", ".votable") else None)
    arrays: dict[str, Any] = {}
    for name in chosen_columns(path, read.colnames, columns, columns.file):
        column = read[name]
        mask = np.asarray(getattr(column, "mask", np.zeros(len(read), dtype=bool)))
        values = np.asarray(column)
        if values.dtype.kind == "S":
            values = np.char.decode(values, "utf-8")
        native = values.astype(values.dtype.newbyteorder("=")) if values.dtype.kind in "iuf" else values
        arrays[name] = pa.array(native.tolist() if native.dtype.kind in "UO" else native, mask=mask)
    return pa.table(arrays)
