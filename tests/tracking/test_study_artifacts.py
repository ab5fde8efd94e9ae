"""What runs keep besides predictions, as it is read back: nothing that is missing or odd is passed over."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from mergerexp.config.schema import TrackingConfig
from mergerexp.tracking.mlflow_reader import MlflowReader
from mergerexp.tracking.record import log_file
from mergerexp.tracking.study import Study
from mergerexp.tracking.study_artifacts import ROBUSTNESS, read_examples, read_robustness
from tests.studies import add_study, log_ratings

pytestmark = pytest.mark.slow


@pytest.fixture
def study(tmp_path: Path) -> tuple[MlflowReader, Study]:
    add_study(tmp_path, ["imagenet"], [1.0])
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    reader = MlflowReader(TrackingConfig(uri=uri, experiment="mergerexp", artifacts=None, retry_s=0.0))
    return reader, reader.with_predictions(reader.find())


def test_images_of_some_runs_only(study, tmp_path):
    reader, whole = study
    damaged = whole.runs["run_id"].iloc[0]
    path = tmp_path / "examples.parquet"
    path.write_bytes(b"cut off")
    log_file(MlflowClient(reader.uri), damaged, path)
    examples, (gap,) = read_examples(reader, whole)
    assert gap.kind == "damaged" and damaged[:8] in gap.what
    assert sorted(examples["imagenet"]["fold"].unique()) == sorted(whole.runs["fold"][1:])


def test_nobody_has_measured_it(study):
    assert read_robustness(*study) == (None, [])


def test_robustness_of_some_runs_only(study, tmp_path):
    reader, whole = study
    first, second, third, _ = whole.runs["run_id"]
    log_ratings(reader, whole, first)
    log_ratings(reader, whole, second)
    log_ratings(reader, whole, third, (0.0, 4.0))
    found, gaps = read_robustness(reader, whole)
    assert found is not None and set(found["fold"]) == set(whole.runs["fold"][:2])
    assert all(gap.is_minor for gap in gaps) and [gap.what for gap in gaps] == [
        "the robustness of 1 network was measured at other strengths than most; "
        "python -m mergerexp.robustness measures all networks at the same ones",
        "the robustness of 3 of 4 networks has been measured; "
        "python -m mergerexp.robustness measures the others",
    ]


def test_robustness_that_is_none(study, tmp_path):
    reader, whole = study
    run_ids = list(whole.runs["run_id"])
    for run_id in run_ids[1:]:
        log_ratings(reader, whole, run_id)
    other = tmp_path / ROBUSTNESS
    pd.DataFrame({"a": [1]}).to_parquet(other)
    reader.add_artifact(run_ids[0], other)
    found, (gap,) = read_robustness(reader, whole)
    assert found is not None and set(found["fold"]) == set(whole.runs["fold"][1:])
    assert gap.is_minor and run_ids[0][:8] in gap.what
    assert gap.what.endswith("; python -m mergerexp.robustness measures it again")
