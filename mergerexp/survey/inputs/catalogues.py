"""Catalogues: tables in which each row names a file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from mergerexp.config.survey_schema import SurveyColumns
from mergerexp.errors import DataError, UserError
from mergerexp.survey.inputs import Item, Place
from mergerexp.survey.inputs.columns import checked_rows, chosen_columns
from mergerexp.survey.inputs.files import read_file
from mergerexp.survey.inputs.listing import ListedInput, as_int64
from mergerexp.survey.statuses import Status
from mergerexp.table_files import column_names, is_csv, pieces_of


class Catalogue(ListedInput):
    """A table in which each row names a file: CSV, Parquet, FITS or VOTable."""

    kind = "catalogue"

    @classmethod
    def list(cls, place: Place) -> Iterator[pa.RecordBatch]:
        """Yield ids, as integers of 64 bits or texts, files and positions."""
        start = 0
        try:
            for batch in _batches(place.path, place.columns):
                rows = _rows(place, batch, start)
                start += len(rows)
                if len(rows):
                    yield rows
        except DataError as error:
            raise UserError(f"images={error}") from error

    @classmethod
    def are_integers(cls, place: Place, table: pa.Table, scratch: Path) -> bool:
        """Tell whether the ids are integers of 64 bits, by their type or, in a CSV file, by their texts."""
        if pa.types.is_integer(table["id"].type):
            return True
        return is_csv(place.path) and all(as_int64(piece) is not None for piece in table["id"].chunks)

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
    """Yield the columns of a catalogue in pieces: in a CSV file, ids and files are texts."""
    names = chosen_columns(path, column_names(path), columns, columns.file)
    types = {name: pa.float64() for name in (columns.ra, columns.dec)}
    types |= {columns.id: pa.string(), columns.file: pa.string()}
    yield from pieces_of(path, names, types)
