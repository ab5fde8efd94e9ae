"""What runs keep besides predictions, as it is read back: nothing that is missing or odd is passed over."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from mergerexp.config.schema import TrackingConfig
from mergerexp.tracking.record import log_file
from mergerexp.tracking.study import Study
from mergerexp.tracking.study_artifacts import ROBUSTNESS, read_examples, read_robustness
from mergerexp.tracking.study_reader import StudyReader
from tests.studies import add_study

pytestmark = pytest.mark.slow


@pytest.fixture
def study(tmp_path: Path) -> tuple[StudyReader, Study]:
    add_study(tmp_path, ["imagenet"], [1.0])
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    reader = StudyReader(TrackingConfig(uri=uri, experiment="mergerexp", artifacts=None, retry_s=0.0))
    return reader, reader.with_predictions(reader.find())


def log(reader: StudyReader, run_id: str, ratings: pd.DataFrame, folder: Path) -> None:
    path = folder / ROBUSTNESS
    ratings.to_parquet(path)
    log_file(MlflowClient(reader.uri), run_id, path)


def ratings(study: Study, run_id: str, strengths: tuple[float, ...] = (0.0, 2.0)) -> pd.DataFrame:
    row = study.runs.set_index("run_id").loc[run_id]
    test = study.predictions[
        (study.predictions["fold"] == row["fold"]) & (study.predictions["split"] == "test")
    ]
    return pd.concat(
        [
            test[["objid", "label", "p_m"]].assign(degradation="blur", strength=strength)
            for strength in strengths
        ]
    )


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
    first, second, third, fourth = whole.runs["run_id"]
    log(reader, first, ratings(whole, first), tmp_path)
    log(reader, second, ratings(whole, second), tmp_path)
    log(reader, third, ratings(whole, third, (0.0, 4.0)), tmp_path)
    found, gaps = read_robustness(reader, whole)
    assert found is not None and set(found["fold"]) == set(whole.runs["fold"][:2])
    assert {gap.kind: gap.what.split("(run ")[1][:8] for gap in gaps} == {
        "foreign": third[:8],
        "missing": fourth[:8],
    }


def test_robustness_that_is_none(study, tmp_path):
    reader, whole = study
    run_ids = list(whole.runs["run_id"])
    for run_id in run_ids[1:]:
        log(reader, run_id, ratings(whole, run_id), tmp_path)
    log(reader, run_ids[0], pd.DataFrame({"a": [1]}), tmp_path)
    _, (gap,) = read_robustness(reader, whole)
    assert gap.kind == "damaged" and run_ids[0][:8] in gap.what
