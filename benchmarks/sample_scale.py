"""Time and memory of `mergerexp.sample` for catalogues of more and more galaxies.

    python -m benchmarks.sample_scale [--rows 100000 1000000 10000000]

The galaxies are those of mock surveys, one after another, in one Parquet file with their ratings. Each run is
a process of its own; its memory is the largest that it held at once.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.timed_command import timed_command
from mergerexp.analysis.mock_sample import MockSurvey

AREA = 8000.0  # square degrees of each mock survey
SETTINGS = [
    "catalogue=mock",
    "catalogue.mock.area=null",
    "catalogue.area=8000",
    "draws=19",
    "permutations=99",
]


def write_catalogue(path: Path, rows: int) -> None:
    """Write a catalogue of mock surveys, whose ids follow each other."""
    written = 0
    with pq.ParquetWriter(path, _schema()) as writer:
        while written < rows:
            random = np.random.default_rng([23, written])
            table = MockSurvey(paired=0.2).draw((0.02, 0.06), AREA, random).iloc[: rows - written]
            table = table.assign(objid=written + np.arange(len(table)))
            writer.write_table(pa.Table.from_pandas(table, _schema(), preserve_index=False))
            written += len(table)


def _schema() -> pa.Schema:
    few = MockSurvey().draw((0.02, 0.06), 100.0, np.random.default_rng(0))
    return pa.Schema.from_pandas(few, preserve_index=False).remove_metadata()


def measure(path: Path, root: Path) -> tuple[float, float]:
    """Make a sample of a catalogue, and return its seconds and the most memory that it took, in MB."""
    command = ["-m", "mergerexp.sample", f"catalogue.file={path}", *SETTINGS]
    took, memory = timed_command(command, {"MERGEREXP_ROOT": str(root)})
    return took, 1e3 * memory


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    args = parser.parse_args()
    for rows in args.rows:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "catalogue.parquet"
            write_catalogue(path, rows)
            took, memory = measure(path, Path(scratch))
            found = json.loads((Path(scratch) / "samples/mock/sample.json").read_text(encoding="utf-8"))
            assert sum(found["fates"].values()) == rows
            mergers = found["sizes"]["classified"]
            print(f"{rows:>11,} rows, {mergers:,} of them classified mergers: {took:.1f} s, {memory:.0f} MB")


if __name__ == "__main__":
    main()
