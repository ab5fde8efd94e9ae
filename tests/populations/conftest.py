"""A mock survey, whose mergers are known, and the sample that is made of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mergerexp.sample
from mergerexp.analysis.mock_sample import MockSurvey

AREA = 800.0
COLUMNS = {
    "visual": "visual", "p": "p_best", "p_prior": "p_prior", "p_calibrated": "p_calibrated",
    "n_models": "n_models", "in_training_set": "in_training_set",
}  # fmt: skip
QUICK = ["draws=3", "permutations=19", "regions=4", "catalogue.cuts={magnitude_r:17.77}"]
# Where ratings are in a file of their own, the catalogue has none.
NO_P = [f"catalogue.columns.{ours}=null" for ours in COLUMNS if ours != "visual"]
RATED = [f"catalogue.columns.{ours}={theirs}" for ours, theirs in COLUMNS.items()]


@pytest.fixture(scope="session")
def survey() -> pd.DataFrame:
    return MockSurvey(paired=0.3).draw((0.02, 0.06), AREA, np.random.default_rng(5))


@pytest.fixture
def make(run_verb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Write a catalogue, make a sample of it without figures, and return its numbers."""

    def made(table: pd.DataFrame, *overrides: str, code: int = 0, figures: bool = False) -> dict[str, Any]:
        if not figures:
            monkeypatch.setattr("mergerexp.populations.folder.sample_figures", lambda _: {})
        file = tmp_path / "catalogue.parquet"
        table.to_parquet(file, index=False)
        usual = [f"catalogue.file={file}", f"catalogue.area={AREA}", "catalogue.calibrated_at=0.231"]
        apart = NO_P if any(each.startswith("ratings=") for each in overrides) else []
        assert run_verb(mergerexp.sample, *usual, *QUICK, *RATED, *apart, *overrides) == code
        path = tmp_path / "samples/sample/sample.json"
        return json.loads(path.read_text(encoding="utf-8")) if code == 0 else {}

    return made
