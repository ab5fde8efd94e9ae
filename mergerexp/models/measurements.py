"""Measured morphologies, which are kept in the feature bank."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergerexp.config.fingerprint import MEASUREMENT_VERSION
from mergerexp.config.schema import TrainConfig
from mergerexp.console import ProgressReport
from mergerexp.hashing import digest
from mergerexp.models.bank import FeatureBank
from mergerexp.models.morphology import MEASURED, measure
from mergerexp.workers import worker_pool

BLOCK = 32  # galaxies, which take one core ten seconds


class Measurements:
    """The morphologies of the galaxies of a data set, measured once for all runs of all sweeps.

    Parameters
    ----------
    cfg
        The config of a run, which has the stretch of the pictures (see
        `mergerexp.models.morphology.unstretch`) and the folder of all banks.
    images
        The images, uint8, shape (N, H, W, 3), which may be memory-mapped.
    content_hash
        The identity of the data set.
    workers
        The number of processes that measure.
    """

    def __init__(self, cfg: TrainConfig, images: NDArray[np.uint8], content_hash: str, workers: int) -> None:
        self.images, self.stretch = images, cfg.data.stretch
        self.workers, self.progress = workers, cfg.trainer.progress
        self.measured = 0  # the number of galaxies that no run had measured before
        key = digest({"measurement": MEASUREMENT_VERSION, "data": content_hash, "stretch": self.stretch})
        self.bank = FeatureBank(Path(cfg.paths.features) / key, np.float64, BLOCK)

    def table(self, rows: NDArray[np.int64], after_block: Callable[[], None] = lambda: None) -> pd.DataFrame:
        """Return the measurements of some galaxies.

        Parameters
        ----------
        rows
            Distinct rows of the data set, shape (n,).
        after_block
            A function that is called whenever more galaxies are on disk.

        Returns
        -------
        DataFrame
            One row for each galaxy in the order of ``rows``, with the columns
            `mergerexp.models.morphology.MEASURED`.

        Raises
        ------
        UserError
            If a worker process died.
        """
        with ExitStack() as stack, ProgressReport("morphologies", len(rows), enabled=self.progress) as report:

            @functools.cache
            def pool() -> ProcessPoolExecutor:
                return stack.enter_context(worker_pool(self.workers, "trainer.threads"))

            def compute(view: int, missing: NDArray[np.int64]) -> NDArray[np.float64]:
                galaxies = (np.asarray(self.images[row]) for row in missing.tolist())
                do = pool().map if self.workers > 1 else map
                values = list(do(measure, galaxies, itertools.repeat(self.stretch)))
                self.measured += len(missing)
                return np.stack(values)

            def advance(galaxies: int) -> None:
                report.advance(galaxies)
                after_block()

            return pd.DataFrame(self.bank.get(0, rows, compute, advance), columns=list(MEASURED))
