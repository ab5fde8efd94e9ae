"""The MLflow record of a run, made from its folder: it may lag behind, and is never needed to go on.

What has been sent is noted in the run folder, and everything that is sent twice is the same twice, so
that a record which was cut off anywhere (a kill, a server that was down) is completed by the next call.
"""

from __future__ import annotations

import logging
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock
from omegaconf import OmegaConf

from mergerexp.config.paths import SQLITE
from mergerexp.config.schema import TrackingConfig, unused_groups
from mergerexp.errors import UserError, without_credentials
from mergerexp.files import flatten, read_json, write_json
from mergerexp.sweep.job_folder import DONE, FAILED, LOST, RUNNING, STOPPED
from mergerexp.sweep.run_folder import RunFolder

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# A server that is down must not hold up training: we try again ourselves.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

for chatty in ("mlflow", "alembic"):
    logging.getLogger(chatty).setLevel(logging.WARNING)  # they set their own level when imported

IDENTITY = "mergerexp.fingerprint"
SWEEP = "mergerexp.sweep."  # and its id: a tag for each sweep that the run is part of
KIND = {"mlflow.experimentKind": "custom_model_development"}  # else the UI opens on language models
CLOSED = {DONE: "FINISHED", FAILED: "FAILED", LOST: "FAILED", STOPPED: "KILLED"}  # in MLflow's words
PER_BATCH = 900  # metrics; MLflow takes 1000 at once
EPOCH_METRICS = ("train_loss", "val_loss", "val_accuracy", "seconds")


def sync(folder: RunFolder, tracking: TrackingConfig) -> None:
    """Bring the MLflow record of a run folder up to date; costs next to nothing where it is.

    Raises
    ------
    UserError
        If a file of the run is damaged or missing.
    Exception
        Whatever the store raises when it does not answer.
    """
    client, uri = open_store(tracking)
    store = {"uri": uri, "experiment": tracking.experiment}
    note = folder.note()
    if {key: note.get(key) for key in store} != store:
        note = {**store, "run_id": None, "rows": 0, "closed": None}
    if note.pop("superseded", False) and _existing(client, note["run_id"]):  # rerun=all: one record a run
        client.delete_run(note["run_id"])  # MLflow keeps it restorable
    if _existing(client, note["run_id"]) is None:
        note = {**store, "run_id": _start(client, folder, tracking), "rows": 0, "closed": None}
        write_json(folder.record, note)
    if note.get("sweeps", []) != folder.sweeps:
        client.log_batch(note["run_id"], tags=[RunTag(f"{SWEEP}{name}", "member") for name in folder.sweeps])
        note["sweeps"] = folder.sweeps
        write_json(folder.record, note)
    _send_history(client, folder, note)
    status = folder.status()
    if status.get("state") not in CLOSED:
        if note["closed"] is not None:  # a failed or stopped run goes on
            client.log_batch(note["run_id"], tags=_state_tags(status.get("state", RUNNING), ""))
            client.update_run(note["run_id"], status="RUNNING")
            note["closed"] = None
            write_json(folder.record, note)
    elif note["closed"] != status["updated"]:
        _close(client, folder, note["run_id"], status)
        note["closed"] = status["updated"]
        write_json(folder.record, note)


def open_store(tracking: TrackingConfig, create: bool = True) -> tuple[MlflowClient, str]:
    """Open the store and make sure the experiment exists; return the client and the store's full URI.

    Many processes may do so at once on a fresh SQLite file: the first one makes the tables.

    Parameters
    ----------
    tracking
        Which store and experiment.
    create
        Make what is not there.

    Raises
    ------
    UserError
        If store or experiment are not there and are not to be made.
    """
    assert tracking.uri is not None
    uri, lock = tracking.uri, nullcontext()
    if uri.startswith(SQLITE):
        path = Path(uri.removeprefix(SQLITE)).absolute()
        if not create and not (path.is_file() and path.stat().st_size):  # an empty one would get tables
            raise UserError(f"{path}: no MLflow store; MERGEREXP_ROOT or tracking.uri says where it is")
        path.parent.mkdir(parents=True, exist_ok=True)
        uri = f"{SQLITE}{path}"
        lock = FileLock(path.with_name(f"{path.name}.lock"))  # type: ignore[assignment]
    with lock:
        mlflow.set_tracking_uri(uri)
        client = MlflowClient(uri)
        if client.get_experiment_by_name(tracking.experiment) is None:
            if not create:
                known = ", ".join(experiment.name for experiment in client.search_experiments())
                where = without_credentials(uri)
                raise UserError(f"no experiment {tracking.experiment} in {where}; there are {known}")
            _create_experiment(client, tracking, uri)
    return client, uri


def _create_experiment(client: MlflowClient, tracking: TrackingConfig, uri: str) -> None:
    artifacts = Path(tracking.artifacts).resolve().as_uri() if tracking.artifacts else None
    if artifacts is None and uri.startswith(SQLITE):  # MLflow would take ./mlruns, wherever that is
        artifacts = Path(uri.removeprefix(SQLITE)).with_name("mlartifacts").as_uri()
    try:
        client.create_experiment(tracking.experiment, artifacts, KIND)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another run was quicker
            raise


def _existing(client: MlflowClient, run_id: str | None) -> str | None:
    """Return the run's id if the store still has it."""
    if run_id is None:
        return None
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return run_id if run.info.lifecycle_stage == "active" else None


def _start(client: MlflowClient, folder: RunFolder, tracking: TrackingConfig) -> str:
    """Create the MLflow run with its parameters and tags, or find the one that is there already."""
    experiment = client.get_experiment_by_name(tracking.experiment)
    assert experiment is not None  # open_store made it
    same = f"tags.`{IDENTITY}` = '{folder.fingerprint}'"
    found = client.search_runs([experiment.experiment_id], same, max_results=1)
    if found:
        run = found[0]
    else:
        run = client.create_run(experiment.experiment_id, run_name=folder.path.name, tags=_tags(folder))
    config: Any = OmegaConf.to_container(folder.read_config())
    for group in unused_groups(config.get("model", {}).get("kind")):
        config.pop(group, None)
    new = {key: str(value)[:6000] for key, value in flatten(config).items() if key not in run.data.params}
    client.log_batch(run.info.run_id, params=[Param(key, value) for key, value in new.items()])
    return str(run.info.run_id)


def _tags(folder: RunFolder) -> dict[str, str]:
    tags = {**flatten(read_json(folder.provenance)), "run_folder": folder.path.name}
    return {IDENTITY: folder.fingerprint} | {f"mergerexp.{key}": str(tags[key])[:5000] for key in tags}


def _send_history(client: MlflowClient, folder: RunFolder, note: dict[str, Any]) -> None:
    """Send the epochs that the note lacks, except what the same run below another root has sent."""
    rows = read_json(folder.history) if folder.history.is_file() else []
    metrics = [
        Metric(f"{row['stage']}/{name}", row[name], row["timestamp_ms"], row["epoch"])
        for row in rows[note["rows"] :]
        for name in EPOCH_METRICS
        if row.get(name) is not None
    ]
    known = {
        (key, point.step)
        for key in {metric.key for metric in metrics}
        for point in client.get_metric_history(note["run_id"], key)
    }
    new = [metric for metric in metrics if (metric.key, metric.step) not in known]
    for start in range(0, len(new), PER_BATCH):
        client.log_batch(note["run_id"], metrics=new[start : start + PER_BATCH])
    if metrics:
        note["rows"] = len(rows)
        write_json(folder.record, note)


def _close(client: MlflowClient, folder: RunFolder, run_id: str, status: dict[str, Any]) -> None:
    state = status["state"]
    if state == DONE:
        if missing := [path.name for path in folder.artifacts() if not path.is_file()]:
            raise UserError(f"{folder.path} lacks {', '.join(missing)}")
        metrics, known = read_json(folder.metrics), client.get_run(run_id).data.metrics
        now = int(status["updated"] * 1000)
        new = [Metric(key, value, now, 0) for key, value in metrics.items() if known.get(key) != value]
        client.log_batch(run_id, metrics=new)
        for path in [*folder.artifacts(), *filter(Path.is_file, [folder.diff])]:
            client.log_artifact(run_id, str(path))
    error = str(status.get("error") or "")
    client.log_batch(run_id, tags=_state_tags(state, error))
    client.set_terminated(run_id, CLOSED[state])


def _state_tags(state: str, error: str) -> list[RunTag]:
    return [RunTag("mergerexp.state", state), RunTag("mergerexp.error", error[:5000])]
