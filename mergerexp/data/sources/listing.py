"""Which files a folder or a CSV names, with their labels, objids and groups; no image is opened."""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from mergerexp.errors import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
IGNORED_FILES = ("thumbs.db", "desktop.ini")
INT64_END = 2**63
MISSING_LABELS = ("", "nan", "na", "n/a", "none", "null")
OWN_COLUMNS = ("objid", "label", "group", "file", "width", "height")  # what FolderSource puts into rows


@dataclass(frozen=True)
class Columns:
    """Names of a CSV's columns; None, or an absent default name: derive objid or group."""

    file: str = "file"
    label: str = "label"
    objid: str | None = "objid"
    group: str | None = "group"


@dataclass(frozen=True)
class Entry:
    """One listed file.

    Attributes
    ----------
    file
        Path relative to the root (or absolute, if a CSV says so).
    class_name
        Its class.
    objid, group
        None: to be derived.
    extra
        Further columns of the CSV.
    problem
        Why it cannot be used, if that is known already.
    """

    file: str
    class_name: str
    objid: int | None = None
    group: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None


def list_folder(root: Path) -> list[Entry]:
    """List the files of the two class folders under `root`, sorted by path.

    Raises
    ------
    DataError
        If `root` is no folder, or has not exactly two class folders.
    """
    if not root.is_dir():
        raise DataError(f"data.root={root} is not a folder")
    classes, entries = [], []
    with os.scandir(root) as items:
        for item in items:
            if item.name.startswith("."):
                continue
            if item.is_dir():
                classes.append(item.name)
            elif item.name.lower().endswith(IMAGE_SUFFIXES):
                entries.append(Entry(item.name, "", problem="in no class folder: move it into one"))
    if len(classes) != 2:
        found = ", ".join(sorted(classes)) or "none"
        raise DataError(f"data.root={root} needs exactly two class folders, found {len(classes)}: {found}")
    for class_name in classes:
        entries += [_entry(file, class_name) for file in _walk(root / class_name, class_name)]
    return with_objids(sorted(entries, key=lambda entry: entry.file))


def list_csv(root: Path, csv_name: str, columns: Columns) -> list[Entry]:
    """List the files that a CSV names, in its order. Everything is read as text: objids stay exact.

    Raises
    ------
    DataError
        If the CSV is unreadable or lacks a column, or a line has no file, no label, a third class or an
        objid that is not an integer.
    """
    path = root / csv_name
    header, lines = _read_csv(path)
    for setting, column in (("file", columns.file), ("label", columns.label)):
        if column not in header:
            raise DataError(
                f"{path} has no column {column!r} (data.columns.{setting}); its columns: {', '.join(header)}"
            )
    objid = _optional(path, header, "objid", columns.objid)
    group = _optional(path, header, "group", columns.group)
    used = {columns.file, columns.label, objid, group}
    # A column without a name is a table's index that was saved along.
    others = [column for column in header if column and column not in {*used, *OWN_COLUMNS}]

    rows = [row for _, row in lines]
    extras = {column: _typed([row[column] for row in rows]) for column in others}
    group_codes = _codes(path, lines, group) if group else None
    classes: list[str] = []
    entries = []
    for i, (line, row) in enumerate(lines):
        where = f"{path}, line {line}"
        if not row[columns.file]:
            raise DataError(f"{where}: column {columns.file!r} is empty")
        entries.append(
            Entry(
                # posix, normalised: the same image gets the same name and objid wherever it lies
                PurePosixPath(os.path.normpath(row[columns.file])).as_posix(),
                _label(where, row[columns.label], classes),
                _integer(where, row[objid]) if objid else None,
                group_codes[row[group]] if group and group_codes else None,
                {column: values[i] for column, values in extras.items()},
            )
        )
    return entries if objid else with_objids(entries)


def pick_positive(root: Path, entries: Sequence[Entry], positive: str | None) -> tuple[str, str]:
    """Decide which class is the rare one, label 1.

    Parameters
    ----------
    root
        For the messages.
    entries
        The listing.
    positive
        The user's choice; None: class "1" of "0" and "1", else the class with fewer files.

    Returns
    -------
    tuple of str
        Names of label 0 and label 1.

    Raises
    ------
    DataError
        If there are not two classes, both have as many files, or `positive` is neither.
    """
    counts = Counter(entry.class_name for entry in entries if not entry.problem)
    shown = ", ".join(f"{name} ({n})" for name, n in sorted(counts.items())) or "none"
    if len(counts) != 2:
        raise DataError(f"{root} must have images of exactly two classes, found: {shown}")
    if positive is not None and positive not in counts:
        raise DataError(f"data.positive={positive!r} is not a class of {root}; its classes: {shown}")
    if positive is None and set(counts) == {"0", "1"}:
        positive = "1"
    if positive is None:
        (common, n_common), (rare, n_rare) = counts.most_common()
        if n_common == n_rare:
            raise DataError(
                f"both classes of {root} have as many files: {shown}; say which with data.positive"
            )
        return common, rare
    negative = next(name for name in counts if name != positive)
    return negative, positive


def with_objids(entries: list[Entry]) -> list[Entry]:
    """Derive objids: the files' stems if all are 63-bit integers, else hashes of the paths."""
    usable = [entry for entry in entries if not entry.problem]
    stems = [PurePosixPath(entry.file).stem for entry in usable]
    numeric = all(stem.isascii() and stem.isdigit() and int(stem) < INT64_END for stem in stems)

    def objid(entry: Entry) -> int:
        if numeric:
            return int(PurePosixPath(entry.file).stem)
        return hash63(entry.file.encode("utf-8", "surrogateescape"))

    return [entry if entry.problem else replace(entry, objid=objid(entry)) for entry in entries]


def hash63(data: bytes) -> int:
    """Hash bytes to 63 bits, the same everywhere: fits an int64."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") >> 1


def _walk(folder: Path, prefix: str) -> Iterator[str]:
    """Yield the paths of all files below a folder, without following links to folders."""
    with os.scandir(folder) as items:
        for item in items:
            if item.name.startswith(".") or item.name.lower() in IGNORED_FILES:
                continue
            if item.is_dir(follow_symlinks=False):
                yield from _walk(folder / item.name, f"{prefix}/{item.name}")
            else:
                yield f"{prefix}/{item.name}"


def _entry(file: str, class_name: str) -> Entry:
    is_image = file.lower().endswith(IMAGE_SUFFIXES)
    return Entry(file, class_name, problem=None if is_image else "not an image (neither .jpg nor .png)")


def _read_csv(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read a CSV as text: its columns, and (line, row) of each row."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            header = list(reader.fieldnames or ())
            lines = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"data.csv={path} cannot be read: {error}") from error
    if not lines:
        raise DataError(f"data.csv={path} has no rows")
    for line, row in lines:
        if None in row or None in row.values():
            raise DataError(f"{path}, line {line}: not {len(header)} fields, as the first line has")
    return header, [(line, {key: value.strip() for key, value in row.items()}) for line, row in lines]


def _optional(path: Path, header: Sequence[str], name: str, column: str | None) -> str | None:
    """Resolve a column that may be left out if its name was not chosen by the user."""
    if column is None or column in header:
        return column
    if column == name:
        return None
    raise DataError(
        f"{path} has no column {column!r} (data.columns.{name}); its columns: {', '.join(header)}"
    )


def _label(where: str, text: str, classes: list[str]) -> str:
    """Check a label, noting each new class in `classes`."""
    if text.lower() in MISSING_LABELS:
        raise DataError(f"{where}: label {text!r} is empty; every row needs a class")
    if text not in classes:
        if len(classes) == 2:
            raise DataError(
                f"{where}: label {text!r} is a third class, beside {classes[0]!r} and {classes[1]!r}"
            )
        classes.append(text)
    return text


def _integer(where: str, text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]+", text) or not -INT64_END <= int(text) < INT64_END:
        raise DataError(f"{where}: objid {text!r} is not a 64-bit integer (did a spreadsheet round it?)")
    return int(text)


def _codes(path: Path, lines: Sequence[tuple[int, dict[str, str]]], column: str) -> dict[str, int]:
    """Give the groups, whatever they are called, numbers in the order of their names."""
    for line, row in lines:
        if row[column].lower() in MISSING_LABELS:
            raise DataError(f"{path}, line {line}: group {row[column]!r} is empty; name one for every row")
    return {name: code for code, name in enumerate(sorted({row[column] for _, row in lines}))}


def _typed(texts: list[str]) -> list[Any]:
    """Make a column integers if all of it is, else numbers (empty: NaN), else leave it as text."""
    if all(re.fullmatch(r"[+-]?[0-9]{1,18}", text) for text in texts):
        return [int(text) for text in texts]
    try:
        return [float(text or "nan") for text in texts]
    except ValueError:
        return texts
