"""The train verb, end to end on small images: runs, records, repeats, failures."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
from mlflow import MlflowClient
from safetensors.torch import save_file

from mergerexp import status
from mergerexp.analysis.metrics import summary
from mergerexp.config.schema import TrackingConfig
from mergerexp.data.store import Dataset
from mergerexp.files import read_json
from mergerexp.runs.run_folder import RunFolder
from mergerexp.runs.stop import StopRequested
from mergerexp.tracking.mlflow_reader import MlflowReader
from mergerexp.training.protocol import TwoStageTraining
from mergerexp.training.stage import Stage
from tests.conftest import REPOSITORY


def mlflow_runs(root: Path) -> list:
    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("mergerexp")
    return client.search_runs([experiment.experiment_id])


@pytest.fixture(scope="module")
def tiny_weights(tmp_path_factory) -> Path:
    """Weights of a tiny backbone as a user would bring them."""
    path = tmp_path_factory.mktemp("weights") / "test_resnet.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), path)
    return path


def all_datasets(datasets: Path) -> list[Dataset]:
    return [Dataset.open(path.parent) for path in datasets.glob("*/dataset.json")]


SWEEP = ("-m", "init=imagenet,random", "subset=0.5,1.0", "fold=0,1")


def test_sweep_and_its_repetition(train, tiny_weights, tmp_path, capsys, monkeypatch):
    sweep = (*SWEEP, f"model.pretrained={tiny_weights}")
    assert train(*sweep) == 0
    folders = sorted((tmp_path / "runs").iterdir())
    assert len(folders) == 8
    runs = mlflow_runs(tmp_path)
    assert sorted(run.data.tags["mergerexp.run_folder"] for run in runs) == [
        folder.name for folder in folders
    ]
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    for run in runs:
        assert run.info.status == "FINISHED"
        assert run.data.metrics["test/error"] >= 0
        assert run.data.params["model.backbone"] == "test_resnet"
        assert {"mergerexp.fingerprint", "mergerexp.data.content_hash", "mergerexp.hardware.cpu"} <= set(
            run.data.tags
        )
        names = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
        assert {
            "predictions.parquet",
            "model.safetensors",
            "model.json",
            "config.yaml",
            "provenance.json",
        } <= names
        history = read_json(tmp_path / "runs" / run.data.tags["mergerexp.run_folder"] / "history.json")
        stages = list(dict.fromkeys(row["stage"] for row in history))
        of_init = {"imagenet": ["head", "finetune"], "random": ["finetune"]}
        assert stages == of_init[run.data.params["init.name"]]
        epochs = client.get_metric_history(run.info.run_id, "finetune/val_accuracy")
        assert [metric.step for metric in epochs] == [0, 1]
        assert ("head/val_loss" in run.data.metrics) == ("head" in stages)
    before = {
        path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*") if path.name != ".lock"
    }

    monkeypatch.setattr(Stage, "training_step", None)  # whatever trains now fails
    capsys.readouterr()
    assert train(*sweep) == 0
    said = capsys.readouterr().err
    assert said.count("done before") == 8
    line = said.rstrip().rpartition("\n")[2]
    assert line.startswith("Tables, figures and a report, of those folds alone that are there: ")
    assert line.endswith(f" -m mergerexp.aggregate paths.root={tmp_path} allow_partial=true")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(mlflow_runs(tmp_path)) == 8


def test_predictions_are_the_record(train, figures, only_run, galaxies, datasets, tmp_path):
    assert train() == 0
    folder = only_run()
    predictions = pd.read_parquet(folder / "predictions.parquet")
    columns = ["objid", "group", "split", "label", "file", "p_m", "logit_0", "logit_1"]
    assert list(predictions.columns) == columns
    assert predictions["objid"].dtype == np.int64
    metrics = read_json(folder / "metrics.json")
    for fold, part in predictions.groupby("split"):
        for name, value in summary(part["label"], part["p_m"]).items():
            assert metrics[f"{fold}/{name}"] == pytest.approx(value, abs=1e-12)
    content_hash = read_json(folder / "provenance.json")["data"]["content_hash"]
    (dataset,) = (opened for opened in all_datasets(datasets) if opened.content_hash == content_hash)
    known = dict(zip(dataset.objids, dataset.labels, strict=True))
    assert all(
        known[objid] == label for objid, label in zip(predictions["objid"], predictions["label"], strict=True)
    )
    assert len(set(predictions["objid"])) == len(predictions) == 48
    (run,) = mlflow_runs(tmp_path)
    drawn = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").list_artifacts(run.info.run_id, "figures")
    assert {Path(file.path).stem for file in drawn} == {"confusion_matrix", "examples", "learning_curves"}


def test_mistakes_of_ours_can_be_traced(train, capsys, monkeypatch):
    def bug(*arguments: object) -> None:
        raise ValueError("shapes do not match")

    monkeypatch.setattr("mergerexp.study.plan.Planner.plan", bug)
    assert train() == 2
    assert capsys.readouterr().err.splitlines()[:2] == [
        "error: shapes do not match",
        "HYDRA_FULL_ERROR=1 shows where it came from",
    ]
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ValueError, match="shapes do not match"):
        train()


def test_help_on_a_sweep_that_is_none(refused, capsys):
    refused("fold=0,1", "--help")
    assert capsys.readouterr().err == "error: fold=0,1: several values need -m, as in -m fold=0,1\n"


def test_same_run_twice_is_the_same_to_the_bit(train, only_run, tmp_path, monkeypatch):
    results = []
    for attempt in ("first", "second"):
        root = tmp_path / attempt
        assert train(f"paths.root={root}", "augment=paper_intent") == 0
        (folder,) = (root / "runs").iterdir()
        results.append(pd.read_parquet(folder / "predictions.parquet"))
    pd.testing.assert_frame_equal(*results, check_exact=True)


RELOAD = """
import sys
import numpy as np

run, images, out = sys.argv[1:]
{readme}
x = torch.from_numpy(np.load(images)).permute(0, 3, 1, 2).float() / about["input"]["scale"]
mean, std = (torch.tensor(about["input"][key])[:, None, None] for key in ("mean", "std"))
with torch.inference_mode():
    p_m = head(backbone.eval()((x - mean) / std)).softmax(1)[:, 1]
assert "mergerexp" not in sys.modules
np.save(out, p_m.numpy())
"""


@pytest.mark.parametrize("backbone", ["test_resnet", "mobilenetv3_small_050"])
def test_model_is_reloaded_without_us(backbone, train, only_run, datasets, tmp_path):
    """From the run folder alone, with timm and safetensors, as the README shows it."""
    assert train("trainer.max_epochs=2", f"model.backbone={backbone}") == 0
    predictions = pd.read_parquet(only_run() / "predictions.parquet")
    (opened,) = (dataset for dataset in all_datasets(datasets) if dataset.meta["size"] == 32)
    row_of = {objid: row for row, objid in enumerate(opened.objids)}
    np.save(tmp_path / "x.npy", opened.images[[row_of[objid] for objid in predictions["objid"]]])
    arguments = [str(only_run()), str(tmp_path / "x.npy"), str(tmp_path / "p.npy")]
    (readme,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    script = RELOAD.replace("{readme}", readme)
    subprocess.run([sys.executable, "-c", script, *arguments], check=True)
    assert np.abs(np.load(tmp_path / "p.npy") - predictions["p_m"]).max() < 1e-5


@pytest.mark.parametrize(
    "overrides",
    [
        ("model.backbone=test_vit",),
        ("model.backbone=test_efficientnet",),
        ("model.backbone=test_convnext",),
        ("optimizer=adamw",),
        ("optimizer=adam", "augment=none"),
        ("augment=paper_literal",),
        ("split.subset_of=train", "subset=0.5", "split.negatives=matched"),
        ("model.normalization=raw", "init=random_frozen_head", "init.head_epochs=2"),
        ("trainer.precision=bf16",),
        (
            "experiment=quickstart",
            "trainer.max_epochs=1",
            "init.head_epochs=1",
            "init=random_frozen_head",
        ),
    ],
    ids=" ".join,
)
def test_swapped_by_override(overrides, train, only_run, monkeypatch):
    monkeypatch.setattr("mergerexp.config.device.cpu_computes_bf16", lambda: True)  # if slowly
    assert train("trainer.max_epochs=1", "tracking=none", *overrides) == 0
    assert 0 <= read_json(only_run() / "metrics.json")["test/auroc"] <= 1


def test_paper_experiment_trains(train, only_run):
    """Xception at a small size with random weights: the paper's path through the code."""
    overrides = ("experiment=paper", "model.backbone=legacy_xception", "data=sdss", "data.positive=double")
    assert train(*overrides, "init=random", "trainer.max_epochs=1", "data.size=48") == 0
    config = (only_run() / "config.yaml").read_text()
    assert "backbone: legacy_xception" in config


def test_second_run_passes_nothing_through_the_backbone(train, tmp_path):
    both = ("-m", "init=random_frozen_head", "init.head_epochs=1", "optimizer.lr=0.001,0.002")
    assert train(*both, "trainer.max_epochs=1", "tracking=none") == 0
    metrics = [read_json(path) for path in (tmp_path / "runs").glob("*/metrics.json")]
    passes = sorted(one["run/backbone_passes"] for one in metrics)
    assert passes[0] == 0
    assert passes[1] > 0


def test_one_failure_does_not_stop_the_others(train, tmp_path, monkeypatch, capsys):
    training_step = Stage.training_step

    def fail(self, batch, batch_idx):
        if self.optimizer_config.lr == pytest.approx(0.02):  # init=random: ten times the rate
            raise RuntimeError("out of memory")
        return training_step(self, batch, batch_idx)

    monkeypatch.setattr(Stage, "training_step", fail)
    assert train("-m", "optimizer.lr=0.001,0.002,0.003", "trainer.max_epochs=1") == 1
    states = sorted(read_json(path)["state"] for path in (tmp_path / "runs").glob("*/status.json"))
    assert states == ["done", "done", "failed"]
    assert "out of memory" in capsys.readouterr().err
    assert sorted(run.info.status for run in mlflow_runs(tmp_path)) == ["FAILED", "FINISHED", "FINISHED"]
    monkeypatch.setattr(Stage, "training_step", training_step)
    assert train("-m", "optimizer.lr=0.001,0.002,0.003", "trainer.max_epochs=1") == 0
    assert capsys.readouterr().err.count("done before") == 2
    assert [run.info.status for run in mlflow_runs(tmp_path)] == ["FINISHED"] * 3


def test_stopped_inside_an_allocation_mlflow_is_told(train, tmp_path, monkeypatch):
    """The shell's Slurm job is not the run's: nobody is about to requeue it."""

    def stop(self, batch, batch_idx):
        raise StopRequested

    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setattr(Stage, "training_step", stop)
    with pytest.raises(StopRequested):
        train("trainer.max_epochs=1")
    assert [run.info.status for run in mlflow_runs(tmp_path)] == ["KILLED"]


def test_a_root_that_is_moved_goes_on_where_it_is(train, tmp_path, monkeypatch, capsys):
    """Begun in one root, resumed by the same line in the other, asked for, and read back there."""
    old, new = tmp_path / "m1", tmp_path / "m2"
    step = Stage.training_step

    def stop(self, batch, batch_idx):
        if self.current_epoch == 1:
            raise StopRequested
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Stage, "training_step", stop)
    with pytest.raises(StopRequested):
        train(f"paths.root={old}")
    assert list(old.glob("runs/*/last.ckpt"))
    monkeypatch.setattr(Stage, "training_step", step)
    old.rename(new)
    assert train(f"paths.root={new}") == 0
    newer = new.rename(tmp_path / "m3")
    monkeypatch.setattr("sys.argv", ["status", "--root", str(newer), "--sync"])
    assert status.main() == 0
    assert capsys.readouterr().out == "MLflow has 1 of 1 runs that have begun\n"
    store = {"uri": f"sqlite:///{newer / 'mlflow.db'}", "experiment": "mergerexp", "artifacts": None}
    reader = MlflowReader(TrackingConfig(**store, retry_s=0.0))
    study = reader.with_predictions(reader.find())
    assert [gap for gap in study.gaps if gap.kind != "missing"] == []
    assert len(study.runs) == 1
    assert [path.name for path in (newer / "mlartifacts").iterdir()] == [study.runs["run_id"].iloc[0]]
    (folder,) = (newer / "runs").iterdir()
    config = RunFolder(folder).read_config()
    assert config.paths.features == str(newer / "features")
    assert config.tracking.uri == f"sqlite:///{newer / 'mlflow.db'}"
    assert not old.exists()
    assert not new.exists()


def test_a_run_that_another_process_trains_is_left_alone(train, only_run, capsys):
    assert train("trainer.max_epochs=1", "tracking=none") == 0
    from filelock import FileLock

    (only_run() / "predictions.parquet").unlink()  # not done, then
    with FileLock(only_run() / ".lock"):
        assert train("trainer.max_epochs=1", "tracking=none") == 1
    assert "another process" in capsys.readouterr().err


def test_json_files_are_plain(train, only_run):
    assert train("trainer.max_epochs=1") == 0
    for path in only_run().glob("*.json"):
        json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"a file holds {name}"))


@pytest.mark.parametrize("name", ["metrics.json", "history.json"])
def test_a_damaged_file_is_named(name, train, only_run, capsys):
    assert train("trainer.max_epochs=1") == 0
    (only_run() / name).write_text("")
    (only_run() / "mlflow.json").unlink()
    train("trainer.max_epochs=1")
    said = capsys.readouterr().err
    assert f"{only_run() / name} is damaged" in said
    assert "does not answer" not in said


def test_the_same_run_under_another_name_is_known(train, tmp_path, capsys):
    assert train("trainer.max_epochs=1", "tracking=none") == 0
    assert train("trainer.max_epochs=1", "tracking=none", "data.name=renamed") == 0
    assert "done before" in capsys.readouterr().err
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_table_does_not_average_over_other_settings(train, capsys):
    rates = "optimizer.lr=0.001,0.002"
    assert train("-m", rates, "fold=0,1", "trainer.max_epochs=1", "tracking=none") == 0
    table = capsys.readouterr().err
    assert "optimizer.lr" in table
    assert table.count("2 of 2") == 2


def test_table_does_not_average_over_settings_of_an_initialisation(train, capsys):
    rates = ("init=random", "init.lr_factor=1,10")
    assert train("-m", *rates, "fold=0,1", "trainer.max_epochs=1", "tracking=none") == 0
    table = capsys.readouterr().err
    assert "init.lr_factor" in table
    assert table.count("2 of 2") == 2


@pytest.mark.parametrize(
    ("overrides", "note"),
    [
        (("trainer.max_epochs=2", "trainer.patience=5"), "stopped at max_epochs"),
        (("trainer.max_epochs=9", "trainer.patience=1", "optimizer.lr=1e-9"), ""),
    ],
)
def test_how_training_ended_is_in_table_and_mlflow(overrides, note, train, tmp_path, capsys):
    assert train(*overrides) == 0
    assert ("stopped at max_epochs" in capsys.readouterr().err) == bool(note)
    (run,) = mlflow_runs(tmp_path)
    assert run.data.tags.get("mergerexp.caveat", "").partition(":")[0] == note
    epochs = run.data.metrics["run/finetune_epochs"]
    assert (epochs == 2) if note else (epochs == run.data.metrics["run/best_epoch"] + 2)


def test_runs_that_fail_before_they_begin_are_in_the_table(train, capsys, monkeypatch):
    def no_device(config):
        raise ValueError("this machine has no such device")

    monkeypatch.setattr("mergerexp.training.run.choose_machine", no_device)
    assert train("-m", "fold=0,1", "tracking=none") == 1
    assert "0 of 2" in capsys.readouterr().err


def test_impossible_splits_stop_the_sweep_before_it_starts(refused, capsys):
    refused("split.folds=90", "fold=80")
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")


def test_runs_in_one_process_give_back_their_images_and_networks(train, monkeypatch):
    """A finished training is a circle of objects, which Python searches for rarely in our processes."""
    begun, alive, init = list[weakref.ref](), list[int](), TwoStageTraining.__init__

    def noted(self, *args, **kwargs) -> None:
        alive.append(sum(each() is not None for each in begun))
        begun.append(weakref.ref(self))
        init(self, *args, **kwargs)

    monkeypatch.setattr(TwoStageTraining, "__init__", noted)
    assert train("-m", "init=random", "fold=0,1,2", "trainer.max_epochs=1", "tracking=none") == 0
    assert alive == [0, 0, 0]
