"""Rows whose id another row has, found in files, so that memory does not grow with the number of rows."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

BUCKET_ROWS = 500_000  # rows that are sorted at once
MOST_BUCKETS = 512  # files that are open at once
DOUBLED, FORBIDDEN = 1, 2
RANK_BITS, LAST = 55, 127  # above the number of a row its rank, by which rows with one id are sorted
HASH_KEYS = ("mergerexp rows 1", "mergerexp rows 2")  # 16 characters each, as pandas wants them
SPREAD = np.uint64(0x9E3779B97F4A7C15)  # multiplies integers, so that their upper bits depend on all of them


class Standing(NamedTuple):
    """Which of several rows with one id is to stand for it, and by which networks it must not be rated.

    Attributes
    ----------
    ranks
        From 0 to `LAST`; the lowest stands, and among equal ones the first.
    forbidden
        A bit for each network that must not rate the row's object, uint32.
    """

    ranks: NDArray[np.int64]
    forbidden: NDArray[np.uint32]


def find_duplicates(
    pieces: Iterable[tuple[pa.ChunkedArray, Standing | None]], total: int, scratch: Path
) -> NDArray[np.uint8]:
    """Return for each row whether it stands for its id, and may be rated.

    The ids are distributed among files by a hash, so that equal ones come into one file, and each file is
    sorted alone. Integers are compared themselves, texts by 128 bits of hashes.

    Parameters
    ----------
    pieces
        The ids, in pieces, each with the standing of its rows; None if all are alike.
    total
        The number of rows.
    scratch
        A folder for the files, which take up to 28 bytes a row and are removed. Rows with one id are in one
        file and sorted at once, so that an id that nearly all rows have takes memory for all of them.

    Returns
    -------
    ndarray of uint8, shape (total,)
        0 for a row that stands for its id; `DOUBLED` if another one does; `FORBIDDEN` for a row that stands
        for its id, while a network that might rate it must not rate another row with this id. It is a memory
        map of a file that is removed already, so that the system need not keep it in memory.
    """
    found: NDArray[np.uint8] = _scratch_array(scratch, total)
    number = min(MOST_BUCKETS, -(-total // BUCKET_ROWS))
    with contextlib.ExitStack() as stack:
        # Named as partial files are, so that what a killed process leaves is removed with them.
        name = f".ids.{secrets.token_hex(4)}"
        folder = stack.enter_context(TemporaryDirectory(dir=scratch, prefix=name, suffix=".partial"))
        paths = [Path(folder) / str(bucket) for bucket in range(number)]
        opened = stack.enter_context(contextlib.ExitStack())
        files = [opened.enter_context(path.open("wb")) for path in paths]
        start = 0
        for ids, standing in pieces:
            keys = _keys(ids, start)
            if standing is not None:
                keys["row"] |= standing.ranks << RANK_BITS
                keys["forbidden"] = standing.forbidden
            start += len(keys)
            bucket = ((keys["a"] * SPREAD) >> np.uint64(32)) % np.uint64(number)
            order = np.argsort(bucket, kind="stable")
            ends = np.bincount(bucket.astype(np.int64), minlength=number).cumsum()
            for file, rows in zip(files, np.split(keys[order], ends[:-1]), strict=True):
                file.write(rows.tobytes())
        opened.close()
        for path in paths:
            rows = np.fromfile(path, dtype=_ROW)
            rows = rows[np.lexsort((rows["row"], rows["b"], rows["a"]))]
            _judge(rows, found)
    return found


def _judge(rows: np.ndarray, found: NDArray[np.uint8]) -> None:
    """Enter what becomes of sorted rows, in which all with one id lie together."""
    if not len(rows):
        return
    number = rows["row"] & ((1 << RANK_BITS) - 1)
    again = (rows["a"][1:] == rows["a"][:-1]) & (rows["b"][1:] == rows["b"][:-1])
    found[number[1:][again]] = DOUBLED
    first = np.flatnonzero(np.concatenate([[True], ~again]))
    by_any = np.bitwise_or.reduceat(rows["forbidden"], first)
    found[number[first[by_any != rows["forbidden"][first]]]] = FORBIDDEN


_ROW = np.dtype([("a", np.uint64), ("b", np.uint64), ("row", np.int64), ("forbidden", np.uint32)])


def _keys(ids: pa.ChunkedArray, start: int) -> np.ndarray:
    """Return the keys of ids, which are equal where these are, with the rows that they belong to."""
    assert not ids.null_count, "ids are checked where they are read"
    keys = np.zeros(len(ids), dtype=_ROW)
    keys["row"] = np.arange(start, start + len(ids))
    if pa.types.is_integer(ids.type):
        keys["a"] = ids.to_numpy().view(np.uint64)
    else:
        texts = ids.to_numpy().astype(object)
        for name, key in zip("ab", HASH_KEYS, strict=True):
            keys[name] = pd.util.hash_array(texts, hash_key=key, categorize=False)
    return keys


def _scratch_array(folder: Path, length: int) -> NDArray[np.uint8]:
    with TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):  # otherwise a disk that is full would end the process later
            os.posix_fallocate(file.fileno(), 0, length)
        file.truncate(length)
        return np.memmap(file, dtype=np.uint8, mode="r+", shape=(length,))
