"""Rows whose id another row has, found in files, so that memory does not grow with the number of rows."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

BUCKET_ROWS = 500_000  # rows that are sorted at once
MOST_BUCKETS = 512  # files that are open at once
RANK_BITS, LAST = 55, 127  # above the number of a row its rank, by which rows with one id are sorted
HASH_KEYS = ("mergerexp rows 1", "mergerexp rows 2")  # 16 characters each, as pandas wants them
SPREAD = np.uint64(0x9E3779B97F4A7C15)  # multiplies integers, so that their upper bits depend on all of them


def find_duplicates(
    pieces: Iterable[tuple[pa.ChunkedArray, NDArray[np.int64] | None]], total: int, scratch: Path
) -> NDArray[np.bool_]:
    """Return for each row whether another row stands for its id: the first one of the lowest rank.

    The ids are distributed among files by a hash, so that equal ones come into one file, and each file is
    sorted alone. Integers are compared themselves, texts by 128 bits of hashes.

    Parameters
    ----------
    pieces
        The ids, in pieces, each with the ranks of its rows, from 0 to `LAST`; None if all are alike.
    total
        The number of rows.
    scratch
        A folder for the files, which take up to 24 bytes a row and are removed. Rows with one id are in one
        file and sorted at once, so that an id that nearly all rows have takes memory for all of them.

    Returns
    -------
    ndarray of bool, shape (total,)
        A memory map of a file that is removed already, so that the system need not keep it in memory.
    """
    doubled: NDArray[np.bool_] = _scratch_array(scratch, total)
    number = min(MOST_BUCKETS, -(-total // BUCKET_ROWS))
    with contextlib.ExitStack() as stack:
        # Named as partial files are, so that what a killed process leaves is removed with them.
        name = f".ids.{secrets.token_hex(4)}"
        folder = stack.enter_context(TemporaryDirectory(dir=scratch, prefix=name, suffix=".partial"))
        paths = [Path(folder) / str(bucket) for bucket in range(number)]
        opened = stack.enter_context(contextlib.ExitStack())
        files = [opened.enter_context(path.open("wb")) for path in paths]
        start = 0
        for ids, ranks in pieces:
            keys = _keys(ids, start)
            if ranks is not None:
                keys["row"] |= ranks << RANK_BITS
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
            again = (rows["a"][1:] == rows["a"][:-1]) & (rows["b"][1:] == rows["b"][:-1])
            doubled[rows["row"][1:][again] & ((1 << RANK_BITS) - 1)] = True
    return doubled


_ROW = np.dtype([("a", np.uint64), ("b", np.uint64), ("row", np.int64)])


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


def _scratch_array(folder: Path, length: int) -> NDArray[np.bool_]:
    with TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):  # otherwise a disk that is full would end the process later
            os.posix_fallocate(file.fileno(), 0, length)
        file.truncate(length)
        return np.memmap(file, dtype=np.bool_, mode="r+", shape=(length,))
