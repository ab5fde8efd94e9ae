"""Prepare a data set: process the chunks of a source in parallel, survive interruption, seal the result.

While the data set ``<name>-<recipe8>/`` is made, a folder ``.<name>-<recipe8>.partial/`` lies beside it, with
one file for each chunk that is finished, which is not made again; a lock file lies there too, and remains.
Inputs that have changed lead to another recipe, and so to other folders. An unfinished ``.partial`` folder
can be deleted at any time.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock
from numpy.typing import NDArray

from mergerexp.config.validate import check_file_name
from mergerexp.console import ProgressReport, amount
from mergerexp.cores import usable_cores
from mergerexp.data.parts import make_parts, read_images, read_record
from mergerexp.data.sources import Problem, Source, make_source
from mergerexp.data.store import META, PROBLEMS, Dataset, save, write_problems
from mergerexp.errors import DataError, UserError, visible
from mergerexp.files import is_locked, remove_partial
from mergerexp.hashing import digest
from mergerexp.seals import check_signed

log = logging.getLogger(__name__)

SHOWN_PROBLEMS = 10


def prepare_dataset(cfg_data: Any, datasets_root: str | os.PathLike[str], progress: bool = True) -> Path:
    """Prepare the data set of a ``data`` config, as `prepare` does."""
    source = make_source(cfg_data)
    return prepare(source, cfg_data.name, cfg_data.size, Path(datasets_root), cfg_data.workers, progress)


def prepare(
    source: Source, name: str, size: int, root: Path, workers: int | None = None, progress: bool = True
) -> Path:
    """Make the data set of a source, unless it exists already.

    An interrupted preparation, even a killed one, continues where it stopped. If several processes prepare
    the same data set, one of them works and the others wait.

    Parameters
    ----------
    source
        The source of the images.
    name
        The name of the data set.
    size
        The side of the images in pixels.
    root
        The folder of data sets.
    workers
        The number of processes; None for one per core.
    progress
        Whether to show a progress bar on a terminal, and log lines elsewhere.

    Returns
    -------
    Path
        The folder ``root/<name>-<recipe8>``, which `mergerexp.data.store.Dataset.open` reads.

    Raises
    ------
    DataError
        If the name cannot be that of a folder, inputs are unusable and ``source.on_error`` is "stop" (a CSV
        beside the data set lists them all), or a class is left without objects.
    """
    check_file_name("data.name", name)
    recipe = source.recipe()
    final = root / f"{name}-{digest({'name': name, 'size': size, 'recipe': recipe}, 8)}"
    if _is_done(final):
        _check_skipped(source, final)
        return final
    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / f".{final.name}.lock")
    if is_locked(lock):
        log.info("another process is preparing data set %s; waiting for it", final.name)
    with lock:
        if not _is_done(final):
            _prepare(source, recipe, name, size, final, workers or usable_cores(), progress)
    return final


def _prepare(
    source: Source, recipe: dict[str, Any], name: str, size: int, final: Path, workers: int, progress: bool
) -> None:
    """Make the parts that are missing and then the data set, and remove the parts."""
    partial = final.with_name(f".{final.name}.partial")
    report = final.with_name(f"{final.name}.problems.csv")
    parts = _make_missing_parts(source, partial, name, size, workers, progress)
    rows, kept, problems = _gather(parts)
    if problems and source.on_error == "stop":
        _stop(problems, report, parts)
    class_names = source.class_names
    labels = [row["label"] for row in rows]
    for label, class_name in enumerate(class_names):
        if label not in labels:
            if problems:
                write_problems(report, problems)
            why = f" ({_unusable(len(problems), str(report))})" if problems else ""
            raise DataError(f"class {class_name!r} of data set {name} has no usable object{why}")
    remove_partial(final.parent, final.name)
    save(
        final,
        (read_images(part)[mask] for part, mask in zip(parts, kept, strict=True)),
        pd.DataFrame(rows),
        name=name,
        source=type(source).__name__,
        recipe=recipe,
        size=size,
        class_names=class_names,
        problems=problems,
    )
    shutil.rmtree(partial)
    report.unlink(missing_ok=True)
    _tell(final, rows, class_names, problems)


def _make_missing_parts(
    source: Source, partial: Path, name: str, size: int, workers: int, progress: bool
) -> list[Path]:
    """Make the part files that do not exist, and return all of them in the order of the catalogue."""
    if partial.is_symlink():  # parts are written, and leftovers removed, only below the root
        partial.unlink()
    partial.mkdir(exist_ok=True)
    remove_partial(partial)
    chunks = source.chunks()
    # The number of chunks is part of the name, so that parts of another division are never used.
    paths = [partial / f"{i:06d}-of-{len(chunks):06d}.part" for i in range(len(chunks))]
    missing = {path: chunk for path, chunk in zip(paths, chunks, strict=True) if not path.exists()}
    total = sum(source.inputs(chunk) for chunk in chunks)
    done = total - sum(source.inputs(chunk) for chunk in missing.values())
    if done:
        log.info("continuing data set %s: %d of %d objects are done", name, done, total)
    made, start = 0, time.perf_counter()
    with (
        ProgressReport(f"preparing {name}", total, done, enabled=progress) as report,
        closing(make_parts(source, missing, size, workers)) as finished,
    ):
        for objects in finished:
            made += objects
            report.advance(objects, f"{made / (time.perf_counter() - start):.0f} objects/s")
    return paths


def _gather(parts: Sequence[Path]) -> tuple[list[dict[str, Any]], list[NDArray[np.bool_]], list[Problem]]:
    """Return the rows to keep, with unique objids, the mask of them in each part, and the problems."""
    kept: list[NDArray[np.bool_]] = []
    problems: list[Problem] = []
    found: list[list[dict[str, Any]]] = []
    for path in parts:
        _check_part(path)
        part_rows, part_problems = read_record(path)
        found.append(part_rows)
        problems += part_problems
        kept.append(np.ones(len(part_rows), dtype=bool))
    contradicted = _contradicted(found)
    rows: list[dict[str, Any]] = []
    owners: dict[int, str] = {}
    for path, part_rows, mask in zip(parts, found, kept, strict=True):
        for i, row in enumerate(part_rows):
            objid, file = row["objid"], row.get("file", f"{path.name}, row {i}")
            if objid in owners:
                problems.append(Problem(file, f"duplicate objid {objid}: {owners[objid]} has it too"))
            elif twin := contradicted.get(row.get("content"), {}).get(1 - row["label"]):
                problems.append(Problem(file, f"the same image as {twin}, which is of the other class"))
            else:
                owners[objid] = file
                rows.append(row)
                continue
            mask[i] = False
    _join_groups(rows)
    return rows, kept, problems


def _contradicted(parts: Sequence[Sequence[dict[str, Any]]]) -> dict[int | None, dict[int, str]]:
    """Return the contents that are in both classes, with the first file of each class.

    None of these images is used, since nobody knows which of the classes is right.
    """
    files: dict[int | None, dict[int, str]] = {}
    for row in chain(*parts):
        if "content" in row:
            files.setdefault(row["content"], {}).setdefault(row["label"], row["file"])
    return {content: by_label for content, by_label in files.items() if len(by_label) > 1}


def _join_groups(rows: Sequence[dict[str, Any]]) -> None:
    """Merge groups that share an identical image, so that this image can't be in two folds."""
    parent: dict[int, int] = {}

    def root(group: int) -> int:
        while group in parent:
            group = parent[group]
        return group

    first: dict[int, int] = {}
    for row in rows:
        if "content" in row:
            group, twin = root(row["group"]), root(first.setdefault(row["content"], row["group"]))
            if group != twin:
                parent[max(group, twin)] = min(group, twin)
    for row in rows:
        row["group"] = root(row["group"])


def _stop(problems: Sequence[Problem], report: Path, parts: Sequence[Path]) -> None:
    """Report the problems, and remove the parts that have some, so that repaired inputs are read again."""
    for path in parts:
        if read_record(path)[1]:
            path.unlink()
    write_problems(report, problems)
    raise DataError(
        f"{_unusable(len(problems), str(report))}:\n{_shown(problems)}\n"
        "Repair or remove them and prepare again, or leave them out with data.on_error=skip."
    )


def _unusable(number: int, place: str, fate: str = "") -> str:
    """Say how many inputs are unusable, what became of them, and where they are listed."""
    return f"{amount(number, 'unusable input')}{fate}, {'all ' if number > 1 else ''}listed in {place}"


def _shown(problems: Sequence[Problem]) -> str:
    """Return the first problems, a line each."""
    shown = [visible(f"  {problem.file}: {problem.reason}") for problem in problems[:SHOWN_PROBLEMS]]
    if len(problems) > SHOWN_PROBLEMS:
        shown.append(f"  … and {len(problems) - SHOWN_PROBLEMS} more")
    return "\n".join(shown)


def classes_text(counts: Mapping[str, int]) -> str:
    """Say how many images of each class there are.

    Parameters
    ----------
    counts
        The number of each class, by its name: first the class with label 0, then that with label 1.
    """
    said = [
        f"{number} with label {label}" + (f" ({name})" if name != str(label) else "")
        for label, (name, number) in enumerate(counts.items())
    ]
    return " and ".join(reversed(said))


def _tell(
    final: Path, rows: Sequence[dict[str, Any]], class_names: tuple[str, str], problems: Sequence[Problem]
) -> None:
    """Log what a new data set holds, what was left out of it, and what in it can't be told apart."""
    counts = Counter(row["label"] for row in rows)
    numbers = {name: counts[label] for label, name in enumerate(class_names)}
    log.info("data set %s: %d images, %s", final, len(rows), classes_text(numbers))
    if problems:
        said = _unusable(len(problems), str(final / PROBLEMS), " left out")
        log.warning("%s:\n%s", said, _shown(problems))
    contents = Counter(row["content"] for row in rows if "content" in row)
    if repeated := sum(contents.values()) - len(contents):
        log.warning(
            "%s an exact copy of another; copies count as objects of their own, and are always in one fold",
            f"{repeated} images are each" if repeated > 1 else "1 image is",
        )


def _check_part(path: Path) -> None:
    """Remove a part file that a failing disk has damaged, so that the next run makes it again."""
    try:
        check_signed(path)
    except UserError as error:
        path.unlink()
        raise DataError(f"{error}; it has been removed, so prepare again to make it anew") from error


def _is_done(final: Path) -> bool:
    """Return whether the data set exists, which gets its name when it is complete."""
    if not final.exists():
        return False
    if not (final / META).is_file():
        raise DataError(f"{final} is not a data set: {META} is missing; remove the folder and prepare again")
    return True


def _check_skipped(source: Source, final: Path) -> None:
    """Refuse a data set that was made without some inputs, if the source may leave none out."""
    skipped = Dataset.open(final).meta["problems"]
    if skipped and source.on_error == "stop":
        raise DataError(
            f"{final} was made without {_unusable(skipped, 'its problems.csv')}; "
            "accept that with data.on_error=skip, or repair them"
        )
