"""The parts that a survey is rated in: one Parquet file for each, complete or not there.

Which rows a part has depends on the input alone. Its bytes depend on these, the model and the settings, and
not on when or by how many processes they were made, so that a part is made again to the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mergerexp.errors import UserError, describe
from mergerexp.files import written

ROW_GROUP = 65_536  # rows, so that readers need not hold a part
AGAIN = "remove it, and the same command makes it"
WORK, NUMBER = b"mergerexp.work", b"mergerexp.part"  # the keys of a part's footer


@dataclass(frozen=True)
class Parts:
    """The parts of a survey.

    Attributes
    ----------
    folder
        The folder of the parts.
    work
        The hash of all that the ratings depend on.
    total
        The number of objects.
    chunk
        The number of stamps that are rated at once.
    chunks
        The number of chunks of a part.
    """

    folder: Path
    work: str
    total: int
    chunk: int
    chunks: int

    def __len__(self) -> int:
        return -(-self.total // (self.chunk * self.chunks))

    def path(self, number: int) -> Path:
        """Return the path of a part."""
        return self.folder / f"part-{number:06d}.parquet"

    def ranges(self, number: int) -> list[tuple[int, int]]:
        """Return the ranges of objects of the chunks of a part."""
        start = number * self.chunk * self.chunks
        stop = min(start + self.chunk * self.chunks, self.total)
        return [(low, min(low + self.chunk, stop)) for low in range(start, stop, self.chunk)]

    def rows(self, number: int) -> int:
        """Return the number of rows of a part."""
        ranges = self.ranges(number)
        return ranges[-1][1] - ranges[0][0]

    def is_done(self, number: int) -> bool:
        """Tell whether a part is there and whole; one that is not is made again."""
        try:
            self.check(number)
        except UserError:
            return False
        return True

    def check(self, number: int) -> pq.ParquetFile:
        """Open a part, and compare its footer with what it has to be.

        Raises
        ------
        UserError
            If it is missing, damaged, of other work or another part.
        """
        path = self.path(number)
        if not path.is_file():
            raise UserError(f"{path} is missing; the same command makes it")
        try:
            file = pq.ParquetFile(path, page_checksum_verification=True)
        except Exception as error:  # Arrow's exceptions have no common base
            raise UserError(f"{path} is damaged ({describe(error)}); {AGAIN}") from error
        metadata = file.schema_arrow.metadata or {}
        if metadata.get(WORK) != self.work.encode():
            raise UserError(f"{path} belongs to other work than this; {AGAIN}")
        if metadata.get(NUMBER) != str(number).encode() or file.metadata.num_rows != self.rows(number):
            raise UserError(f"{path} is another part under this name; {AGAIN}")
        return file

    def tables(self, number: int) -> Iterator[pa.Table]:
        """Yield the row groups of a part, whose pages are compared with their checksums.

        Raises
        ------
        UserError
            As `check` does, or if a page is damaged.
        """
        file = self.check(number)
        for group in range(file.num_row_groups):
            try:
                table = file.read_row_group(group)
            except Exception as error:  # Arrow's exceptions have no common base
                raise UserError(f"{self.path(number)} is damaged ({describe(error)}); {AGAIN}") from error
            yield table

    def write(self, number: int, tables: Sequence[pa.Table]) -> None:
        """Write a part, unless another process has completed it meanwhile: its bytes are the same.

        That process may have removed what is half written here, as what a killed process has left.
        """
        table = pa.concat_tables(tables)
        metadata = {WORK: self.work.encode(), NUMBER: str(number).encode()}
        try:
            with written(self.path(number)) as partial:
                write_parquet(partial, table.replace_schema_metadata(metadata))
        except FileNotFoundError:
            if not self.is_done(number):
                raise

    def strangers(self) -> list[Path]:
        """Return files in the folder that are no parts of this survey."""
        known = {self.path(number) for number in range(len(self))}
        return sorted(path for path in self.folder.glob("*.parquet") if path not in known)


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a Parquet file, with checksums of its pages, whose bytes depend on the table alone."""
    pq.write_table(table, path, row_group_size=ROW_GROUP, compression="zstd", write_page_checksum=True)
