"""The files that a CSV names, with their labels, objids, groups and its other columns."""

from __future__ import annotations

import csv
import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from mergerexp.data.sources.folder.listing import INT64_END, Entry, whole, with_objids
from mergerexp.errors import DataError, short
from mergerexp.settings import setting

MISSING = ("", "nan", "na", "n/a", "<na>", "none", "null")
SHOWN_LINES = 5  # of those that list one file
INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
NUMBER = re.compile(
    r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(nan|inf|infinity)|", re.IGNORECASE
)


@dataclass(kw_only=True)
class Columns:
    """Names of the columns of data.csv.

    The objid or the group is derived if its name is None, or is the default and the CSV has no such column.
    """

    file: str = setting("column of the image files, relative to data.root", default="file")
    label: str = setting("column of the labels", default="label")
    objid: str | None = setting(
        "column of the objects' ids; where it is absent, file names give them", default="objid"
    )
    group: str | None = setting(
        "column of what must not straddle folds; where it is absent, image contents do", default="group"
    )


def list_csv(root: Path, csv_name: str, columns: Columns) -> list[Entry]:
    """List the files that a CSV names, in its order.

    Everything is read as text, so that objids stay exact.

    Raises
    ------
    DataError
        If the CSV is unreadable, lacks a column or has one for two purposes, or a line has no file, no label,
        a third class, or an objid that is not an integer.
    """
    path = root / csv_name
    header, lines = _read_csv(path)
    for key, column in (("file", columns.file), ("label", columns.label)):
        if column not in header:
            raise DataError(
                f"{path} has no column {column!r} (data.columns.{key}); its columns: {', '.join(header)}"
            )
    objid = _optional(path, header, "objid", columns.objid)
    group = _optional(path, header, "group", columns.group)
    used = {columns.file, columns.label, objid, group}
    if len(used - {None}) < sum(column is not None for column in (columns.file, columns.label, objid, group)):
        raise DataError(f"{path}: two of data.columns are the same column; each needs one of its own")
    # A column without a name is the index of a table, which was saved with it.
    others = [column for column in header if column and column not in used]

    rows = [row for _, row in lines]
    extras = {column: _typed([row[column] for row in rows]) for column in others}
    group_codes = _codes(path, lines, group) if group else None
    classes: list[str] = []
    listed: list[tuple[int, Entry]] = []
    for i, (line, row) in enumerate(lines):
        where = f"{path}, line {line}"
        if not row[columns.file]:
            raise DataError(f"{where}: column {columns.file!r} is empty")
        entry = Entry(
            _relative(root, row[columns.file]),
            _label(where, row[columns.label], classes),
            _integer(where, row[objid]) if objid else None,
            group_codes[whole(row[group])] if group and group_codes else None,
            {column: values[i] for column, values in extras.items()},
        )
        listed.append((line, entry))
    entries = _once(listed)
    return entries if objid else with_objids(entries)


def _once(listed: Sequence[tuple[int, Entry]]) -> list[Entry]:
    """Return an entry for each file, and one more for its further lines, with what is wrong with them.

    Parameters
    ----------
    listed
        The entry of each line of the CSV, with the number of the line.
    """
    places: dict[str, list[tuple[int, Entry]]] = {}
    for line, entry in listed:
        places.setdefault(entry.file, []).append((line, entry))
    entries: list[Entry] = []
    owners: dict[int, int] = {}  # the line of each objid
    for (line, entry), *further in places.values():
        if entry.objid is not None and (owner := owners.setdefault(entry.objid, line)) != line:
            problem = f"duplicate objid {entry.objid}: lines {owner} and {line} of the CSV have it"
            entry = replace(entry, problem=problem)
        if further:
            names = list(dict.fromkeys(each.class_name for each in (entry, *(other for _, other in further))))
            problem = _repeated([line, *(number for number, _ in further)])
            if len(names) > 1:  # nobody knows which of them is right
                entry = replace(entry, problem=f"{problem}, as {' and as '.join(names)}")
            else:
                entries.append(replace(further[0][1], problem=problem))
        entries.append(entry)
    return entries


def _repeated(lines: Sequence[int]) -> str:
    """Say in which lines of the CSV a file is listed."""
    times = "twice" if len(lines) == 2 else f"{len(lines)} times"
    shown = [*map(str, lines[:SHOWN_LINES]), *["others"] * (len(lines) > SHOWN_LINES)]
    return f"listed {times}, in lines {', '.join(shown[:-1])} and {shown[-1]} of the CSV"


def _relative(root: Path, file: str) -> str:
    """Return a path in a CSV relative to the root, so that objids do not depend on where the root lies."""
    path = PurePosixPath(os.path.normpath(file))
    for base in (Path(os.path.abspath(root)), root.resolve()):  # noqa: PTH100 (links stay as they are)
        if path.is_absolute() and path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    return path.as_posix()


def _read_csv(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read a CSV as text, and return its columns and the line number and the content of each row."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            header = list(reader.fieldnames)
            lines = [(reader.line_num, row) for row in reader]
    except UnicodeDecodeError as error:
        raise DataError(f"data.csv={path} cannot be read: {error}; save it as UTF-8") from error
    except csv.Error as error:
        raise DataError(f"data.csv={path} cannot be read after line {reader.line_num}: {error}") from error
    except OSError as error:
        raise DataError(f"data.csv={path} cannot be read: {error}") from error
    if len(header) == 1 and (marks := [mark for mark in ";\t|" if mark in header[0]]):
        raise DataError(f"{path}: its columns are separated by {marks[0]!r}; save it with commas")
    if not lines:
        raise DataError(f"data.csv={path} has no rows")
    repeated = [name for name, n in Counter(header).items() if name and n > 1]
    if repeated:
        raise DataError(f"{path} has several columns {repeated[0]!r}: give each another name")
    for line, row in lines:
        if None in row or None in row.values():
            raise DataError(f"{path}, line {line}: it needs {len(header)} fields, like the first line")
    return header, [(line, {key: value.strip() for key, value in row.items()}) for line, row in lines]


def _optional(path: Path, header: Sequence[str], name: str, column: str | None) -> str | None:
    """Return the column, or None if it is absent and its name is only the default."""
    if column is None or column in header:
        return column
    if column == name:
        return None
    raise DataError(
        f"{path} has no column {column!r} (data.columns.{name}); its columns: {', '.join(header)}"
    )


def _label(where: str, text: str, classes: list[str]) -> str:
    """Return the class that a label stands for, and add it to ``classes`` if it is new."""
    if text.lower() in MISSING:
        raise DataError(f"{where}: label {text!r} is empty; every row needs a class")
    if not text.isprintable():
        raise DataError(f"{where}: label {short(text)!r} has a character that can't be seen; remove it")
    text = whole(text)
    if text not in classes:
        if len(classes) == 2:
            raise DataError(
                f"{where}: label {short(text)!r} is a third class, beside {short(classes[0])!r} and "
                f"{short(classes[1])!r}"
            )
        classes.append(text)
    return text


def _integer(where: str, text: str) -> int:
    if not INTEGER.fullmatch(text) or not -INT64_END <= int(text) < INT64_END:
        raise DataError(
            f"{where}: objid {short(text)!r} is not a 64-bit integer (did a spreadsheet round it?)"
        )
    return int(text)


def _codes(path: Path, lines: Sequence[tuple[int, dict[str, str]]], column: str) -> dict[str, int]:
    """Return a number for each group, in the order of their names."""
    for line, row in lines:
        if row[column].lower() in MISSING:
            raise DataError(f"{path}, line {line}: group {row[column]!r} is empty; name one for every row")
    return {name: code for code, name in enumerate(sorted({whole(row[column]) for _, row in lines}))}


def _typed(texts: list[str]) -> list[Any]:
    """Convert a column to integers or numbers (NaN where it is empty) if that loses nothing."""
    if any(re.match(r"[+-]?(0[0-9]|[0-9]{20})", text) for text in texts):  # codes rather than numbers
        return texts
    integers = [int(text) for text in texts if INTEGER.fullmatch(text)]
    if len(integers) == len(texts):
        return integers if all(-INT64_END <= number < INT64_END for number in integers) else texts
    if not all(NUMBER.fullmatch(text) for text in texts) or any(abs(number) > 2**53 for number in integers):
        return texts
    numbers = [float(text or "nan") for text in texts]
    overflows = any(math.isinf(x) and text[-1].isdigit() for x, text in zip(numbers, texts, strict=True))
    return texts if overflows else numbers
