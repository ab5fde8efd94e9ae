"""Labelled image files, either in one folder for each class or listed with their labels in a CSV."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mergerexp.data.sources import Part, Problem
from mergerexp.data.sources.folder.labels import Columns, list_csv
from mergerexp.data.sources.folder.listing import Entry, is_within, list_folder, pick_positive
from mergerexp.data.sources.folder.stamp import DECODING, UnusableImage, make_stamp
from mergerexp.errors import DataError
from mergerexp.hashing import hash63

FILES_PER_CHUNK = 128
CHUNK_BYTES = 64_000_000  # the stamps of a chunk, which a worker holds twice
MAX_FILE_BYTES = 200_000_000  # twice the size of the largest image allowed without compression
# The catalogue has this prefix in front of the names of a CSV's further columns. No other column begins like
# this, so that they can't overwrite any.
CSV_PREFIX = "csv_"


@dataclass(frozen=True)
class FolderSource:
    """JPEG and PNG files with labels.

    Parameters
    ----------
    root
        The folder with exactly two class folders, or the one that the paths in the CSV are relative to.
    size
        The side of the stamps in pixels.
    csv
        The CSV of files and labels, relative to ``root`` or absolute; None if the folders are the classes.
    columns
        The names of the columns of the CSV.
    positive
        The class of the rare objects, which gets label 1; None for the choice of `pick_positive`.
    crop
        The fraction of the side of the central square that is kept.
    on_error
        What to do about unusable files: "stop" or "skip".
    link_roots
        The folders outside ``root`` that links, and paths in the CSV, may lead to.
    """

    root: Path
    size: int
    csv: str | None = None
    columns: Columns = field(default_factory=Columns)
    positive: str | None = None
    crop: float = 1.0
    on_error: str = "stop"
    link_roots: tuple[Path, ...] = ()

    @property
    def allowed(self) -> tuple[Path, ...]:
        """The folders that files may lie in, with links resolved."""
        return tuple(folder.resolve() for folder in (self.root, *self.link_roots))

    @cached_property
    def entries(self) -> list[Entry]:
        """All files, in the order of the catalogue.

        Raises
        ------
        DataError
            If the folders or the CSV are not as they should be.
        """
        if self.csv is None:
            return list_folder(self.root, self.allowed, self.positive)
        return list_csv(self.root, self.csv, self.columns)

    @cached_property
    def class_names(self) -> tuple[str, str]:
        """The names of label 0 and label 1 (the rare class)."""
        return pick_positive(self.root, self.entries, self.positive, self.csv)

    def recipe(self) -> dict[str, Any]:
        """Describe the content by the listing with the sizes and times of the files, which are not opened."""
        digest = hashlib.sha256()
        for entry in self.entries:
            try:
                status = os.stat(self.root / entry.file)  # noqa: PTH116 (twice as quick as Path.stat)
                stamp = [status.st_size, status.st_mtime_ns]
            except (OSError, ValueError):  # a missing file becomes a problem when it is to be read
                stamp = []
            described = (entry.file, entry.class_name, entry.objid, entry.group, entry.extra, stamp)
            digest.update(json.dumps(described).encode())
        return {
            "source": "folder",
            "class_names": list(self.class_names),
            "positive": self.class_names[1],
            "crop": self.crop,
            "decoding": DECODING,
            "link_roots": [str(folder) for folder in self.allowed[1:]],
            "files": len(self.entries),
            "listing": digest.hexdigest(),
        }

    def chunks(self) -> Sequence[list[Entry]]:
        """Return the files in chunks of 128, or of fewer where their stamps are large."""
        step = max(1, min(FILES_PER_CHUNK, CHUNK_BYTES // (3 * self.size**2)))
        return [self.entries[start : start + step] for start in range(0, len(self.entries), step)]

    def inputs(self, chunk: list[Entry]) -> int:
        """Return the number of files of a chunk."""
        return len(chunk)

    def make(self, chunk: list[Entry]) -> Part:
        """Decode one chunk of files.

        Raises
        ------
        DataError
            If the machine has no memory left.
        """
        images, rows, problems = [], [], []
        allowed = self.allowed
        for entry in chunk:
            try:
                data = _read(self.root, allowed, entry)
                image, (width, height) = make_stamp(data, self.size, self.crop)
            except UnusableImage as error:
                problems.append(Problem(entry.file, str(error)))
                continue
            except MemoryError as error:
                raise DataError(
                    f"no memory was left to decode {entry.file}; prepare again with fewer data.workers"
                ) from error
            images.append(image)
            rows.append(
                {
                    "objid": entry.objid,
                    "label": self.class_names.index(entry.class_name),
                    "group": hash63(data) if entry.group is None else entry.group,
                    "content": hash63(data),
                    "file": entry.file,
                    "width": width,
                    "height": height,
                    **{f"{CSV_PREFIX}{name}": value for name, value in entry.extra.items()},
                }
            )
        stamps = np.stack(images) if images else np.empty((0, self.size, self.size, 3), dtype=np.uint8)
        return Part(stamps, rows, problems)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the listing, since a worker gets the chunks that it works on."""
        class_names = self.class_names
        state = {name: value for name, value in vars(self).items() if name != "entries"}
        return {**state, "class_names": class_names}


def _read(root: Path, allowed: Sequence[Path], entry: Entry) -> bytes:
    """Read a file that lies within the allowed folders."""
    if entry.problem:
        raise UnusableImage(entry.problem)
    try:
        entry.file.encode()
        path = (root / entry.file).resolve()
        if not is_within(path, allowed):
            raise UnusableImage(f"outside data.root: copy it there, or set data.link_roots=[{path.parent}]")
        if not path.exists():
            raise UnusableImage("missing: no such file")
        if not path.is_file():
            raise UnusableImage("not a file")
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            raise UnusableImage(f"too large: {size / 1e6:.0f} MB, at most {MAX_FILE_BYTES / 1e6:.0f} MB")
        return path.read_bytes()
    except UnicodeEncodeError as error:
        raise UnusableImage("its name is not valid UTF-8: rename it") from error
    except (OSError, RuntimeError, ValueError) as error:  # permissions, loops of links, NUL in a name
        if isinstance(error, UnusableImage):
            raise
        raise UnusableImage(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
