"""Prepare a data set: run a source's chunks in parallel, survive interruption, seal the result.

Beside the data set ``<name>-<recipe8>/`` lie, while it is made, ``.<name>-<recipe8>.partial/`` (one file
a chunk: what is there is not made again) and a lock, which stays. Parts of an input that has changed
since belong to another recipe; an unfinished ``.partial`` folder can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import filelock
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergerexp.data.errors import DataError
from mergerexp.data.parts import make_parts, read_images, read_record
from mergerexp.data.progress import Progress
from mergerexp.data.sources import Problem, Source
from mergerexp.data.sources.factory import make_source
from mergerexp.data.store import META, save, write_problems

log = logging.getLogger(__name__)

SHOWN_PROBLEMS = 10


def prepare_dataset(cfg_data: Any, datasets_root: str | os.PathLike[str], progress: bool = True) -> Path:
    """Prepare the data set of a ``data`` config; see `prepare`."""
    source = make_source(cfg_data)
    return prepare(source, cfg_data.name, cfg_data.size, Path(datasets_root), cfg_data.workers, progress)


def prepare(
    source: Source, name: str, size: int, root: Path, workers: int | None = None, progress: bool = True
) -> Path:
    """Make a source's data set, unless it is there already.

    An interrupted preparation, even a killed one, continues where it stopped. Of several processes that
    prepare the same set, one works and the others wait.

    Parameters
    ----------
    source
        What makes the images.
    name
        Name of the data set.
    size
        Side of the images in pixels.
    root
        Folder of data sets.
    workers
        Number of processes; None: one a core.
    progress
        Show a progress bar on a terminal, log lines elsewhere.

    Returns
    -------
    Path
        ``root/<name>-<recipe8>``, a folder that `mergerexp.data.store.Dataset.open` reads.

    Raises
    ------
    DataError
        If inputs are unusable and `source.on_error` is "stop" (a CSV beside the data set lists them all),
        or if a class is left without objects.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise DataError(f"data.name={name!r} must be letters, digits, '.', '_' or '-': it names a folder")
    recipe = source.recipe()
    final = root / f"{name}-{_short_hash({'name': name, 'size': size, 'recipe': recipe})}"
    if _is_done(final):
        return final
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root / f".{final.name}.lock", final.name):
        if not _is_done(final):
            _prepare(source, recipe, name, size, final, workers or _usable_cores(), progress)
    return final


def _prepare(
    source: Source, recipe: dict[str, Any], name: str, size: int, final: Path, workers: int, progress: bool
) -> None:
    """Make what parts are missing, then the data set."""
    partial = final.with_name(f".{final.name}.partial")
    parts = _run(source, partial, size, workers, Progress, name) if progress else None
