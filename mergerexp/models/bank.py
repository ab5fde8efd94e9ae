"""The feature bank, which keeps features of images that are computed once for all runs of all sweeps.

In the frozen stage the backbone does not change, so that its pooled features of an image in a fixed view are
computed once for each (weights, image, view); so are the morphologies that rules and forests use. Each file
``<key>/view-<v>/block-<b>-<any>.npz`` holds the features of some rows of one block of the data set. Files are
written under another name and renamed, and a block is filled under its lock, which the system releases when a
process dies. Concurrent runs therefore fill the bank together and compute no image twice, and a killed run
leaves neither an incomplete file nor a lock.
"""

from __future__ import annotations

import logging
import uuid
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import DTypeLike, NDArray

from mergerexp.files import written

log = logging.getLogger(__name__)

BLOCK = 256

Rows = NDArray[np.int64]
Features = NDArray[np.floating]
Compute = Callable[[int, Rows], NDArray[np.floating]]


class FeatureBank:
    """The features of one data set from one backbone, or from another way to compute them.

    Parameters
    ----------
    folder
        The folder of the bank, whose name is a hash of all that the features depend on, such as weights, data
        set, input scaling and augmentation.
    dtype
        The type that the features are stored in. No feature may overflow float16.
    block
        The number of images that are computed together, which a killed run loses at most.
    """

    def __init__(self, folder: Path, dtype: DTypeLike = np.float16, block: int = BLOCK) -> None:
        self.folder, self.dtype, self.block = folder, np.dtype(dtype), block

    def get(
        self, view: int, rows: Rows, compute: Compute, advance: Callable[[int], None] = lambda n: None
    ) -> Features:
        """Return the features of some images in one view, and compute those that the bank does not hold.

        Parameters
        ----------
        view
            The number of the fixed view.
        rows
            Distinct rows of the data set, shape (n,).
        compute
            A function of the view and the missing rows of one block, which returns their features, shape
            (m, D).
        advance
            A function that is called with the number of images that have become ready, for a progress bar.

        Returns
        -------
        ndarray
            The features, shape (n, D), in the order of ``rows``.
        """
        waiting = deque(np.unique(rows // self.block).tolist())
        found: dict[int, Features] = {}
        while waiting:
            block = waiting.popleft()
            wanted = rows[rows // self.block == block]
            have = self._read(view, block)
            if not have.keys() >= set(wanted.tolist()):
                try:
                    # Another run may be filling this block, so that others are filled in the meantime.
                    with FileLock(self._block(view, block, "lock"), timeout=0.5):
                        have = self._fill(view, block, wanted, compute)
                except Timeout:
                    waiting.append(block)
                    continue
            found.update({row: have[row] for row in wanted.tolist()})
            advance(len(wanted))
        return np.stack([found[row] for row in rows.tolist()])

    def _fill(self, view: int, block: int, wanted: Rows, compute: Compute) -> dict[int, Features]:
        have = self._read(view, block)
        missing = np.array([row for row in np.sort(wanted).tolist() if row not in have], dtype=np.int64)
        if missing.size:
            with np.errstate(over="ignore"):
                features = np.asarray(compute(view, missing)).astype(self.dtype)
            if self.dtype == np.float16 and not np.isfinite(features).all():
                raise FloatingPointError(
                    "the backbone's features overflow float16; use another input scaling"
                )
            path = self._block(view, block, f"{uuid.uuid4().hex[:8]}.npz")
            with written(path) as partial, partial.open("wb") as file:
                np.savez(file, rows=missing, features=features)
            have.update(zip(missing.tolist(), features, strict=True))
        return have

    def _read(self, view: int, block: int) -> dict[int, Features]:
        have: dict[int, Features] = {}
        for path in sorted(self._block(view, block, "").parent.glob(f"block-{block:05d}-*.npz")):
            try:
                with path.open("rb") as file, np.load(file, allow_pickle=False) as part:  # zip has checksums
                    known = dict(zip(part["rows"].tolist(), part["features"], strict=True))
            except PermissionError:
                raise
            except Exception:  # the exceptions of numpy, zipfile and zlib have no common base
                log.warning("%s is damaged: its features are computed again", path)
                path.unlink(missing_ok=True)
            else:
                have.update(known)
        return have

    def _block(self, view: int, block: int, ending: str) -> Path:
        folder = self.folder / f"view-{view:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"block-{block:05d}-{ending}"
