"""Each galaxy is measured once, whoever asks, and the same whoever measures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mergerexp.config.compose import compose_cell
from mergerexp.config.schema import TrainConfig
from mergerexp.models import measurements
from mergerexp.models.measurements import Measurements
from mergerexp.models.morphology import MEASURED, measure


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:24, :24]
    light = [
        np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 18) for x, y in rng.normal(11.5, 1, (9, 2))
    ] + rng.normal(0.1, 0.03, (9, 24, 24))
    return np.repeat(np.clip(200 * light, 0, 255).astype(np.uint8)[..., None], 3, axis=3)


def measured(pictures: np.ndarray, folder: Path, **changes) -> Measurements:
    settings = {"stretch": 2.25, "content_hash": "a", "workers": 1} | changes
    cfg = compose_cell("train", (f"paths.features={folder}", "trainer.progress=false"), TrainConfig)
    cfg.data.stretch = settings.pop("stretch")
    return Measurements(cfg, pictures, **settings)


@pytest.mark.slow
def test_measured_once_and_again_only_for_other_data_or_another_stretch(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(measurements, "BLOCK", 4)
    rows, blocks = np.array([7, 2, 3]), []
    first = measured(pictures, tmp_path)
    table = first.table(rows, lambda: blocks.append(first.measured))
    assert (first.measured, blocks) == (3, [2, 3])
    assert list(table.columns) == list(MEASURED)
    assert np.array_equal(table.to_numpy()[0], measure(pictures[7], 2.25))
    for changes, expected in (({}, 1), ({"content_hash": "b"}, 4), ({"stretch": None}, 4)):
        later = measured(pictures, tmp_path, **changes)
        later.table(np.array([2, 3, 5, 7]))
        assert later.measured == expected
    kept = measured(pictures, tmp_path)
    pd.testing.assert_frame_equal(kept.table(rows), table, check_exact=True)
    assert kept.measured == 0


@pytest.mark.slow
def test_workers_measure_the_same(pictures, tmp_path):
    rows = np.arange(len(pictures))
    alone = measured(pictures, tmp_path / "alone").table(rows)
    together = measured(pictures, tmp_path / "together", workers=2)
    pd.testing.assert_frame_equal(together.table(rows), alone, check_exact=True)
    assert together.measured == len(rows)


def test_nobody_is_started_where_nothing_is_missing(pictures, tmp_path, monkeypatch):
    rows = np.arange(3)
    measured(pictures, tmp_path).table(rows)
    monkeypatch.setattr(measurements, "worker_pool", None)
    assert len(measured(pictures, tmp_path, workers=2).table(rows)) == 3
