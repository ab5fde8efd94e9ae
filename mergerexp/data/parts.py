"""Parts of a data set in the making: one file a chunk, made by worker processes, each whole or absent.

A part file is a line of JSON (rows and problems), then the images in npy format: read and written at the
speed of the disk, which an npz is not; it ends with its own hash. Imported by the workers, so it needs numpy
only.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mergerexp.data.sources import Problem, Source
from mergerexp.files import written
from mergerexp.workers import worker_pool


def make_parts(
    source: Source, chunks: dict[Path, Any], size: int, workers: int
) -> Generator[int, None, None]:
    """Make the part file of each chunk, in this process if one worker is enough.

    Parameters
    ----------
    source
        What makes the images.
    chunks
        The chunk of each part file.
    size
        Side of the images in pixels.
    workers
        Number of processes.

    Yields
    ------
    int
        Number of inputs in a part, as soon as it is on disk; in any order.

    Raises
    ------
    UserError
        If a worker died, e.g. of lack of memory.
    """
    workers = min(workers, len(chunks))
    if workers <= 1:
        for path, chunk in chunks.items():
            yield make_part(source, chunk, size, path)
        return
    with worker_pool(workers, "data.workers") as pool:
        pending: set[Future[int]] = set()
        for path, chunk in chunks.items():
            # A short queue: after Ctrl-C only what is in it is still made.
            if len(pending) > workers:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
            pending.add(pool.submit(make_part, source, chunk, size, path))
        yield from (future.result() for future in pending)


def make_part(source: Source, chunk: Any, size: int, path: Path) -> int:
    """Make one chunk, write its part file and return its number of inputs."""
    part = source.make(chunk)
    expected = (len(part.rows), size, size, 3)
    if part.images.dtype != np.uint8 or part.images.shape != expected:
        raise TypeError(
            f"{type(source).__name__} made {part.images.dtype} {part.images.shape}, expected uint8 {expected}"
        )
    record = {
        "rows": part.rows,
        "problems": [[problem.file, problem.reason] for problem in part.problems],
    }
    text = json.dumps(record, default=_plain_number).encode()
    with written(path, signed=True) as partial, partial.open("wb") as file:
        file.write(text + b"\n")
        np.save(file, part.images, allow_pickle=False)
    return len(part.rows) + len(part.problems)


def read_record(path: Path) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Read rows and problems of a part file, leaving its images on disk."""
    with path.open("rb") as file:
        record = json.loads(file.readline())
    return record["rows"], [Problem(*problem) for problem in record["problems"]]


def read_images(path: Path) -> NDArray[np.uint8]:
    """Read the images of a part file, shape (n, size, size, 3)."""
    with path.open("rb") as file:
        file.readline()
        images: NDArray[np.uint8] = np.load(file, allow_pickle=False)
    return images


def _plain_number(value: Any) -> Any:
    """Let rows hold numpy's numbers."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a row holds {value!r}, which is neither text nor a number")
