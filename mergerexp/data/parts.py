"""Parts of a data set that is being made: one file for each chunk, which is complete or does not exist.

A part file is a line of JSON (rows and problems) and then the images in npy format, which is read and written
at the speed of the disk, unlike npz; it ends with the hash of all that. The worker processes import this
module, so it needs only numpy.
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
        The source of the images.
    chunks
        The chunk of each part file.
    size
        The side of the images in pixels.
    workers
        The number of processes.

    Yields
    ------
    int
        The number of inputs in a part as soon as it is on disk; the parts come in any order.

    Raises
    ------
    UserError
        If a worker died, for example for lack of memory.
    """
    workers = min(workers, len(chunks))
    if workers <= 1:
        for path, chunk in chunks.items():
            yield make_part(source, chunk, size, path)
        return
    with worker_pool(workers, "data.workers") as pool:
        pending: set[Future[int]] = set()
        for path, chunk in chunks.items():
            # The queue is short, since all parts in it are still made after Ctrl-C.
            if len(pending) > workers:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
            pending.add(pool.submit(make_part, source, chunk, size, path))
        yield from (future.result() for future in pending)


def make_part(source: Source, chunk: Any, size: int, path: Path) -> int:
    """Make one chunk, write its part file, and return its number of inputs."""
    part = source.make(chunk)
    expected = (len(part.rows), size, size, 3)
    if part.images.dtype != np.uint8 or part.images.shape != expected:
        raise TypeError(
            f"{type(source).__name__} made {part.images.dtype} {part.images.shape}, expected uint8 {expected}"
        )
    record = {"rows": part.rows, "problems": part.problems}
    text = json.dumps(record, default=_plain_number).encode()
    with written(path, signed=True) as partial, partial.open("wb") as file:
        file.write(text + b"\n")
        np.save(file, part.images, allow_pickle=False)
    return len(part.rows) + len(part.problems)


def read_record(path: Path) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Read the rows and problems of a part file, but not its images."""
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
    """Convert a number of numpy's, so that rows may hold these."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a row holds {value!r}, which is neither text nor a number")
