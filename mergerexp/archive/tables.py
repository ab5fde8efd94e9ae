"""Tables of an archive by SQL, in chunks of redshift that are complete and are asked for once."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import requests

from mergerexp.archive.client import Client, Refused, Retry
from mergerexp.console import amount
from mergerexp.errors import DataError
from mergerexp.files import written

log = logging.getLogger(__name__)
ROW_CAP = 500_000  # rows that SkyServer gives at most
THINNEST = 1e-6  # of redshift, below which a chunk is not divided any more
NULLS = ("", "null", "NULL", "None")
COUNT = "n"  # the column of a COUNT(*)


@dataclass(frozen=True)
class Query:
    """A query for the rows between two redshifts.

    Attributes
    ----------
    columns
        What is selected, by the name that each column gets.
    texts
        The columns that are texts; the others are numbers.
    body
        The query from FROM on, in which {low} and {high} are the redshifts: low <= z < high.
    """

    columns: dict[str, str]
    texts: tuple[str, ...]
    body: str

    def rows(self, low: float, high: float) -> str:
        """Return the SQL that gives the rows."""
        selected = ", ".join(f"{what} AS {name}" for name, what in self.columns.items())
        return f"SELECT {selected} {self.between(low, high)}"

    def count(self, low: float, high: float) -> str:
        """Return the SQL that counts the rows."""
        return f"SELECT COUNT(*) AS {COUNT} {self.between(low, high)}"

    def between(self, low: float, high: float) -> str:
        """Return the part of the query that both have."""
        return self.body.format(low=f"{low:.6f}", high=f"{high:.6f}")

    @property
    def schema(self) -> pa.Schema:
        """The columns with their types."""
        return pa.schema(
            [(name, pa.string() if name in self.texts else pa.float64()) for name in self.columns]
        )


class Tables:
    """Asks an SQL service for tables, and keeps their chunks.

    Parameters
    ----------
    client
        The client.
    address
        The address of the service, which takes ``cmd`` and ``format``.
    folder
        The folder of the chunks.
    """

    def __init__(self, client: Client, address: str, folder: Path) -> None:
        self.client, self.address, self.folder = client, address, folder

    def chunks(self, name: str, query: Query, edges: Sequence[float]) -> Iterator[Path]:
        """Yield the files of all rows between the first and the last of some redshifts.

        Parameters
        ----------
        name
            The name of the table.
        query
            The query.
        edges
            The redshifts at which it is divided, rising.

        Raises
        ------
        DataError
            If the service does not answer, or its rows are not those that it counts.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for low, high in itertools.pairwise(edges):
            yield from self._chunk(name, query, low, high)

    def _chunk(self, name: str, query: Query, low: float, high: float) -> Iterator[Path]:
        key = hashlib.sha256(query.rows(low, high).encode()).hexdigest()[:12]
        path = self.folder / f"{name}_{low:.6f}_{high:.6f}_{key}.parquet"
        divided = path.with_suffix(".divided")
        if path.is_file():
            yield path
            return
        table, expected = None, 0
        for _ in range(
            0 if divided.is_file() else 2
        ):  # once more, if the rows are not those that are counted
            expected = self.count(query.count(low, high))
            if expected > ROW_CAP:
                break
            table = self._table(query, low, high) if expected else query.schema.empty_table()
            if len(table) == expected:
                break
        if table is None or len(table) != expected:
            middle = round((low + high) / 2, 6)
            if high - low < 2 * THINNEST or not low < middle < high:
                got = "none" if table is None else len(table)
                raise DataError(
                    f"{self.address}: {expected} rows of {name} at redshifts of {low:g} to {high:g} are "
                    f"counted, and {got} come"
                )
            divided.touch()
            yield from self._chunk(name, query, low, middle)
            yield from self._chunk(name, query, middle, high)
            return
        with written(path) as partial:
            pq.write_table(table, partial)
        log.info("%s at redshifts of %g to %g: %s", name, low, high, amount(expected, "row"))
        yield path

    def count(self, sql: str) -> int:
        """Return the number that a query counts."""
        table = self._ask(sql, pa.schema([(COUNT, pa.float64())]))
        return int(table[COUNT][0].as_py())

    def _table(self, query: Query, low: float, high: float) -> pa.Table:
        return self._ask(query.rows(low, high), query.schema)

    def _ask(self, sql: str, schema: pa.Schema) -> pa.Table:
        """Return the table of an answer, which has been checked to be one."""
        try:
            return self.client.get(
                self.address, {"cmd": sql, "format": "csv"}, lambda answer: read_csv(answer, schema)
            )
        except Refused as error:
            raise DataError(f"{self.address} refuses a query ({error}): {sql}") from error


def read_csv(answer: requests.Response, schema: pa.Schema) -> pa.Table:
    """Return the table of an answer that is a whole one, and no page that says what went wrong.

    Raises
    ------
    Retry
        If it is not.
    """
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind and not kind.startswith(
        ("text/csv", "text/plain", "application/csv", "application/octet-stream")
    ):
        raise Retry(f"an answer of the type {kind}")
    is_whole = "Content-Length" in answer.headers or "Transfer-Encoding" in answer.headers
    if not is_whole and not answer.content.endswith(b"\n"):
        raise Retry("a table that may be cut off in its last cell")
    try:
        return table_of(answer.content, schema)
    except (ValueError, csv.Error) as error:  # those of Arrow are ValueErrors, too
        raise Retry(str(error)) from error


def rows_of(body: bytes, columns: list[str]) -> list[list[str]]:
    """Return the rows of a CSV body, without the line that some releases put before its header.

    Raises
    ------
    ValueError
        If it is no table with these columns.
    """
    text = body.decode("utf-8-sig", errors="replace")
    if text.lstrip().startswith(("<", "{", "[")):
        raise ValueError(f"no table, but {text.split()[0][:40]!r}")
    lines = [line for line in csv.reader(io.StringIO(text)) if line]
    if lines and lines[0][0].startswith("#"):
        lines = lines[1:]
    header = [name.strip().lower() for name in lines[0]] if lines else []
    if header != [name.lower() for name in columns]:
        raise ValueError(f"no table with the columns {', '.join(columns)}, but {', '.join(header)[:60]!r}")
    if any(len(line) != len(columns) for line in lines[1:]):
        raise ValueError("a table that is cut off")
    return lines[1:]


def table_of(body: bytes, schema: pa.Schema) -> pa.Table:
    """Return the table of a CSV body.

    Raises
    ------
    ValueError
        If it is no table with these columns, or a cell is no number that should be one.
    """
    rows = rows_of(body, schema.names)
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = []
    for field, cells in zip(schema, columns, strict=True):
        array = pa.array([None if cell in NULLS else cell for cell in cells], pa.string())
        arrays.append(array if pa.types.is_string(field.type) else array.cast(field.type))
    return pa.Table.from_arrays(arrays, schema=schema)
