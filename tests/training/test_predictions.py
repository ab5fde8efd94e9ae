"""The record of a run's predictions names the files of the galaxies, where there are files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mergerexp.data.splits import Split
from mergerexp.data.store import Dataset
from mergerexp.tracking.stored_predictions import read_predictions
from mergerexp.training.predictions import prediction_table


@pytest.mark.parametrize("has_files", [True, False])
def test_files_are_recorded_and_read_back(tmp_path, has_files):
    catalogue = pd.DataFrame({"objid": [7, 8, 9], "group": [1, 2, 3], "label": [1, 0, 1], "width": 64})
    if has_files:
        catalogue["file"] = ["merger/7.png", "other/8.png", "merger/9.png"]
    dataset = Dataset(Path(), np.zeros((3, 8, 8, 3), np.uint8), catalogue, {})
    split = Split(train=np.array([0]), val=np.array([1]), test=np.array([2, 0]))
    table = prediction_table(dataset, split, lambda rows: (0.1 * rows, np.zeros((len(rows), 2), np.float32)))
    table.to_parquet(tmp_path / "predictions.parquet")
    again = read_predictions(tmp_path / "predictions.parquet")
    assert again["objid"].tolist() == [8, 9, 7]
    assert ("file" in again) == has_files
    if has_files:
        assert again["file"].tolist() == ["other/8.png", "merger/9.png", "merger/7.png"]
