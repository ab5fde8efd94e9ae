"""Merge made-up parts of 10⁶ and 10⁷ rows: time and memory, and the same answers as DuckDB's.

    python -m benchmarks.merge_survey [--rows 1000000 10000000] [--folder /tmp/merge] [--texts]

The parts are made first. Each merge is a process of its own, whose peak memory the system tells. DuckDB reads
the same parts: the rows whose id another row stands for, and both ends of p_best.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from mergerexp.config.compose import compose_cell
from mergerexp.config.survey_schema import PredictConfig
from mergerexp.survey.catalogue import NAME, CatalogueWriter
from mergerexp.survey.parts import Parts
from tests.survey.made_up import BITS, PART, RANK, ratings

LISTED = 100


class MadeUpModel:
    """What the merge asks of a model folder."""

    folds, class_names, model_id = (0, 1), ("merger", "other"), "made-up"
    about = {"data": {"prevalence": 0.2}}  # noqa: RUF012


def parts_of(folder: Path, rows: int) -> Parts:
    """Return the parts of a survey of so many rows."""
    return Parts(folder / "parts", "made-up", rows, 64, PART // 64)


def make(folder: Path, rows: int, texts: bool) -> None:
    """Write the parts, in which one id of a thousand occurs again."""
    parts, rng = parts_of(folder, rows), np.random.default_rng(1)
    parts.folder.mkdir(parents=True)
    for number in range(len(parts)):
        start, n = number * PART, parts.rows(number)
        ids = np.arange(start, start + n) + 2**60
        again = rng.random(n) < 0.001
        ids[again] = rng.integers(0, start + 1, again.sum()) + 2**60
        given = np.array([f"J{each}" for each in ids.tolist()], dtype=object) if texts else ids
        parts.write(number, [ratings(rng, given)])


def peak_mb() -> float:
    """Return the most memory that this process has held (Linux); `getrusage` would count its parent's too."""
    (line,) = [
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    ]
    return int(line.split()[1]) / 1024


def merge(folder: Path, rows: int, texts: bool) -> dict:
    """Merge the parts in this process; return time, peak memory and the size of the files."""
    given = ["model_folder=none", "images=none", f"listed={LISTED}", "prevalence=0.02"]
    cfg = compose_cell("predict", given, PredictConfig)
    writer = CatalogueWriter(cfg, MadeUpModel(), parts_of(folder, rows), not texts)  # type: ignore[arg-type]
    before, started = peak_mb(), time.perf_counter()
    merged = writer.write(folder)
    return {
        "seconds": time.perf_counter() - started,
        "before_mb": before,
        "peak_mb": peak_mb(),
        "files_mb": sum(file.stat().st_size for file in merged.files) / 1e6,
        "parts_mb": sum(file.stat().st_size for file in (folder / "parts").iterdir()) / 1e6,
        "counts": merged.counts,
    }


def ask(query: str) -> list[tuple[Any, ...]]:
    """Return DuckDB's answer."""
    import duckdb

    relation = duckdb.sql(query)
    assert relation is not None
    return relation.fetchall()


def compare(folder: Path) -> None:
    """Ask DuckDB for what the merge found, and stop where the answers differ."""
    files = f"read_parquet('{folder}/parts/*.parquet', file_row_number=true, filename=true)"
    number = f"row_number() over (partition by objid order by {RANK}, filename, file_row_number)"
    any_bits = "bit_or(own) over (partition by objid)"
    again = f"(select *, {number} as n, {BITS} as own, own <> {any_bits} as apart from {files})"
    expected = ask(f"select count(*) from {again} where n > 1")
    catalogue = f"read_parquet('{folder}/{NAME}.parquet', file_row_number=true)"
    found = ask(f"select count(*) from {catalogue} where status = 'duplicate id'")
    assert found == expected, (found, expected)
    for end, order in (("top", "desc"), ("bottom", "asc")):
        rows = ask(
            f"select objid from {again} where n = 1 and not apart and p_best is not null and "
            f"not in_training_set order by p_best {order}, p_logitmean {order}, filename, "
            f"file_row_number limit {LISTED}"
        )
        listed = (folder / f"{NAME}_{end}.csv").read_text().splitlines()[1:]
        assert [row.split(",")[0] for row in listed] == [str(own_id) for (own_id,) in rows], end
    print(f"  DuckDB agrees: {found[0][0]} ids that occur again, and the {LISTED} highest and lowest p_best")


def main() -> None:
    """Measure each number of rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10**6, 10**7])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "merge_survey")
    parser.add_argument("--texts", action="store_true", help="ids are texts instead of integers")
    parser.add_argument("--merge", type=int, help=argparse.SUPPRESS)  # in a process of its own
    args = parser.parse_args()
    if args.merge:
        print(json.dumps(merge(args.folder, args.merge, args.texts)))
        return
    for rows in args.rows:
        folder = args.folder / str(rows)
        shutil.rmtree(folder, ignore_errors=True)
        make(folder, rows, args.texts)
        line = [sys.executable, __file__, "--folder", str(folder), "--merge", str(rows)]
        done = subprocess.run(
            [*line, *(["--texts"] if args.texts else [])], check=True, capture_output=True, text=True
        )
        said = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{rows} rows: {said['seconds']:.1f} s ({1e6 * said['seconds'] / rows:.2f} µs a row), "
            f"peak memory {said['peak_mb']:.0f} MB, of which {said['before_mb']:.0f} MB are the libraries, "
            f"parts {said['parts_mb']:.0f} MB, catalogue {said['files_mb']:.0f} MB"
        )
        compare(folder)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
