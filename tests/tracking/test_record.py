"""The MLflow record: complete in the end whatever happened, and never twice."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from omegaconf import OmegaConf

from mergerexp.config.schema import TrackingConfig
from mergerexp.files import write_json, write_text
from mergerexp.runs.job_folder import DONE, FAILED, RUNNING
from mergerexp.runs.run_folder import RunFolder
from mergerexp.tracking import record
from mergerexp.tracking.pending import Record, Standing, complete_records
from mergerexp.tracking.record import HASH, IDENTITY, send
from mergerexp.tracking.store import open_store
from tests.studies import add_run, empty_store

TRAINER = "trainer: {max_epochs: 5, patience: 2}\n"


@pytest.fixture
def tracking(tmp_path) -> TrackingConfig:
    (tmp_path / "store").mkdir()
    shutil.copy(empty_store(), tmp_path / "store" / "mlflow.db")  # to make one takes seconds
    return TrackingConfig(
        uri=f"sqlite:///{tmp_path}/store/mlflow.db",
        experiment="rare objects",
        artifacts=str(tmp_path / "artifacts"),
        retry_s=0.0,
    )


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    run = RunFolder(tmp_path / "runs" / "blobs-0123")
    run.path.mkdir(parents=True)
    write_json(run.inputs, {"fingerprint": "0123"})
    write_text(run.config, f"optimizer: {{lr: 0.1}}\n{TRAINER}seed: 3\n", signed=True)
    write_json(run.provenance, {"git": {"commit": "abc", "dirty": False}})
    run.set_state(RUNNING)
    return run


def epochs(n: int) -> list[dict]:
    return [
        {
            "stage": "finetune",
            "epoch": i,
            "timestamp_ms": 1_700_000_000_000 + i,
            "train_loss": 1 / (i + 1),
            "val_loss": 0.5,
            "val_accuracy": 0.9,
            "seconds": 1.0,
        }
        for i in range(n)
    ]


def finish(run: RunFolder) -> None:
    for path in run.artifacts():
        if not path.exists():
            write_json(path, [] if path == run.history else {"test/error": 0.25})
    run.seal()
    run.set_state(DONE)


def stored(tracking: TrackingConfig) -> tuple[MlflowClient, list]:
    client, _ = open_store(tracking)
    experiment = client.get_experiment_by_name(tracking.experiment)
    return client, client.search_runs([experiment.experiment_id])


def test_grows_with_the_run_and_is_closed(folder, tracking):
    send(folder, tracking)
    write_json(folder.history, epochs(2))
    send(folder, tracking)
    write_json(folder.history, epochs(5))
    finish(folder)
    for _ in range(3):
        send(folder, tracking)
    client, (run,) = stored(tracking)
    assert run.info.status == "FINISHED"
    trainer = {"trainer.max_epochs": "5", "trainer.patience": "2"}
    assert run.data.params == {"seed": "3", "optimizer.lr": "0.1", **trainer}
    assert run.data.metrics["test/error"] == 0.25
    history = client.get_metric_history(run.info.run_id, "finetune/train_loss")
    assert [(one.step, one.value) for one in history] == [(i, 1 / (i + 1)) for i in range(5)]
    assert {artifact.path for artifact in client.list_artifacts(run.info.run_id)} == {
        path.name for path in folder.artifacts()
    }


def test_a_retried_run_is_running_again(folder, tracking):
    folder.set_state(FAILED, error="out of memory")
    send(folder, tracking)
    assert [run.info.status for run in stored(tracking)[1]] == ["FAILED"]
    folder.set_state(RUNNING, error=None)
    send(folder, tracking)
    (run,) = stored(tracking)[1]
    assert run.info.status == "RUNNING"
    assert (run.data.tags["mergerexp.state"], run.data.tags["mergerexp.error"]) == ("running", "")
    finish(folder)
    send(folder, tracking)
    (run,) = stored(tracking)[1]
    assert (run.info.status, run.data.tags["mergerexp.error"]) == ("FINISHED", "")


@pytest.mark.parametrize("step", ["create_run", "log_batch", "log_artifact", "set_terminated"])
@pytest.mark.parametrize("after", [False, True])
def test_cut_off_anywhere_it_is_completed_once(step, after, folder, tracking, monkeypatch):
    """The connection is lost just before or just after a call takes effect."""
    write_json(folder.history, epochs(3))
    finish(folder)
    call = getattr(MlflowClient, step)

    def cut(*args, **kwargs):
        if after:
            call(*args, **kwargs)
        raise ConnectionError("the server is gone")

    keeper = Record(folder, tracking)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, step, cut)
        assert keeper.update(final=True) is False
    assert keeper.update(final=True) is True
    client, (run,) = stored(tracking)
    assert run.info.status == "FINISHED"
    assert run.data.params["seed"] == "3"
    assert len(client.get_metric_history(run.info.run_id, "finetune/val_loss")) == 3
    assert len(client.list_artifacts(run.info.run_id)) == len(folder.artifacts())


@pytest.mark.slow
def test_a_deleted_or_other_store_gets_the_whole_record(folder, tracking, tmp_path):
    finish(folder)
    send(folder, tracking)
    client, (run,) = stored(tracking)
    client.delete_run(run.info.run_id)
    send(folder, tracking)
    assert [one.info.status for one in stored(tracking)[1]] == ["FINISHED"]
    tracking.uri = f"sqlite:///{tmp_path}/other.db"
    send(folder, tracking)
    assert [one.info.status for one in stored(tracking)[1]] == ["FINISHED"]


def test_back_to_the_first_store_is_the_first_record(folder, tracking, tmp_path):
    finish(folder)
    first = tracking.uri
    for uri in (first, f"sqlite:///{tmp_path}/other.db", first):
        tracking.uri = uri
        send(folder, tracking)
    assert len(stored(tracking)[1]) == 1


def test_the_tags_are_those_of_the_attempt_that_came_out(folder, tracking):
    """Interrupted on a GPU, resumed with other code on a CPU."""
    write_json(folder.provenance, {"git": {"commit": "abc"}, "hardware": {"gpu": "H100", "cpu": "Epyc"}})
    folder.join("5weep")
    send(folder, tracking)
    send(folder, tracking)
    write_json(folder.provenance, {"git": {"commit": "def"}, "hardware": {"cpu": "Xeon"}})
    finish(folder)
    send(folder, tracking)
    (run,) = stored(tracking)[1]
    own = {key: value for key, value in run.data.tags.items() if key.startswith("mergerexp.")}
    hashes = {key.removeprefix(HASH) for key in own if key.startswith(HASH)}
    assert hashes == {path.name for path in folder.artifacts()}
    assert {key: value for key, value in own.items() if not key.startswith(HASH)} == {
        IDENTITY: "0123",
        "mergerexp.git.commit": "def",
        "mergerexp.hardware.cpu": "Xeon",
        "mergerexp.run_folder": folder.name,
        "mergerexp.sweep.5weep": "member",
        "mergerexp.state": "done",
        "mergerexp.error": "",
    }


def test_a_late_record_has_the_times_of_the_run(folder, tracking):
    folder.set_state(RUNNING, started=1_700_000_000.5)
    finish(folder)
    write_json(folder.path / "status.json", {**folder.status(), "updated": 1_700_000_060.0})
    send(folder, tracking)
    (run,) = stored(tracking)[1]
    assert (run.info.start_time, run.info.end_time) == (1_700_000_000_500, 1_700_000_060_000)


def artifact(tracking: TrackingConfig, name: str) -> Path:
    (path,) = Path(tracking.artifacts).glob(f"*/artifacts/{name}")
    return path


def lose_store(client: MlflowClient, run_id: str, tracking: TrackingConfig) -> None:
    Path(tracking.uri.removeprefix("sqlite:///")).unlink()


def delete_run(client: MlflowClient, run_id: str, tracking: TrackingConfig) -> None:
    client.delete_run(run_id)


def lose_artifact(client: MlflowClient, run_id: str, tracking: TrackingConfig) -> None:
    artifact(tracking, "predictions.parquet").unlink()


def cut_artifact(client: MlflowClient, run_id: str, tracking: TrackingConfig) -> None:
    artifact(tracking, "model.safetensors").write_bytes(b"")


def reopen(client: MlflowClient, run_id: str, tracking: TrackingConfig) -> None:
    client.update_run(run_id, status="RUNNING")


def change_artifact(client: MlflowClient, run_id: str, tracking: TrackingConfig) -> None:
    path = artifact(tracking, "history.json")
    path.write_bytes(path.read_bytes().replace(b"0.5", b"0.7"))


def drop(table: str, key: str) -> Callable[[MlflowClient, str, TrackingConfig], None]:
    def drop_rows(client: MlflowClient, run_id: str, tracking: TrackingConfig) -> None:
        with closing(sqlite3.connect(tracking.uri.removeprefix("sqlite:///"))) as store, store:
            for name in (table, "latest_metrics") if table == "metrics" else (table,):
                store.execute(f"DELETE FROM {name} WHERE key = ?", (key,))

    return drop_rows


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "is_seen"),
    [
        (lose_store, True),
        (delete_run, True),
        (lose_artifact, True),
        (cut_artifact, True),
        (reopen, True),
        (change_artifact, False),  # by the next command line; by status --sync it is
        (drop("metrics", "test/error"), False),
        (drop("metrics", "finetune/val_loss"), False),
        (drop("params", "seed"), False),
        (drop("tags", "mergerexp.git.commit"), False),
    ],
    ids=["store", "run", "artifact", "cut", "status", "content", "metric", "epochs", "param", "tag"],
)
def test_what_the_store_has_lost_is_sent_again(damage, is_seen, folder, tracking):
    own = OmegaConf.create(
        {"tracking": dataclasses.asdict(tracking), "trainer": {"max_epochs": 5, "patience": 2}, "seed": 3}
    )
    write_text(folder.config, OmegaConf.to_yaml(own), signed=True)
    write_json(folder.history, epochs(3))
    finish(folder)
    whole = Standing(begun=1)
    assert complete_records([folder]) == whole
    client, (before,) = stored(tracking)
    for ask in (False, True) if is_seen else (True,):
        damage(client, stored(tracking)[1][0].info.run_id, tracking)
        assert complete_records([folder], ask=ask) == whole
        client, (run,) = stored(tracking)
        assert run.info.status == "FINISHED"
        assert run.info.end_time == before.info.end_time
        assert run.data.params == before.data.params
        assert run.data.metrics == before.data.metrics
        assert {**run.data.tags} == {**before.data.tags}
        points = client.get_metric_history(run.info.run_id, "finetune/val_loss")
        assert [point.step for point in points] == [0, 1, 2]
        local = Path(client.download_artifacts(run.info.run_id, ""))
        for path in folder.artifacts():
            assert (local / path.name).read_bytes() == path.read_bytes()


def test_asking_a_store_that_has_all_changes_nothing(folder, tracking, tmp_path):
    write_json(folder.history, epochs(3))
    finish(folder)
    send(folder, tracking)
    _, (before,) = stored(tracking)
    artifacts = [path for path in Path(tracking.artifacts).rglob("*") if path.is_file()]
    times = [path.stat().st_mtime_ns for path in artifacts]
    send(folder, tracking, ask=True)
    _, (after,) = stored(tracking)
    assert after.to_dictionary() == before.to_dictionary()
    assert [path.stat().st_mtime_ns for path in artifacts] == times


def test_a_second_failure_is_told_too(folder, tracking):
    for reason in ("out of memory", "disk full"):
        folder.set_state(RUNNING, error=None)
        folder.set_state(FAILED, error=reason)
        send(folder, tracking)
    (run,) = stored(tracking)[1]
    assert (run.info.status, run.data.tags["mergerexp.error"]) == ("FAILED", "disk full")


@pytest.mark.parametrize("content", ["", '{"uri": "sql', "{}"])
def test_a_damaged_note_is_made_anew(content, folder, tracking):
    write_json(folder.history, epochs(3))
    finish(folder)
    send(folder, tracking)
    folder.note_file.write_text(content)
    send(folder, tracking)
    client, (run,) = stored(tracking)
    assert folder.note()["run_id"] == run.info.run_id
    assert len(client.get_metric_history(run.info.run_id, "finetune/val_loss")) == 3


@pytest.mark.parametrize("name", ["history.json", "metrics.json", "sweeps.json", "config.yaml"])
@pytest.mark.parametrize("left", [0, 0.7])
def test_a_damaged_file_is_named_and_the_other_runs_are_recorded(
    name, left, folder, tracking, tmp_path, caplog
):
    other = RunFolder(tmp_path / "runs" / "blobs-4567")
    other.path.mkdir()
    for run, fingerprint in ((folder, "0123"), (other, "4567")):
        run.join("one sweep")
        write_json(run.inputs, {"fingerprint": fingerprint})
        write_json(run.provenance, {"git": {"commit": "abc"}})
        own = f"tracking: {{uri: '{tracking.uri}', experiment: {tracking.experiment}, "
        own += f"artifacts: {tracking.artifacts}, retry_s: 0.0}}\n{TRAINER}seed: 3\n"
        write_text(run.config, own, signed=True)
        write_json(run.history, epochs(3))
        finish(run)
    damaged = folder.path / name
    damaged.write_text(damaged.read_text()[: int(left * len(damaged.read_text()))])
    logging.getLogger("mergerexp").propagate = True
    assert complete_records([folder, other]) == Standing(begun=2, lacking=1, broken=True)
    assert "does not answer" not in caplog.text
    assert f"{damaged} is damaged" in caplog.text
    assert other.note()["closed"] is not None


def test_the_same_run_of_two_roots_is_recorded_once(folder, tracking, tmp_path):
    twin = RunFolder(tmp_path / "other" / "runs" / folder.name)
    shutil.copytree(folder.path, twin.path)
    for run, later in ((folder, 0), (twin, 1_000_000)):
        rows = [{**row, "timestamp_ms": row["timestamp_ms"] + later} for row in epochs(5)]
        for n in (2, 5):
            write_json(run.history, rows[:n])
            send(run, tracking)
        finish(run)
        send(run, tracking)
    client, (one,) = stored(tracking)
    for key, steps in (("finetune/val_loss", [0, 1, 2, 3, 4]), ("test/error", [0])):
        assert [point.step for point in client.get_metric_history(one.info.run_id, key)] == steps


def test_artifacts_lie_beside_the_sqlite_file_unless_told(folder, tracking, tmp_path, monkeypatch):
    monkeypatch.chdir(folder.path)
    tracking.artifacts = None
    finish(folder)
    send(folder, tracking)
    found = (tmp_path / "store" / "mlartifacts").rglob("*.*")
    assert {path.name for path in found} == {path.name for path in folder.artifacts()}
    assert not (folder.path / "mlruns").exists()


def test_an_outage_is_told_and_not_tried_at_every_epoch(folder, tracking, monkeypatch, caplog):
    tracking.retry_s = 60.0
    calls = []

    def no_answer(*args):
        calls.append(args)
        raise OSError("no route")

    monkeypatch.setattr(record, "send", no_answer)
    keeper = Record(folder, tracking)
    logging.getLogger("mergerexp").propagate = True
    assert [keeper.update() for _ in range(5)] == [False] * 5
    assert len(calls) == 1
    assert "no route" in caplog.text
    assert keeper.update(final=True) is False
    assert len(calls) == 2


@pytest.mark.slow
def test_many_processes_open_a_fresh_store(tmp_path):
    script = (
        "import sys; from mergerexp.config.schema import TrackingConfig\n"
        "from mergerexp.tracking.store import open_store\n"
        "open_store(TrackingConfig(uri=sys.argv[1], experiment='e', artifacts=None, retry_s=0.0))"
    )
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    processes = [subprocess.Popen([sys.executable, "-c", script, uri]) for _ in range(4)]
    assert [process.wait(timeout=120) for process in processes] == [0] * 4
    assert MlflowClient(uri).get_experiment_by_name("e") is not None
    assert Path(tmp_path / "mlflow.db").is_file()


@pytest.mark.slow
def test_a_run_without_a_store_does_without_mlflow():
    code = "import sys, mergerexp.training.run; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.fixture
def seen_twice(monkeypatch) -> None:
    """Let a server go down before it answers: it has made the run, and the client asks once more."""
    create_run = MlflowClient.create_run

    def create_twice(client: MlflowClient, *given: Any, **named: Any) -> Run:
        create_run(client, *given, **named)
        return create_run(client, *given, **named)

    monkeypatch.setattr(MlflowClient, "create_run", create_twice)


@pytest.mark.usefixtures("seen_twice")
def test_a_request_that_the_server_saw_twice_leaves_one_record(tmp_path):
    add_run(tmp_path, "init=imagenet", "fold=0")
    add_run(tmp_path, "init=imagenet", "fold=1")
    runs = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").search_runs(["1"])
    assert sorted(run.data.params["fold"] for run in runs) == ["0", "1"]
    assert {run.info.status for run in runs} == {"FINISHED"}


@pytest.mark.usefixtures("seen_twice")
def test_a_server_that_lets_nobody_delete_has_the_whole_record(folder, tracking, monkeypatch, caplog):
    """MLflow gives that right to whoever manages an experiment, and not to whoever edits it."""

    def refuse(*_: object) -> None:
        raise MlflowException("Permission denied", error_code=PERMISSION_DENIED)

    finish(folder)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "delete_run", refuse)
        logging.getLogger("mergerexp").propagate = True
        assert complete_records([folder], lambda _: tracking) == Standing(begun=1)
    assert "can't be deleted (MlflowException: Permission denied)" in caplog.text
    assert sorted(run.info.status for run in stored(tracking)[1]) == ["FINISHED", "RUNNING"]
    send(folder, tracking, ask=True)  # as status --sync does, which the warning names
    assert [run.info.status for run in stored(tracking)[1]] == ["FINISHED"]
