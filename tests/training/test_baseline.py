"""Rules and forests by way of the train verb: the same sweep, folders and record as the networks'."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from mergerexp.analysis.metrics import summary
from mergerexp.config.schema import TrainConfig
from mergerexp.config.typed import typed
from mergerexp.data.store import Dataset
from mergerexp.files import read_json
from mergerexp.models.measurements import Measurements
from mergerexp.models.nonparametric import load
from mergerexp.runs.run_folder import RunFolder
from mergerexp.study.run_table import COLUMNS, run_rows
from tests.conftest import REPOSITORY

METHODS = ("gini_m20", "asymmetry", "either", "forest_cas", "forest_all")
# A third of the blobs, which are not stretched.
SETTINGS = ("model=nonparametric", "model.trees=20", "data.stretch=null", "subset=0.3")
BLOBS = 28


@pytest.fixture(scope="session")
def bank(tmp_path_factory) -> Path:
    """Measurements that the tests share."""
    return tmp_path_factory.mktemp("features")


@pytest.fixture
def baseline(train, bank) -> Callable[..., int]:
    def run(*overrides: str) -> int:
        given = {override.split("=")[0] for override in overrides}
        shared = [f"paths.features={bank}"] if "paths.features" not in given else []
        return train(*SETTINGS, *shared, *overrides)

    return run


def test_sweep_and_its_repetition(baseline, tmp_path, capsys):
    sweep = ("-m", f"model.method={','.join(METHODS)}", "init=imagenet,random", "fold=0,1")
    assert baseline(*sweep) == 0
    table = capsys.readouterr().err
    assert all(
        re.search(rf"^{method} +\d", table, re.MULTILINE) for method in METHODS
    )  # and no initialisation
    assert table.count("2 of 2") == len(METHODS)
    folders = sorted((tmp_path / "runs").iterdir())
    names = {f"folder-{method}-subset0.3-fold{fold}" for method in METHODS for fold in (0, 1)}
    assert {folder.name.rpartition("-")[0] for folder in folders} == names

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("mergerexp").experiment_id])
    assert sorted(run.data.tags["mergerexp.run_folder"] for run in runs) == [
        folder.name for folder in folders
    ]
    for run in runs:
        folder = RunFolder(tmp_path / "runs" / run.data.tags["mergerexp.run_folder"])
        assert run.info.status == "FINISHED"
        assert run.data.params["model.method"] in run.info.run_name
        assert {"model.kind", "subset", "fold", "seed", "split.folds"} <= set(run.data.params)
        unused = ("init.", "augment.", "optimizer.", "trainer.")
        assert not [key for key in run.data.params if key.startswith(unused)]
        kept = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
        assert kept >= {path.name for path in folder.artifacts()}
        check(folder, run.data.metrics)
    assert measured(tmp_path) == BLOBS  # each blob once, by whoever came first

    assert baseline(*sweep, "seed=1") == 0
    said = capsys.readouterr().err
    assert said.count("done before") == 3 * 2  # a rule draws nothing
    assert "[10/10]" in said  # cells that differ in their initialisation alone are one run
    assert len(list((tmp_path / "runs").iterdir())) == 10 + 4
    assert measured(tmp_path) == BLOBS


def check(folder: RunFolder, recorded: dict[str, float]) -> None:
    predictions, metrics = pd.read_parquet(folder.predictions), read_json(folder.metrics)
    columns = ["objid", "group", "split", "label", "file", "p_m", "logit_0", "logit_1"]
    assert list(predictions.columns) == columns
    dtypes = predictions.dtypes.map(str).to_dict()
    assert (dtypes["objid"], dtypes["p_m"], dtypes["logit_1"]) == ("int64", "float64", "float32")
    for split, part in predictions.groupby("split"):
        for name, value in summary(part["label"], part["p_m"]).items():
            assert metrics[f"{split}/{name}"] == recorded[f"{split}/{name}"] == pytest.approx(value)
    odds = np.exp(predictions["logit_1"].astype(float) - predictions["logit_0"])
    assert (odds / (1 + odds) - predictions["p_m"]).abs().max() < 2e-6
    assert set(predictions["p_m"]) <= {0.0, 1.0} or "forest" in folder.name
    assert metrics["train/n_balanced"] == 12
    assert metrics["run/seconds"] > 0
    assert read_json(folder.history) == []
    assert read_json(folder.provenance)["device"] == "cpu"
    assert {"scikit-learn", "statmorph"} <= set(read_json(folder.provenance)["software"])


def measured(root: Path) -> int:
    """How many galaxies the runs had to measure, together."""
    return int(sum(read_json(path)["run/measured"] for path in (root / "runs").glob("*/metrics.json")))


def test_forest_is_read_back_from_its_run(baseline, only_run, datasets):
    assert baseline("model.method=forest_all", "trainer.device=cuda", "tracking=none") == 0  # no use for it
    folder = RunFolder(only_run())
    dataset = Dataset.open(read_json(folder.inputs)["dataset"]["path"])
    predictions = pd.read_parquet(folder.predictions)
    cfg = typed(folder.read_config(), TrainConfig)
    assert read_json(folder.path / "model.json")["measurement"]["stretch"] == cfg.data.stretch
    again = Measurements(cfg, dataset.images, dataset.content_hash, workers=1)
    rows = pd.Series(range(len(dataset)), index=dataset.objids)[predictions["objid"]].to_numpy()
    assert load(folder.path).p_m(again.table(rows)).tolist() == predictions["p_m"].tolist()


def test_concurrent_runs_measure_together(baseline, tmp_path):
    local = ("hydra/launcher=local", "hydra.launcher.n_jobs=2", "tracking=none")
    own = f"paths.features={tmp_path / 'features'}"
    assert baseline("-m", "model.method=forest_cas", "fold=0,1", own, *local) == 0
    assert measured(tmp_path) == BLOBS


def test_killed_while_measuring(baseline, galaxies, datasets, tmp_path, only_run):
    """SIGKILL after the first block: what was measured is kept."""
    own = f"paths.features={tmp_path / 'features'}"
    data = ("data=folder", f"data.root={galaxies}", f"paths.datasets={datasets}", "data.size=32")
    run = ("model.method=forest_cas", own, "tracking=none", f"paths.root={tmp_path}")
    line = [sys.executable, "-m", "mergerexp.train", *data, *SETTINGS, *run, "trainer.threads=1"]
    process = subprocess.Popen(line, cwd=REPOSITORY)
    deadline = time.monotonic() + 600
    while not list((tmp_path / "features").rglob("*.npz")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -9
    assert read_json(only_run() / "status.json")["state"] == "running"

    assert baseline(*run) == 0
    assert 0 < measured(tmp_path) < BLOBS
    assert read_json(only_run() / "status.json")["restarts"] == 1


def test_one_table_with_networks(baseline, train, tmp_path):
    assert train("trainer.max_epochs=1", "tracking=none") == 0
    assert baseline("model.method=either", "tracking=none") == 0
    rows = run_rows([RunFolder(path) for path in sorted((tmp_path / "runs").iterdir())])
    assert list(rows.columns) == COLUMNS  # that each has settings of its own sets no two apart
    assert rows["backbone"].tolist() == ["either", "test_resnet"]
    assert rows["init"].fillna("").tolist() == ["", "random"]
