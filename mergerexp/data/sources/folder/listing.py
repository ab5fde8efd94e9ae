"""The files of a folder or a CSV, with their labels, objids and groups; no image is opened.

Where no CSV gives objids, the objid of a file is the integer in its name, if no other file of the listing has
the same, and otherwise a hash of its path relative to the root. It is the same on every machine, and another
file can change it only if that has the same integer in its name. Integers of ten digits and more are taken
for identifiers of a survey, so that two files with the same one show the same object, and are refused.
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from mergerexp.errors import DataError, visible
from mergerexp.hashing import hash63

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
IGNORED_FILES = ("thumbs.db", "desktop.ini")
INT64_END = 2**63
SHOWN = 3  # files that a message names
SURVEY_DIGITS = 10  # names with this many digits identify an object, and shorter ones count files
PART = re.compile(  # the name of a part of a split, such as train, test_set or fold1
    r"(train|training|test|testing|val|valid|validation|dev|holdout|fold|split|part)"
    r"[ _-]?(set|data|images?|[0-9]+)?",
    re.IGNORECASE,
)
POSITIVE_OF = {  # the rare class, whatever its size, for some pairs of class names in lower case
    frozenset(("0", "1")): "1",
    frozenset(("-1", "1")): "1",
    frozenset(("false", "true")): "true",
    frozenset(("no", "yes")): "yes",
}
WHOLE_NUMBER = re.compile(r"([+-]?)0*([0-9]+)(\.0*)?")  # also 1.0, as tables of numbers write it


@dataclass(frozen=True)
class Entry:
    """One listed file.

    Attributes
    ----------
    file
        The path relative to the root, or an absolute one that a CSV names.
    class_name
        The name of the class.
    objid
        The identifier of the object; None if it is to be derived.
    group
        The group of the object; None if it is to be derived.
    extra
        The further columns of the CSV.
    problem
        The reason why the file cannot be used, if that is known already.
    """

    file: str
    class_name: str
    objid: int | None = None
    group: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None


def is_within(path: Path, folders: Sequence[Path]) -> bool:
    """Return whether a path lies within one of some folders, all with links resolved."""
    return any(path.is_relative_to(folder) for folder in folders)


def list_folder(root: Path, allowed: Sequence[Path] = (), positive: str | None = None) -> list[Entry]:
    """List the files of the two class folders in a folder, sorted by path.

    If all folders in it have names such as train, test_set or fold1, and each holds the same two class
    folders, these are the classes, and their files are pooled.

    Parameters
    ----------
    root
        The folder.
    allowed
        The folders outside it, with links resolved, that a class folder may be a link into.
    positive
        The user's choice of the rare class. If it is a folder in ``root``, the folders there are the classes.

    Raises
    ------
    DataError
        If ``root`` is not a folder, does not have exactly two class folders, leaves open which folders are
        the classes, or has a class folder that cannot be read or is a link to another place.
    """
    if not root.is_dir():
        raise DataError(f"data.root={root} is not a folder")
    folders, strays = _split_listing(root, "")
    class_folders = {folder: folder for folder in folders}
    if not _is_among(positive, folders):
        called_parts = folders and all(PART.fullmatch(folder) for folder in folders)
        if called_parts or _is_among(positive, inner := _same_below(root, folders)):
            class_folders = _pooled(root, folders, strays)
        else:
            _refuse_parts(root, folders, inner)
    classes = sorted(set(class_folders.values()))
    if len(classes) != 2:
        found = f"{len(classes)}: {', '.join(classes)}" if classes else "none"
        raise DataError(f"data.root={root} needs exactly two class folders, and has {found}")
    entries = [Entry(file, "", problem="in no class folder: move it into one") for file in strays]
    for folder, class_name in class_folders.items():
        _check_link(root / folder, (root.resolve(), *allowed))
        entries += [_entry(file, class_name) for file in _walk(root / folder, folder)]
    return with_objids(sorted(entries, key=lambda entry: entry.file))


def pick_positive(
    root: Path, entries: Sequence[Entry], positive: str | None, csv: str | None = None
) -> tuple[str, str]:
    """Decide which class is the rare one, which gets label 1.

    Parameters
    ----------
    root
        The folder, for the messages.
    entries
        The listing.
    positive
        The user's choice. If it is None, the rare class is 1 of 0 and 1 or of -1 and 1, true of false and
        true, yes of no and yes, and the class with fewer files of any others.
    csv
        The name of the CSV that has the listing, for the messages; None if it is that of folders.

    Returns
    -------
    tuple of str
        The names of label 0 and label 1.

    Raises
    ------
    DataError
        If there are not two classes, their names differ only in case, both have equally many files, or
        ``positive`` is neither of them.
    """
    counts = Counter(entry.class_name for entry in entries if not entry.problem)
    shown = ", ".join(f"{name} ({n})" for name, n in sorted(counts.items())) or "none"
    if len(counts) != 2:
        kinds = ", ".join(IMAGE_SUFFIXES)
        who = f"{root} must have images ({kinds})" if csv is None else f"{root / csv} must list images"
        raise DataError(f"{who} of exactly two classes, found: {shown}{_left_out(entries)}")
    by_name = {whole(name).lower(): name for name in counts}
    if len(by_name) != 2:
        raise DataError(f"{root} has two classes whose names mean the same: {shown}; give them one name")
    if positive is not None and positive not in counts:
        if whole(positive).lower() not in by_name:
            raise DataError(f"data.positive={positive!r} is not a class of {root}; its classes: {shown}")
        positive = by_name[whole(positive).lower()]
    if positive is None and frozenset(by_name) in POSITIVE_OF:
        positive = by_name[POSITIVE_OF[frozenset(by_name)]]
    if positive is None:
        (common, n_common), (rare, n_rare) = counts.most_common()
        if n_common == n_rare:
            raise DataError(
                f"both classes of {root} have as many files: {shown}; name the rare one with data.positive"
            )
        return common, rare
    negative = next(name for name in counts if name != positive)
    return negative, positive


def _left_out(entries: Sequence[Entry]) -> str:
    """Return the end of a message that tells which files of a listing cannot be used, and why."""
    problems = [f"{visible(entry.file)}, {entry.problem}" for entry in entries if entry.problem]
    if not problems:
        return ""
    more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return f"; left out: {'; '.join([*problems[:SHOWN], *more])}"


def with_objids(entries: list[Entry]) -> list[Entry]:
    """Derive the objids from the names or paths of files, as the module's docstring describes."""
    numbers = Counter(_number_of(entry) for entry in entries if not entry.problem)

    def objid(entry: Entry) -> int:
        number = _number_of(entry)
        if number is not None and (numbers[number] == 1 or number >= 10 ** (SURVEY_DIGITS - 1)):
            return number
        return hash63(entry.file.encode("utf-8", "surrogateescape"))

    return [entry if entry.problem else replace(entry, objid=objid(entry)) for entry in entries]


def _number_of(entry: Entry) -> int | None:
    """Return the integer that is the name of a file, or None if there is none that fits an int64."""
    stem = PurePosixPath(entry.file).stem
    is_number = stem.isascii() and stem.isdigit() and len(stem) < 20 and int(stem) < INT64_END
    return int(stem) if is_number else None


def whole(text: str) -> str:
    """Return a whole number in one notation (``1.0``, ``01`` and ``+1`` are 1), and other text unchanged."""
    match = WHOLE_NUMBER.fullmatch(text)
    if match is None:
        return text
    return f"-{match[2]}" if match[1] == "-" and match[2] != "0" else match[2]


def _split_listing(root: Path, prefix: str) -> tuple[list[str], list[str]]:
    """Return the folders and the images in a folder, both sorted."""
    with _listed(root / prefix) as items:
        shown = [item for item in items if not item.name.startswith(".")]
    folders = [f"{prefix}{item.name}" for item in shown if item.is_dir()]
    images = [item.name for item in shown if not item.is_dir() and item.name.lower().endswith(IMAGE_SUFFIXES)]
    return sorted(folders), sorted(f"{prefix}{name}" for name in images)


def _pooled(root: Path, splits: Sequence[str], strays: list[str]) -> dict[str, str]:
    """Return the class of each class folder in the parts, and add images beside them to ``strays``."""
    class_folders: dict[str, str] = {}
    found: set[tuple[str, ...]] = set()
    for split in splits:
        folders, images = _split_listing(root, f"{split}/")
        strays += images
        class_folders |= {folder: PurePosixPath(folder).name for folder in folders}
        found.add(tuple(class_folders[folder] for folder in folders))
    if len(found) != 1 or len(found.pop()) != 2:
        raise DataError(
            f"data.root={root}: {', '.join(splits)} are parts of a split, not classes. Put the same two "
            "class folders into each, or only the two class folders into data.root"
        )
    if len(splits) > 1:
        log.warning("%s: %s are pooled, since the study makes its own folds", root, ", ".join(splits))
    return class_folders


def _is_among(positive: str | None, names: Sequence[str]) -> bool:
    """Return whether the user's choice of the rare class is one of some names."""
    return positive is not None and whole(positive).lower() in {whole(name).lower() for name in names}


def _same_below(root: Path, folders: Sequence[str]) -> tuple[str, ...]:
    """Return the names of two folders, if several folders each hold these two and no image beside them."""
    below = [_split_listing(root, f"{folder}/") for folder in folders]
    inner = {tuple(PurePosixPath(name).name for name in names) for names, images in below if not images}
    if len(folders) < 2 or len(inner) != 1 or any(images for _, images in below):
        return ()
    return names if len(names := inner.pop()) == 2 else ()


def _refuse_parts(root: Path, folders: Sequence[str], inner: Sequence[str]) -> None:
    """Refuse folders that may be parts of a data set rather than classes."""
    parts = [folder for folder in folders if PART.fullmatch(folder)] if len(folders) > 1 else []
    settle = "If they are the classes, name the rare one with data.positive"
    if parts:
        have = "has the name of a part" if len(parts) == 1 else "have the names of parts"
        others = ", ".join(folder for folder in folders if folder not in parts)
        raise DataError(
            f"data.root={root}: {', '.join(parts)} {have} of a data set, unlike {others}. "
            f"{settle}; otherwise set data.root to a folder with only the two class folders"
        )
    if inner:
        raise DataError(
            f"data.root={root}: {', '.join(folders)} hold no images but the same two folders each, "
            f"{' and '.join(inner)}, so that either may be the classes. Name the folder of the rare class "
            "with data.positive"
        )


def _check_link(folder: Path, allowed: Sequence[Path]) -> None:
    """Refuse a class folder that is a link to a place where files may not lie, with a single message."""
    target = folder.resolve()
    if not is_within(target, allowed):
        raise DataError(f"{folder} is a link to {target}, outside data.root; set data.link_roots=[{target}]")


@contextmanager
def _listed(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
    """Scan a folder, and raise a DataError that names it if it cannot be read."""
    try:
        with os.scandir(folder) as items:
            yield items
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror or error}") from error


def _walk(folder: Path, prefix: str) -> Iterator[str]:
    """Yield the paths of all files below a folder, without following links to folders."""
    with _listed(folder) as items:
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
