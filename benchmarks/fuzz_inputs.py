"""Damaged images and CSVs, given to `mergerexp.data.build.prepare`: what becomes of them.

python benchmarks/fuzz_inputs.py --images 2000 --csvs 600 --seed 0 [--real FOLDER]

named      refused, with a reason that names the file or the line
harmless   used, and what came out is what the undamaged image, or another reader of the CSV, gives
silent     used, and something else came out
traceback  an exception that is no `UserError`
hang       not done in a minute

The exit code is 1 if anything is silent but what `VALID` tells, or a traceback or a hang. Everything drawn
follows from the seed. The short version of this is ``tests/fuzz/test_inputs.py``.
"""

from __future__ import annotations

import argparse
import csv
import io
import multiprocessing
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.damaged_images import IMAGE_DAMAGE, flipped, is_jpeg, picture
from mergerexp.data.build import prepare
from mergerexp.data.sources.folder.source import FolderSource
from mergerexp.data.sources.folder.stamp import make_stamp
from mergerexp.data.store import Dataset
from mergerexp.errors import UserError

SIZE = 64
TIME_LIMIT = 60.0
BATCH = 100
HARMLESS_RMS = 3.0  # grey levels
OUTCOMES = ("named", "harmless", "silent", "traceback", "hang")
# Damage that can make another valid JPEG of one, which nobody can tell from what was meant: the format has
# no checksum. Nothing of this is true of a PNG.
VALID = ("a flipped bit in the pixels", "a flipped bit in the header", "a few other bytes in the pixels")


@dataclass
class Tally:
    """How often each kind of damage came out how, and examples of what is wrong."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, kind: str, outcome: str, detail: str = "") -> None:
        """Count one."""
        self.counts[kind, outcome] += 1
        expected = kind.startswith("JPEG") and kind.removeprefix("JPEG, ") in VALID
        if outcome in ("traceback", "hang") or (outcome == "silent" and not expected):
            self.wrong.append(f"{kind}: {outcome}: {detail}")

    def table(self) -> str:
        """Lay the counts out, a line a kind."""
        kinds = sorted({kind for kind, _ in self.counts})
        lines = [f"{'':45}" + "".join(f"{outcome:>10}" for outcome in OUTCOMES)]
        for kind in [*kinds, "all"]:
            numbers = [
                sum(n for (own, how), n in self.counts.items() if how == outcome and kind in (own, "all"))
                for outcome in OUTCOMES
            ]
            lines.append(f"{kind:45}" + "".join(f"{number:10}" for number in numbers))
        return "\n".join(lines)


def fuzz_images(n: int, seed: int, pool: Prepares, folder: Path, real: Sequence[Path] = ()) -> Tally:
    """Prepare damaged images in batches, beside two that are whole, and look at what comes out."""
    rng, tally = random.Random(seed), Tally()
    for start in range(0, n, BATCH):
        batch: dict[str, tuple[str, bytes, bytes]] = {}
        root = folder / f"images{start}"
        for name in ("a", "b"):
            _write(root / name / "whole.png", _png(rng))
        for i in range(start, min(n, start + BATCH)):
            data = rng.choice(real).read_bytes() if real and i % 2 else picture(rng)
            form = "JPEG" if is_jpeg(data) else "PNG"
            kind = list(IMAGE_DAMAGE)[i % len(IMAGE_DAMAGE)]
            damaged = IMAGE_DAMAGE[kind](rng, data)
            name = f"{'ab'[i % 3 == 0]}/{i}.{form.lower()}".replace("jpeg", "jpg")
            _write(root / name, damaged)
            batch[name] = (f"{form}, {kind}", data, damaged)
        for name, (how, detail) in _outcomes(pool, root, batch).items():
            tally.add(batch[name][0], how, f"{name}: {detail}")
    return tally


def _outcomes(
    pool: Prepares, root: Path, batch: dict[str, tuple[str, bytes, bytes]]
) -> dict[str, tuple[str, str]]:
    """Prepare a folder; if that ends badly, prepare it again without all but one damaged file at a time."""
    how, detail = pool.prepare(root, {"on_error": "skip", "positive": "a"})
    if how in ("traceback", "hang", "named"):
        if len(batch) == 1:
            return dict.fromkeys(batch, (how, detail))
        outcomes: dict[str, tuple[str, str]] = {}
        for name in batch:
            alone = root.with_name(f"{root.name}-{Path(name).stem}")
            for file in ("a/whole.png", "b/whole.png", name):
                _write(alone / file, (root / file).read_bytes())
            outcomes |= _outcomes(pool, alone, {name: batch[name]})
        return outcomes
    dataset, problems = Dataset.open(detail), dict(_problems(Path(detail)))
    rows = {file: row for row, file in enumerate(dataset.catalogue["file"])}
    outcomes = {}
    for name, (_, data, _) in batch.items():
        if name in problems and name not in rows:
            outcomes[name] = ("named" if problems[name] else "silent", problems[name])
        elif name not in rows:
            outcomes[name] = ("silent", "neither used nor named")
        else:
            expected = make_stamp(data, SIZE, 1.0)[0].astype(float)
            rms = float(np.sqrt(np.mean((dataset.images[rows[name]] - expected) ** 2)))
            outcomes[name] = (
                "harmless" if rms <= HARMLESS_RMS else "silent",
                f"off by {rms:.1f} grey levels",
            )
    return outcomes


# --- CSVs --------------------------------------------------------------------------------------------

FILES = 12  # images that the CSVs list, half of them of either class


def table(rng: random.Random) -> list[list[str]]:
    """Make a right table of the images, with or without each of the columns that may be left out."""
    zero, one = rng.choice([("0", "1"), ("other", "merger"), ("0.0", "1.0"), ("False", "True")])
    columns: dict[str, list[str]] = {
        "file": [f"{'ab'[i % 2]}/{i}.png" for i in range(FILES)],
        "label": [one if i % 2 and i > 2 else zero for i in range(FILES)],
        "objid": [str(587722981741363000 + i) for i in range(FILES)],
        "group": [f"pair {i // 3}" for i in range(FILES)],
        "z": [f"{0.01 * i:.2f}" if i != 5 else "" for i in range(FILES)],
        "name": [f"M {i}, “é”" for i in range(FILES)],
    }
    for optional in ("objid", "group", "z", "name"):
        if rng.random() < 0.3:
            del columns[optional]
    return [list(columns), *map(list, zip(*columns.values(), strict=True))]


def _text(rows: Sequence[Sequence[str]], **options: Any) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, **options).writerows(rows)
    return buffer.getvalue().encode()


def _cell(rng: random.Random, rows: list[list[str]], column: str, values: Sequence[str]) -> bytes:
    """Change one value of a column, of the header's last column where there is no such column."""
    at = rows[0].index(column) if column in rows[0] else -1
    rng.choice(rows[1:])[at] = rng.choice(values)
    return _text(rows)


def _spliced(rng: random.Random, rows: list[list[str]], part: bytes, drop: int = 0) -> bytes:
    data = _text(rows)
    at = rng.randrange(len(data))
    return data[:at] + part + data[at + drop :]


def _with_column(rng: random.Random, rows: list[list[str]]) -> bytes:
    """Add a column with a name of ours, or one that is there already, of equal values."""
    name = rng.choice(
        ["content", "objid", "group", "width", "height", "file", "label", "", "z", " z", "csv_z"]
    )
    return _text([[*row, name if i == 0 else "7"] for i, row in enumerate(rows)])


def _shuffled(rng: random.Random, rows: list[list[str]]) -> bytes:
    order = rng.sample(range(len(rows[0])), len(rows[0]))
    return _text([[row[i] for i in order] for row in [rows[0], *rng.sample(rows[1:], FILES)]])


BAD_LABELS = ("", "nan", "NA", "2", "third", "1.0", "1", "0", " 1 ", "TRUE", "é", "-0", "1e0", "x" * 500)
BAD_OBJIDS = ("", "5.9e17", "1" * 30, "1" * 5000, "-7", "0x1f", "587722981741363001", "1.0", " 5", "+5", "٣")
BAD_FILES = ("", "../x.png", "/etc/passwd", "nowhere.png", "a", "b/1.png", "./b/../b/1.png", "\0", "a" * 5000)

CSV_DAMAGE: dict[str, Callable[[random.Random, list[list[str]]], bytes]] = {
    "cut": lambda rng, rows: _text(rows)[: rng.randrange(len(_text(rows)))],
    "a flipped bit": lambda rng, rows: flipped(_text(rows), rng.randrange(len(_text(rows))), rng),
    "bytes missing": lambda rng, rows: _spliced(rng, rows, b"", rng.choice([1, 3, 10, 40])),
    "something between": lambda rng, rows: _spliced(
        rng,
        rows,
        rng.choice([b'"', b",", b"\n", b"\r", b"\r\n\r\n", b"\0", b"\xe9", b'""', b";", bytes(200)]),
    ),
    "a label": lambda rng, rows: _cell(rng, rows, "label", BAD_LABELS),
    "an objid": lambda rng, rows: _cell(rng, rows, "objid", BAD_OBJIDS),
    "a group": lambda rng, rows: _cell(rng, rows, "group", ("", "nan", "7", "7.0", "pair 1", "é" * 50)),
    "a file": lambda rng, rows: _cell(rng, rows, "file", BAD_FILES),
    "another column": _with_column,
    "columns and rows shuffled": _shuffled,
    "a line twice": lambda rng, rows: _text([*rows, rng.choice(rows)]),
    "other separators": lambda rng, rows: _text(rows, delimiter=rng.choice(";\t|")),
    "other quotes": lambda rng, rows: _text(rows, quotechar="'", quoting=csv.QUOTE_ALL),
    "other line ends": lambda rng, rows: _text(rows, lineterminator=rng.choice(["\n", "\r", "\n\n", ",\n"])),
    "another encoding": lambda rng, rows: (
        _text(rows).decode().encode(rng.choice(["utf-16", "cp1252", "utf-8-sig", "utf-32"]), "replace")
    ),
}


def fuzz_csvs(n: int, seed: int, pool: Prepares, folder: Path) -> Tally:
    """Prepare CSVs, and compare each catalogue with what pandas reads in the same CSV."""
    rng, tally = random.Random(seed), Tally()
    root = folder / "listed"
    for i in range(FILES):
        _write(root / f"{'ab'[i % 2]}/{i}.png", _png(rng))
    for i in range(n):
        kind = list(CSV_DAMAGE)[i % len(CSV_DAMAGE)]
        _write(root / f"{i}.csv", data := CSV_DAMAGE[kind](rng, table(rng)))
        how, detail = pool.prepare(root, {"on_error": "skip", "csv": f"{i}.csv", "positive": None})
        if how == "done":
            difference = _difference(Path(detail), root, data)
            how, detail = ("silent", difference) if difference else ("harmless", "")
        tally.add(f"CSV, {kind}", how, f"{data!r:.1500}: {detail}")
    return tally


def _difference(path: Path, root: Path, data: bytes) -> str:
    """Tell what a data set says otherwise than its CSV, as pandas reads that; nothing if they agree."""
    dataset, problems = Dataset.open(path), _problems(path)
    try:
        read = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except ValueError as error:
        return f"pandas does not read it: {error}"
    read = read.map(str.strip).rename(columns=str.strip)
    read["file"] = [os.path.relpath(os.path.normpath(root / file), root) for file in read["file"]]
    used = dataset.catalogue
    if len(used) + len(problems) != len(read):
        return f"{len(used)} rows used and {len(problems)} named, of {len(read)}"
    # Of lines with the same file the first is used, and the others are named.
    given = read[read["file"].isin(used["file"])].drop_duplicates("file")
    if given["file"].tolist() != used["file"].tolist():
        return f"the files are {used['file'].tolist()}, not {given['file'].tolist()}"
    for i, (ours, listed) in enumerate(zip(used.to_dict("records"), given.to_dict("records"), strict=True)):
        made = dataset.class_names[ours["label"]]
        if made != listed["label"] and not _equal(made, listed["label"]):
            return f"row {i} has label {made}, not {listed['label']}"
        if "objid" in listed and ours["objid"] != int(listed["objid"]):
            return f"row {i} has objid {ours['objid']}, not {listed['objid']}"
        for name, text in listed.items():
            mine = ours.get(f"csv_{name}", text)
            if name not in ("file", "label", "objid", "group") and not (mine == text or _equal(mine, text)):
                return f"row {i} has {name} {mine!r}, not {text!r}"
        stamp = make_stamp((root / ours["file"]).read_bytes(), SIZE, 1.0)[0]
        if not np.array_equal(stamp, dataset.images[i]):
            return f"row {i} has another image than {ours['file']}"
    if "group" in given:
        theirs = [text.removesuffix(".0") for text in given["group"]]
        pairs = set(zip(theirs, used["group"], strict=True))
        if not len(pairs) == len(set(theirs)) == used["group"].nunique():
            return f"groups are {used['group'].tolist()}, not {theirs}"
    return ""


def _equal(mine: Any, text: Any) -> bool:
    try:
        return bool(float(mine) == float(text or "nan") or (text in ("", "nan") and np.isnan(mine)))
    except (TypeError, ValueError):
        return False


# --- running -----------------------------------------------------------------------------------------


class Prepares:
    """A process that prepares; replaced by a new one when it hangs or dies."""

    def __init__(self, sets: Path) -> None:
        self.sets = sets
        self.pool: Pool | None = None

    def prepare(self, root: Path, options: dict[str, Any]) -> tuple[str, str]:
        """Prepare a folder: ("done", the data set), ("named", a message), a traceback or a hang."""
        self.pool = self.pool or multiprocessing.get_context("spawn").Pool(1)
        try:
            return self.pool.apply_async(_prepare, (root, self.sets, options)).get(TIME_LIMIT)
        except multiprocessing.TimeoutError:
            self.close()
            return "hang", f"{TIME_LIMIT:.0f} s"

    def close(self) -> None:
        """End the process."""
        if self.pool:
            self.pool.terminate()
        self.pool = None


def _prepare(root: Path, sets: Path, options: dict[str, Any]) -> tuple[str, str]:
    try:
        return "done", str(
            prepare(FolderSource(root, SIZE, **options), "fuzz", SIZE, sets, 1, progress=False)
        )
    except UserError as error:
        return "named", str(error)
    except Exception:
        return "traceback", traceback.format_exc()


def _problems(path: Path) -> list[tuple[str, str]]:
    """Return file and reason of each input that was left out."""
    file = path / "problems.csv"
    if not file.exists():
        return []
    return [
        (row["file"], row["reason"]) for row in csv.DictReader(io.StringIO(file.read_text(encoding="utf-8")))
    ]


def _png(rng: random.Random) -> bytes:
    while not (data := picture(rng)).startswith(b"\x89PNG"):
        pass
    return data


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--csvs", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", type=Path, help="folder of JPEGs, every other image is taken from")
    args = parser.parse_args()
    real = sorted(args.real.rglob("*.jpg")) if args.real else []
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        pool = Prepares(Path(folder) / "sets")
        for name, fuzz in (
            ("images", lambda: fuzz_images(args.images, args.seed, pool, Path(folder), real)),
            ("CSVs", lambda: fuzz_csvs(args.csvs, args.seed, pool, Path(folder))),
        ):
            start = time.perf_counter()
            tally = fuzz()
            n = sum(tally.counts.values())
            print(f"{n} {name}, {time.perf_counter() - start:.0f} s\n{tally.table()}\n")
            wrong += tally.wrong
        pool.close()
    print("\n".join([f"{len(wrong)} silent though they could be told, tracebacks or hangs", *wrong]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
