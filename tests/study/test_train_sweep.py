"""The train verb's sweeps in processes of this machine, and the status verb that looks at them."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from mergerexp import status
from mergerexp.config.call import differences
from mergerexp.errors import UserError
from mergerexp.files import read_json, write_json
from mergerexp.runs.job_folder import DONE, FAILED, QUEUED, RUNNING
from mergerexp.runs.run_folder import RunFolder
from mergerexp.runs.sweep_folder import SweepFolder, find_sweeps
from mergerexp.sweep.local import Local
from mergerexp.tracking.pending import Standing, complete_records
from tests.conftest import TINY

SWEEP = ("-m", "init=random_frozen_head,random", "fold=0,1", "trainer.max_epochs=1")
LOCAL = ("hydra/launcher=local", "hydra.launcher.n_jobs=2")


@pytest.fixture
def runs(tmp_path) -> Path:
    return tmp_path / "runs"


def predictions(runs: Path) -> dict[str, pd.DataFrame]:
    return {path.parent.name: pd.read_parquet(path) for path in runs.glob("*/predictions.parquet")}


def test_local_processes_give_what_one_process_gives(train, tmp_path, runs, capsys):
    assert train(*SWEEP, *LOCAL) == 0
    apart = predictions(runs)
    assert len(apart) == 4
    first = {path: path.stat().st_mtime_ns for path in runs.glob("*/status.json")}
    assert train(*SWEEP, *LOCAL) == 0
    assert "4 done before, 0 to start" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in first} == first

    assert train(*SWEEP, f"paths.root={tmp_path / 'together'}") == 0
    together = predictions(tmp_path / "together" / "runs")
    assert apart.keys() == together.keys()
    assert all(apart[run].equals(together[run]) for run in apart)

    (sweep,) = find_sweeps(tmp_path / "sweeps")
    assert len(sweep.read()["runs"]) == 4
    assert read_json(next(runs.iterdir()) / "inputs.json")["command"].endswith(" ".join(LOCAL))
    code = next((tmp_path / "sweeps").glob("code-*"))
    assert (code / "mergerexp" / "train.py").is_file()
    assert (code / "conf" / "train.yaml").is_file()


@pytest.mark.parametrize("how", [("-m", *LOCAL), ()], ids=["sweep", "one run"])
def test_results_that_somebody_removed_are_made_again(how, train, runs, capsys):
    run = (*how, "fold=0", "trainer.max_epochs=1")
    assert train(*run) == 0
    (folder,) = runs.iterdir()
    assert re.search(rf"1 run \({folder.name}\), 0 done|{folder.name}: starting", capsys.readouterr().err)
    before = pd.read_parquet(folder / "predictions.parquet")
    for name in ("predictions.parquet", "model.safetensors"):
        (folder / name).unlink()
    assert train(*run) == 0
    assert RunFolder(folder).is_done()
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "predictions.parquet"), before)


def test_damage_to_a_finished_run_and_its_data(train, galaxies, tmp_path, runs, capsys):
    run = ("fold=0", "trainer.max_epochs=1", "tracking=none", f"paths.datasets={tmp_path / 'sets'}")
    assert train(*run) == 0
    (folder,) = runs.iterdir()
    before = pd.read_parquet(folder / "predictions.parquet")
    status = RunFolder(folder).status()

    flip(folder / "status.json")
    assert train(*run) == 0
    said = capsys.readouterr().err
    assert f"{folder / 'status.json'} is damaged" in said and "done before" in said
    assert RunFolder(folder).status()["seconds"] == pytest.approx(status["seconds"], abs=1)
    assert train(*run) == 0
    assert "damaged" not in capsys.readouterr().err

    for name in ("predictions.parquet", "model.safetensors"):
        flip(folder / name)
        assert train(*run) == 0
        said = capsys.readouterr().err
        assert f"{folder / name} is damaged" in said and "has to begin anew" in said
        pd.testing.assert_frame_equal(pd.read_parquet(folder / "predictions.parquet"), before)

    (dataset,) = (tmp_path / "sets").glob("[!.]*")
    flip(dataset / "images.npy")
    assert train(*run) == 2
    assert f"error: {dataset / 'images.npy'} is damaged" in capsys.readouterr().err


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_file_system_without_locks_is_refused(refused, monkeypatch, capsys, tmp_path):
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    refused("fold=0")
    assert "this file system has no locks" in capsys.readouterr().err
    assert not list(tmp_path.glob(".lock*"))


def test_a_sweep_of_a_file_has_a_row_for_each_run_and_no_other(train, tmp_path, capsys, monkeypatch):
    mine = tmp_path / "own" / "experiment" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("# @package _global_\nhydra:\n  sweeper:\n    params:\n      fold: 0,1\n")
    own = ("--config-dir", str(tmp_path / "own"), "experiment=mine")
    assert train("-m", *own, "trainer.max_epochs=1", "tracking=none", *LOCAL) == 0
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["status", "--root", str(tmp_path), "--json"])
    assert status.main() == 0
    rows = json.loads(capsys.readouterr().out)["runs"]
    assert [(row["label"], row["state"]) for row in rows] == [("fold=0", "done"), ("fold=1", "done")]


def test_rerun(train, tmp_path, runs, capsys):
    run = ("-m", "fold=0", "trainer.max_epochs=1", *LOCAL)
    assert train(*run) == 0
    (folder,) = runs.iterdir()
    before, record = read_json(folder / "status.json"), read_json(folder / "mlflow.json")
    assert train(*run, "hydra.launcher.rerun=all") == 0
    after = read_json(folder / "status.json")
    assert after["updated"] > before["updated"]
    assert after["restarts"] == 0
    again = read_json(folder / "mlflow.json")
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert client.get_run(record["run_id"]).info.lifecycle_stage == "deleted"  # one record a run
    assert client.get_run(again["run_id"]).info.status == "FINISHED"
    assert len(client.get_metric_history(again["run_id"], "finetune/val_loss")) == 1

    RunFolder(folder).set_state(FAILED, error="ValueError: bad luck")
    assert train(*run, "hydra.launcher.rerun=none") == 1
    assert "bad luck" in capsys.readouterr().err
    assert train(*run) == 0


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def test_a_refused_rerun_changes_nothing(train, tmp_path, runs, monkeypatch, capsys):
    run = ("-m", "fold=0", "trainer.max_epochs=1", *LOCAL)
    assert train(*run) == 0
    (folder,) = runs.iterdir()
    before = content(folder)

    def refuse(self, jobs):
        raise UserError("Slurm refuses the jobs: no such partition")

    with monkeypatch.context() as patch:
        patch.setattr(Local, "submit", refuse)
        assert train(*run, "hydra.launcher.rerun=all") == 2
    assert "no such partition" in capsys.readouterr().err
    assert content(folder) == before
    assert train(*run) == 0
    assert "1 done before, 0 to start" in capsys.readouterr().err


def test_rerun_of_all_goes_on_without_that_option(train, tmp_path, runs, monkeypatch, capsys):
    run = ("-m", "fold=0", "trainer.max_epochs=1", *LOCAL)
    assert train(*run) == 0
    (folder,) = runs.iterdir()
    first = read_json(folder / "mlflow.json")["run_id"]
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")

    def interrupt(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Local, "poll", interrupt)
        assert train(*run, "hydra.launcher.rerun=all") == 130
    assert "Leave out hydra.launcher.rerun=all" in capsys.readouterr().err
    assert complete_records([RunFolder(folder)]) == Standing(begun=1)
    assert client.get_run(first).info.status == "FINISHED"  # nothing has begun yet
    before = read_json(folder / "history.json")
    assert train(*run) == 0
    assert read_json(folder / "history.json") != before  # of another time
    assert client.get_run(first).info.lifecycle_stage == "deleted"
    capsys.readouterr()
    assert train(*run) == 0
    assert "1 done before, 0 to start" in capsys.readouterr().err


def test_a_killed_run_is_over_for_mlflow_too(train, tmp_path, runs, monkeypatch):
    def kill(self):
        (folder,) = map(RunFolder, runs.iterdir())
        if folder.status().get("state") == RUNNING and folder.provenance.is_file() and folder.is_held():
            os.kill(folder.status()["pid"], signal.SIGKILL)
        poll(self)

    poll = Local.poll
    monkeypatch.setattr(Local, "poll", kill)
    assert train("-m", "fold=0", "trainer.max_epochs=100000", "trainer.patience=100000", *LOCAL) == 1
    (folder,) = map(RunFolder, runs.iterdir())
    assert "killed by SIGKILL" in folder.status()["error"]
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert client.get_run(read_json(folder.note_file)["run_id"]).info.status == "FAILED"


def test_all_wrong_cells_are_named_and_nothing_starts(refused, capsys):
    refused("-m", "split.folds=3,4", "fold=2,3", "subset=0.5,1.0,1.5", *LOCAL)
    assert [
        line.removeprefix("error: ").split(": ")[:2] for line in capsys.readouterr().err.splitlines()
    ] == [
        ["split.folds=3 fold=2 subset=1.5 and 3 others", "subset=1.5"],
        ["split.folds=3 fold=3 subset=0.5", "fold=3"],
        ["split.folds=3 fold=3 subset=1.0", "fold=3"],
        ["split.folds=3 fold=3 subset=1.5", "fold=3"],
    ]
    refused("-m", "fold=0,1,2,3", "trainer.patience=0", *LOCAL)  # the same for all: once
    assert capsys.readouterr().err == "error: trainer.patience=0: must be at least 1 and at most 1000000\n"


def test_cells_that_the_data_can_not_be_split_for(refused, capsys):
    refused("-m", "split.folds=48", "fold=0,46,47", *LOCAL)  # of 40 doubles
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert [line.split(": ")[1] for line in lines] == ["fold=46", "fold=47"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("hydra.launcher.n_jobs=0", "hydra.launcher.n_jobs=0: must be at least 1"),
        ("hydra.launcher.n_job=2", "hydra.launcher.n_job: unknown key; did you mean hydra.launcher.n_jobs"),
        ("hydra.launcher.n_jobs=two", "hydra.launcher.n_jobs"),
        ("hydra.launcher.rerun=some", "hydra.launcher.rerun=some: choose one of failed, none, all"),
        ("hydra/launcher=cloud", "hydra/launcher=cloud: choose one of"),
    ],
)
def test_wrong_launcher_options(override, said, refused, capsys):
    refused("-m", "fold=0,1", "hydra/launcher=local", override)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {said}")


@pytest.mark.training
@pytest.mark.parametrize("how", ["ctrl-c", "status --cancel"])
def test_stopped_with_checkpoints(how, galaxies, datasets, tmp_path, runs):
    shared = [f"paths.datasets={datasets}", f"paths.weights={datasets / 'weights'}"]
    data = ["data=folder", f"data.root={galaxies}", *shared, "tracking=none"]
    tiny = [override for override in TINY if not override.startswith("trainer.max_epochs")]
    long = ["trainer.max_epochs=100000", "trainer.patience=100000"]
    line = [sys.executable, "-m", "mergerexp.train", "-m", *data, *tiny, *long, "fold=0,1", *LOCAL]
    environment = {**os.environ, "MERGEREXP_ROOT": str(tmp_path)}
    process = subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 600
    while len(list(runs.glob("*/last.ckpt"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if how == "ctrl-c":
        process.send_signal(signal.SIGINT)
    else:
        cancel = [sys.executable, "-m", "mergerexp.status", "--cancel"]
        said = subprocess.run(cancel, env=environment, capture_output=True, text=True).stdout
        assert "told to stop" in said
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in shown
    for folder in runs.iterdir():
        assert read_json(folder / "status.json")["state"] == "stopped"
        assert (folder / "last.ckpt").is_file()


def test_overrides_that_tell_runs_apart():
    assert differences([["a=1", "fold=0"], ["a=1", "fold=1"]]) == [["fold=0"], ["fold=1"]]
    assert differences([["a=1", "fold=0"]]) == [["a=1", "fold=0"]]


@pytest.fixture
def sweep(tmp_path) -> SweepFolder:
    """Four hundred runs, none of which is at work."""
    runs = [RunFolder(tmp_path / "runs" / f"run-{i:03d}") for i in range(400)]
    for run in runs[:-1]:
        run.set_state(RUNNING, epoch=3, stage="finetune", best_accuracy=0.9, seconds=65.0)
    runs[0].set_state(FAILED, error="ValueError: bad luck")
    runs[1].set_state(QUEUED)
    sweep = SweepFolder.of(tmp_path / "sweeps", runs)
    sweep.write(runs, [[f"fold={i}"] for i in range(400)], [1.0] * 400)
    return sweep


def test_a_moved_root_has_its_own_runs(tmp_path):
    inside, outside = RunFolder(tmp_path / "old" / "runs" / "one"), RunFolder(tmp_path / "scratch" / "two")
    sweep = SweepFolder.of(tmp_path / "old" / "sweeps", [inside, outside])
    sweep.write([inside, outside], [["fold=0"], ["fold=1"]], [1.0, 2.0])
    assert sweep.members().folders == [inside, outside]
    (tmp_path / "old").rename(tmp_path / "new")
    (moved,) = find_sweeps(tmp_path / "new" / "sweeps")
    assert moved.members().folders == [RunFolder(tmp_path / "new" / "runs" / "one"), outside]


def test_status(sweep, tmp_path, capsys, monkeypatch):
    def ask(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["status", "--root", str(tmp_path), *arguments])
        code = status.main()
        return (code, *capsys.readouterr())

    code, shown, _ = ask("--json")
    states = json.loads(shown)["runs"]
    assert code == 1
    assert [states[0]["state"], states[1]["state"], states[2]["state"]] == ["failed", "stopped", "lost"]
    assert states[2]["error"] == "its process is gone"
    waited = "was waiting for its turn when the sweep was stopped"
    assert [states[1]["error"], states[399]["error"]] == [waited] * 2  # nobody is there to start them
    code, shown, _ = ask(sweep.name[:3])
    assert "fold=2 " in shown
    assert "397 lost" in shown
    code, shown, _ = ask("--list")
    assert (code, sweep.name in shown) == (0, True)
    assert ask("nonsense")[::2] == (2, f"error: nonsense: no such sweep; there are {sweep.name}\n")
    content = sweep.read()
    for key in content:
        write_json(sweep.path / "sweep.json", {name: content[name] for name in content if name != key})
        code, _, said = ask("--list")
        assert (code, f"{sweep.path}: no sweep (sweep.json lacks {key})" in said) == (2, True)
    write_json(sweep.path / "sweep.json", {**content, "runs": [{"folder": "runs/run-000"}]})
    assert "sweep.json lacks overrides" in ask("--list")[2]
    monkeypatch.setattr(sys, "argv", ["status", "--root", str(tmp_path / "elsewhere")])
    assert status.main() == 2
    assert "MERGEREXP_ROOT" in capsys.readouterr().err


@pytest.fixture
def cancel(sweep, tmp_path, capsys, monkeypatch) -> Callable[[str], str]:
    """Cancel a sweep whose launcher runs on a host with a process id; return what is said."""

    def say(host: str, pid: int = os.getpid()) -> str:
        write_json(sweep.file, {**sweep.read(), "launcher": {"host": host, "pid": pid}})
        monkeypatch.setattr(sys, "argv", ["status", "--root", str(tmp_path), "--cancel", "--json"])
        status.main()
        return capsys.readouterr().err.strip()

    return say


def test_cancel_names_a_launcher_that_it_cannot_reach(sweep, cancel, monkeypatch):
    assert cancel("former-name", 4711) == (
        f"sweep {sweep.name}: process 4711 on former-name may still look after the sweep, and can't be "
        "stopped from here: give the same command on former-name; if former-name is an old name of this "
        "machine, kill 4711"
    )
    assert cancel(platform.node()) == f"sweep {sweep.name}: nothing is under way that could be stopped"

    def refuse(pid: int, signum: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    with sweep.lock():
        assert "belongs to another user" in cancel(platform.node())
    for folder in sweep.members().folders:
        folder.set_state(DONE)
    assert cancel("former-name").endswith("nothing is under way that could be stopped")
