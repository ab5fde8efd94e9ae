"""What MLflow has lost or somebody has damaged: it is sent again, or named."""

from __future__ import annotations

import dataclasses
import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from omegaconf import OmegaConf

from mergerexp.config.schema import TrackingConfig
from mergerexp.files import write_json, write_text
from mergerexp.runs.run_folder import RunFolder
from mergerexp.tracking.pending import Standing, complete_records
from mergerexp.tracking.record import send
from tests.tracking.conftest import TRAINER, epochs, finish, stored


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
