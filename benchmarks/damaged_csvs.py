"""Lists of images as CSVs, and functions that damage them or write them in other ways."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.damaged_images import flipped

FILES = 12  # the number of images that the CSVs list, with half of them in each class


def table(rng: random.Random) -> list[list[str]]:
    """Return a right table of the images, in which some of the optional columns are left out."""
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
    """Return a CSV with one value of a column changed, or of the last column if there is no such column."""
    at = rows[0].index(column) if column in rows[0] else -1
    rng.choice(rows[1:])[at] = rng.choice(values)
    return _text(rows)


def _spliced(rng: random.Random, rows: list[list[str]], part: bytes, drop: int = 0) -> bytes:
    data = _text(rows)
    at = rng.randrange(len(data))
    return data[:at] + part + data[at + drop :]


def _with_column(rng: random.Random, rows: list[list[str]]) -> bytes:
    """Return a CSV with another column of equal values, whose name has a meaning or is there already."""
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
