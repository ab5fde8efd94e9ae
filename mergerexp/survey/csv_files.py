"""Compressed CSV files of a catalogue, written in pieces; their bytes depend on the rows alone."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from mergerexp.frames import FORMULA


class CsvGz:
    """A compressed CSV file.

    Parameters
    ----------
    path
        The file.
    names
        The columns, in their order.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self._names, self._has_header = list(names), True
        self._file = path.open("wb")
        # No name and no time of change in its header, which would be those of this writing.
        self._packed = gzip.GzipFile("", "wb", compresslevel=6, fileobj=self._file, mtime=0)

    def write(self, table: pa.Table) -> None:
        """Write rows; text that a spreadsheet would take for a formula has an apostrophe in front."""
        chosen = table.select(self._names)
        for at, field in enumerate(chosen.schema):
            if pa.types.is_string(field.type):
                is_formula = pc.match_substring_regex(chosen[at], FORMULA)
                quoted = pc.binary_join_element_wise("'", chosen[at], "")
                chosen = chosen.set_column(at, field.name, pc.if_else(is_formula, quoted, chosen[at]))
        options = pyarrow.csv.WriteOptions(include_header=self._has_header)
        pyarrow.csv.write_csv(chosen, self._packed, options)
        self._has_header = False

    def close(self) -> None:
        """Complete the file."""
        self._packed.close()
        self._file.close()
