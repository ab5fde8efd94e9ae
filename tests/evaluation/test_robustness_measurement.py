"""The robustness verb on a tiny study: what it leaves in MLflow, and what it refuses."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

import mergerexp.robustness
import mergerexp.train
from mergerexp.analysis.degradation_curves import robustness_curves
from mergerexp.config.schema import TrackingConfig
from mergerexp.degradations.degrade import DEGRADATIONS
from mergerexp.evaluation.robustness_measurement import RobustnessMeasurement
from mergerexp.models.stored import StoredNetwork
from mergerexp.tracking.mlflow_reader import MlflowReader
from mergerexp.tracking.study import Study
from mergerexp.tracking.study_artifacts import ROBUSTNESS
from tests.conftest import TINY

FEW = ("degradations=[noise,jpeg]", "strengths.noise=[0,30]", "strengths.jpeg=[100,40,5]", "batch=7")


@pytest.fixture(scope="module")
def trained_study(tmp_path_factory, galaxies, datasets) -> Path:
    """Two folds at two sizes, trained once for all tests."""
    folder = tmp_path_factory.mktemp("study")
    data = ("data=folder", f"data.root={galaxies}", f"paths.datasets={datasets}")
    sweep = ("-m", "hydra/launcher=basic", "subset=0.5,1.0", "fold=0,1", f"paths.root={folder}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", *sweep, *data, *TINY, "trainer.max_epochs=1"])
        with pytest.raises(SystemExit) as stopped:
            mergerexp.train.main()
    assert not stopped.value.code
    return folder


@pytest.fixture
def measure(run_verb, trained_study, datasets):
    """Run the verb on the study."""

    def run(*overrides: str) -> int:
        return run_verb(
            mergerexp.robustness, f"paths.root={trained_study}", f"paths.datasets={datasets}", *overrides
        )

    return run


@pytest.fixture
def reader(trained_study) -> MlflowReader:
    uri = f"sqlite:///{trained_study}/mlflow.db"
    return MlflowReader(TrackingConfig(uri=uri, experiment="mergerexp", artifacts=None, retry_s=0.0))


def measured(reader: MlflowReader) -> tuple[Study, dict[str, pd.DataFrame]]:
    """The ratings of the runs that have some."""
    study = reader.find()
    found = reader.artifacts(study.runs, ROBUSTNESS, pd.read_parquet)
    return study, {run_id: ratings for run_id, ratings in found.items() if not isinstance(ratings, Exception)}


def forget(reader: MlflowReader) -> None:
    """Take the ratings away again."""
    for run_id in reader.find().runs["run_id"]:
        artifacts = Path(MlflowClient(reader.uri).get_run(run_id).info.artifact_uri.removeprefix("file://"))
        (artifacts / ROBUSTNESS).unlink(missing_ok=True)


def test_every_degradation_of_the_largest_subset(measure, reader, capsys):
    assert measure("strengths.noise=[0,200]") == 0
    assert "2 networks rated now, 0 before" in capsys.readouterr().err
    study, ratings = measured(reader)
    largest = study.runs[study.runs["subset"] == 1]
    assert set(ratings) == set(largest["run_id"])
    parts = []
    for run in largest.itertuples():
        rated = ratings[run.run_id]
        assert rated.dtypes.astype(str).to_dict() == {
            "objid": "int64",
            "label": "int8",
            "degradation": "str",
            "strength": "float64",
            "p_m": "float64",
        }
        assert list(dict.fromkeys(rated["degradation"])) == list(DEGRADATIONS)
        path = MlflowClient(reader.uri).download_artifacts(run.run_id, "predictions.parquet")
        test = pd.read_parquet(path).query("split == 'test'").reset_index(drop=True)
        for _, level in rated.groupby(["degradation", "strength"]):
            assert level["objid"].tolist() == test["objid"].tolist()
            assert level["label"].tolist() == test["label"].tolist()
        none = rated.groupby("degradation", sort=False).head(len(test))
        assert np.abs(none["p_m"].to_numpy() - np.tile(test["p_m"], len(DEGRADATIONS))).max() < 1e-5
        noisy = rated.query("degradation == 'noise' and strength == 200")
        assert np.abs(noisy["p_m"].to_numpy() - test["p_m"]).max() > 1e-3
        parts.append(rated.assign(arm=run.arm, subset=run.subset, seed=run.seed, fold=run.fold))
    curve = robustness_curves(pd.concat(parts))
    assert set(curve["folds"]) == {2}


def test_goes_on_where_it_stopped_and_then_does_nothing(measure, reader, capsys, monkeypatch):
    forget(reader)
    keep = RobustnessMeasurement._keep

    def interrupted(self, run, ratings):
        keep(self, run, ratings)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RobustnessMeasurement, "_keep", interrupted)
        assert measure(*FEW) == 130
    assert "goes on where this one stopped" in capsys.readouterr().err
    ((run_id, before),) = measured(reader)[1].items()
    assert measure(*FEW) == 0
    assert "1 network rated now, 1 before" in capsys.readouterr().err
    assert len(measured(reader)[1]) == 2
    pd.testing.assert_frame_equal(measured(reader)[1][run_id], before)
    with monkeypatch.context() as patch:
        patch.setattr(StoredNetwork, "rate", lambda *_: pytest.fail("a network was asked again"))
        assert measure(*FEW) == 0
        assert "0 networks rated now, 2 before" in capsys.readouterr().err
    assert measure(*FEW, "seed=1") == 0  # other noise: measured anew
    assert "2 networks rated now, 0 before" in capsys.readouterr().err


def test_batches_do_not_matter_and_subsets_can_be_chosen(measure, reader):
    forget(reader)
    assert measure(*FEW, "subset=[0.5]") == 0
    study, first = measured(reader)
    assert set(first) == set(study.runs.query("subset == 0.5")["run_id"])
    forget(reader)
    assert measure(*FEW, "subset=[1.0,0.5]", "batch=100") == 0
    again = measured(reader)[1]
    assert len(again) == 4
    for run_id, before in first.items():
        pd.testing.assert_frame_equal(again[run_id], before, atol=1e-5)


def add_rule(store: MlflowClient, network: Run) -> str:
    """Record a fixed rule in the cell of a network, and return its ID."""
    tags = {key: value for key, value in network.data.tags.items() if key.startswith("mergerexp.")}
    rule = store.create_run(network.info.experiment_id, tags=tags, run_name="rule").info.run_id
    kind = {"model.kind": "nonparametric", "model.method": "gini_m20"}
    for key, value in {**network.data.params, **kind}.items():
        store.log_param(rule, key, value)
    store.set_terminated(rule)
    return rule


def test_a_rule_is_skipped_and_a_damaged_network_named(measure, reader, capsys, tmp_path):
    forget(reader)
    store = MlflowClient(reader.uri)
    other, damaged = reader.find().runs.query("subset == 1")["run_id"]
    weights = Path(store.download_artifacts(damaged, "model.safetensors", str(tmp_path)))
    broken = tmp_path / "broken" / "model.safetensors"
    broken.parent.mkdir()
    broken.write_bytes(weights.read_bytes()[:500])
    rule = add_rule(store, store.get_run(other))
    try:
        store.log_artifact(damaged, str(broken))
        assert measure(*FEW) == 1
    finally:
        store.delete_run(rule)
        store.log_artifact(damaged, str(weights))
    shown = capsys.readouterr().err
    assert f"fold=0 seed=0 (run {rule[:8]}) is skipped, since a nonparametric model is no network" in shown
    assert (
        f"fold=1 seed=0 (run {damaged[:8]}) can't be rated: model.safetensors in MLflow is damaged" in shown
    )
    assert "1 network rated now, 0 before, 1 failed" in shown
    assert set(measured(reader)[1]) == {other}


def the_error(capsys) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def test_a_network_that_does_not_reproduce_its_record_stops_it(measure, reader, capsys, monkeypatch):
    forget(reader)
    rate = StoredNetwork.rate
    monkeypatch.setattr(StoredNetwork, "rate", lambda self, pixels: rate(self, pixels) + 2e-4)
    assert measure(*FEW) == 2
    line = the_error(capsys)
    assert "random subset=1 fold=0 seed=0 (run " in line
    assert "are not those of the record" in line
    assert measured(reader)[1] == {}


def test_data_set_that_is_not_there(measure, capsys, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    assert measure(*FEW, "seed=5", f"paths.datasets={tmp_path}/elsewhere") == 2
    line = the_error(capsys)
    for word in ("data set folder of content", "elsewhere", "mergerexp.prepare", "config.yaml"):
        assert word in line


def test_found_by_content_under_any_name(measure, datasets, reader, capsys, tmp_path):
    forget(reader)
    (tmp_path / "moved").mkdir()
    for number, path in enumerate(sorted(path.parent for path in datasets.glob("[!.]*/dataset.json"))):
        shutil.copytree(path, tmp_path / "moved" / f"another-name-{number}")
    assert measure(*FEW, f"paths.datasets={tmp_path}/moved") == 0
    assert "2 networks rated" in capsys.readouterr().err


@pytest.mark.parametrize("call", ["log_artifact", "list_artifacts"])
def test_an_mlflow_that_fails_is_named_in_one_line(call, measure, reader, capsys, monkeypatch):
    forget(reader)

    def gone(*args, **kwargs):
        raise ConnectionError("the server is gone")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, call, gone)
        assert measure(*FEW) == 2
        line = the_error(capsys)
        assert "MLflow does not answer (ConnectionError: the server is gone)" in line
        assert line.endswith("the same command goes on from here")
    assert measure(*FEW) == 0


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("subset=[0.25]", "subset=0.25: the study has 0.5, 1"),
        ("tracking.experiment=lenses", "no experiment lenses"),
        ("sweep=zzz", "no such sweep"),
        ("where={init.name: imagenet}", "no run has this value; there are random"),
        ("device=mps", "finds no such device on"),
        ("tracking.uri=sqlite:///nowhere.db", "no MLflow store"),
    ],
)
@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac may have the device")
def test_what_is_not_there_is_named_in_one_line(override, hint, measure, capsys):
    assert measure(override) == 2
    assert hint in the_error(capsys)
