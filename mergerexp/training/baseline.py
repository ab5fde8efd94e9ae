"""A run of a rule or a forest, which measures the galaxies, fits and rates them."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergerexp.config.fingerprint import MEASUREMENT_VERSION
from mergerexp.config.schema import TrainConfig
from mergerexp.data.splits import Split
from mergerexp.data.store import Dataset
from mergerexp.models.measurements import Measurements
from mergerexp.models.nonparametric import Forest, Nonparametric, Rule, is_good, save
from mergerexp.runs import stop
from mergerexp.seeding import seed_for
from mergerexp.training.predictions import prediction_table
from mergerexp.training.trained_model import TrainedModel

SMALLEST_P = 1e-6  # the smallest probability of a class, so that its logit is finite


def train_baseline(cfg: TrainConfig, dataset: Dataset, split: Split, threads: int) -> TrainedModel:
    """Fit a rule or a forest, and rate the validation and test galaxies.

    There is no checkpoint, since all measurements are kept if the run is stopped, and the rest takes seconds.

    Parameters
    ----------
    cfg
        The config of the run.
    dataset
        The data set.
    split
        The galaxies that train, validate and test.
    threads
        The number of CPU cores to use.
    """
    measurements = Measurements(cfg, dataset.images, dataset.content_hash, threads)
    learned = [split.train] if cfg.model.is_forest else []
    rows = np.sort(np.concatenate([*learned, split.val, split.test]))
    table = measurements.table(rows, after_block=_stop_if_asked).set_index(rows)
    model = _fit(cfg, table, dataset.labels, split.train, threads)

    def rate(galaxies: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        p_m = model.p_m(table.loc[galaxies])
        return p_m, logits_of(p_m)

    failed = pd.Series(~is_good(table), index=rows)
    measurement = {"version": MEASUREMENT_VERSION, "stretch": cfg.data.stretch}
    return TrainedModel(
        predictions=prediction_table(dataset, split, rate),
        save=functools.partial(save, model=model, measurement=measurement),
        history=[],
        metrics={
            "run/measured": float(measurements.measured),
            "val/failed_measurements": float(failed[split.val].sum()),
            "test/failed_measurements": float(failed[split.test].sum()),
        },
    )


def logits_of(p_m: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the logarithms of 1 - p_m and p_m, shape (n, 2), whose softmax is p_m as with a network.

    Probabilities below `SMALLEST_P` are set to it.
    """
    p = np.clip(p_m, SMALLEST_P, 1 - SMALLEST_P)
    return np.stack([np.log1p(-p), np.log(p)], axis=1).astype(np.float32)


def _fit(
    cfg: TrainConfig, table: pd.DataFrame, labels: NDArray[np.int8], train: NDArray[np.int64], threads: int
) -> Nonparametric:
    if not cfg.model.is_forest:
        return Rule(cfg.model.method)
    run_seed = seed_for(cfg.seed, "run", cfg.fold, str(cfg.subset))
    return Forest.fit(cfg.model, table.loc[train], labels[train], seed_for(run_seed, "forest"), threads)


def _stop_if_asked() -> None:
    """Stop the run if asked to, between two blocks of measurements, which are all on disk."""
    if stop.wants_checkpoint():
        stop.checkpoint_written()
