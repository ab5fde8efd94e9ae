"""The MLflow record: complete in the end whatever happened, and never twice."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from mergerexp.files import write_json
from mergerexp.runs.job_folder import FAILED, RUNNING
from mergerexp.runs.run_folder import RunFolder
from mergerexp.tracking import record
from mergerexp.tracking.pending import Record, Standing, complete_records
from mergerexp.tracking.record import send
from mergerexp.tracking.tags import HASH, IDENTITY
from tests.studies import add_run
from tests.tracking.conftest import epochs, finish, stored


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


def test_two_runs_record_a_new_data_set_at_the_same_moment(folder, tracking, monkeypatch):
    """MLflow looks whether it knows the data set, and then adds it: the second of two is refused."""
    data = {
        "name": "blobs",
        "content_hash": "c" * 64,
        "objects": 96,
        "positive": "double",
        "negative": "single",
    }
    write_json(folder.inputs, {"fingerprint": "0123", "dataset": {"path": "there"}})
    write_json(folder.provenance, {"git": {"commit": "abc", "dirty": False}, "data": data})
    log_inputs, refused = MlflowClient.log_inputs, list[Any]()

    def overtaken(self, run_id: str, datasets: Any, *rest: Any) -> None:
        if not refused:
            refused.append(run_id)
            raise MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed: datasets.digest")
        log_inputs(self, run_id, datasets, *rest)

    monkeypatch.setattr(MlflowClient, "log_inputs", overtaken)
    send(folder, tracking)
    (run,) = stored(tracking)[1]
    assert refused == [run.info.run_id]
    assert len(run.inputs.dataset_inputs) == 1


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


def test_a_second_failure_is_told_too(folder, tracking):
    for reason in ("out of memory", "disk full"):
        folder.set_state(RUNNING, error=None)
        folder.set_state(FAILED, error=reason)
        send(folder, tracking)
    (run,) = stored(tracking)[1]
    assert (run.info.status, run.data.tags["mergerexp.error"]) == ("FAILED", "disk full")


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


def test_the_caller_goes_on_while_the_first_record_is_sent(folder, tracking, monkeypatch):
    """A store that answers late holds up the next update alone, which sends nothing at the same time."""
    goes_on, real, sending = threading.Event(), record.send, list[str]()

    def slowly(*args):
        sending.append("begins")
        assert goes_on.wait(timeout=20)
        real(*args)
        sending.append("is over")

    monkeypatch.setattr(record, "send", slowly)
    keeper = Record(folder, tracking)
    keeper.begin()
    goes_on.set()  # which is never reached by a caller that waits
    assert keeper.update(final=True) is True
    assert sending == ["begins", "is over"] * 2
    assert len(stored(tracking)[1]) == 1


def test_a_first_record_that_fails_stops_nothing(folder, tracking, monkeypatch):
    def lost(*args):
        raise ConnectionError("the server is gone")

    with monkeypatch.context() as patch:
        patch.setattr(record, "send", lost)
        keeper = Record(folder, tracking)
        keeper.begin()
        assert keeper.update() is False  # it was tried a moment ago
        assert not keeper.answers
    assert keeper.update(final=True) is True
