"""The record of a run in MLflow, which is made from the run folder and is not needed to resume the run.

What was sent is noted in the run folder, and sending something twice has no further effect. So a record that
was interrupted anywhere, by a kill or by a server that is down, is completed by the next call.
"""

from __future__ import annotations

import filecmp
import json
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from omegaconf import OmegaConf

from mergerexp.config.backbone_names import short_name
from mergerexp.config.schema import TrackingConfig, unused_groups
from mergerexp.errors import UserError, describe
from mergerexp.files import flatten, read_json, write_json
from mergerexp.hashing import digest
from mergerexp.runs.endings import MEANS, caveats
from mergerexp.runs.job_folder import DONE, RUNNING
from mergerexp.runs.run_folder import RunFolder
from mergerexp.seals import sha256
from mergerexp.tracking.experiment import DESCRIPTION_TAG, describe_experiment
from mergerexp.tracking.store import open_store
from mergerexp.tracking.store_file import CLOSED, local_path
from mergerexp.tracking.tags import HASH, IDENTITY, SWEEP

log = logging.getLogger(__name__)
FIGURES = "figures"  # the folder among the artifacts of a run with pictures to look at
PER_BATCH = 900  # metrics that are sent at once; MLflow accepts 1000
EPOCH_METRICS = ("train_loss", "val_loss", "val_accuracy", "seconds")


def send(folder: RunFolder, tracking: TrackingConfig, ask: bool = False) -> None:
    """Send to MLflow what it lacks of a run; `mergerexp.tracking.pending.Record` calls this.

    Parameters
    ----------
    folder, tracking
        The parameters of `mergerexp.tracking.pending.Record`.
    ask
        Whether to ask the store what it has, instead of believing the note of what was sent.

    Raises
    ------
    UserError
        If a file of the run is damaged or missing, or the store has to be mended.
    Exception
        The store may raise any error if it does not answer.
    """
    client, uri = open_store(tracking)
    note = _take_up(client, folder, tracking, uri)
    if ask:
        note |= {"rows": 0, "tags": None, "sweeps": []}
        run = client.get_run(note["run_id"])
        if run.info.run_name == folder.path.name:  # it was named so by an older version
            client.update_run(note["run_id"], name=run_name(folder))
        _send_settings(client, folder, run)
    _send_tags(client, folder, note)
    if note.get("sweeps", []) != folder.sweeps:
        client.log_batch(note["run_id"], tags=[RunTag(f"{SWEEP}{name}", "member") for name in folder.sweeps])
        note["sweeps"] = folder.sweeps
        write_json(folder.note_file, note)
    _send_history(client, folder, note)
    status = folder.status()
    if status.get("state") not in CLOSED:
        if note["closed"] is not None:  # the run has failed or stopped before, and goes on now
            client.log_batch(note["run_id"], tags=_state_tags(status.get("state", RUNNING), ""))
            client.update_run(note["run_id"], status="RUNNING")
            note["closed"] = None
            write_json(folder.note_file, note)
    elif ask or note["closed"] != status["updated"]:
        _close(client, folder, note["run_id"], status, ask)
        note["closed"] = status["updated"]
        write_json(folder.note_file, note)


def _take_up(client: MlflowClient, folder: RunFolder, tracking: TrackingConfig, uri: str) -> dict[str, Any]:
    """Return the note of what was sent to this store, after creating the run there if it has none."""
    store = {"uri": uri, "experiment": tracking.experiment}
    note = folder.note()
    if note.items() >= store.items():  # the run was sent to this store before
        if not _has_run(client, note["run_id"]):
            log.warning("%s is no longer in MLflow: it is recorded anew", folder.name)
        elif note.get("superseded"):  # the run has begun anew
            client.delete_run(note["run_id"])  # so that it has one record; MLflow can restore the other one
        else:
            return note
    run = _start(client, folder, tracking).info
    note = {**store, "experiment_id": run.experiment_id, "run_id": run.run_id, "rows": 0, "closed": None}
    write_json(folder.note_file, note)
    return note


def _has_run(client: MlflowClient, run_id: str) -> bool:
    """Tell whether the store has a run that nobody has deleted."""
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    return str(run.info.lifecycle_stage) == "active"


def _start(client: MlflowClient, folder: RunFolder, tracking: TrackingConfig) -> Run:
    """Create the MLflow run with its parameters and tags, or find the one with the same fingerprint."""
    experiment = client.get_experiment_by_name(tracking.experiment)
    assert experiment is not None  # since open_store has created it
    found = _same_runs(client, folder, experiment.experiment_id)
    run: Run
    if found:
        run = found[0]
    else:
        started = folder.status().get("started")  # the record may be made long after that
        run = client.create_run(
            experiment.experiment_id,
            start_time=None if started is None else int(started * 1000),
            tags=run_tags(folder),
            run_name=run_name(folder),
        )
    _send_settings(client, folder, run)
    return run


def _same_runs(client: MlflowClient, folder: RunFolder, experiment_id: str) -> list[Run]:
    """Return the runs of an experiment with the fingerprint of a run."""
    return list(client.search_runs([experiment_id], f"tags.`{IDENTITY}` = '{folder.fingerprint}'"))


def _delete_orphans(client: MlflowClient, folder: RunFolder, own: Run) -> None:
    """Delete further records of a run that has ended, which nobody will ever close.

    A server that went down before it answered has made a record, and the client has asked for another one.
    Some servers let few users delete anything; the own record is whole without that.
    """
    try:
        for run in _same_runs(client, folder, own.info.experiment_id):
            if run.info.run_id != own.info.run_id and run.info.status == "RUNNING":
                client.delete_run(run.info.run_id)
    except Exception as error:  # the drivers of stores raise all kinds of errors
        log.warning(
            "%s: a second, unfinished record of it in MLflow can't be deleted (%s); "
            "python -m mergerexp.status --sync tries again",
            folder.name,
            describe(error),
        )


def run_name(folder: RunFolder) -> str:
    """Return the name of a run in MLflow, which begins with what differs between the runs of a study.

    It ends, like the name of the run's folder, with the beginning of the fingerprint.
    """
    config: Any = OmegaConf.to_container(folder.read_config())
    settings = flatten(config)
    is_network = settings.get("model.kind") != "nonparametric"
    words = (
        ("", settings.get("init.name" if is_network else "model.method")),
        ("s", settings.get("subset")),
        ("f", settings.get("fold")),
        ("seed", settings.get("seed") or None),
        ("", short_name(settings.get("model.backbone", "")) or None),
        ("", settings.get("data.name")),
        ("", folder.path.name.rpartition("-")[2]),
    )
    return " ".join(
        f"{before}{value:g}" if isinstance(value, float) else f"{before}{value}"
        for before, value in words
        if value is not None
    )


def _send_settings(client: MlflowClient, folder: RunFolder, run: Run) -> None:
    """Send the settings that MLflow lacks as parameters of its run, and the data set as its input.

    MLflow lets no parameter be changed. Settings that may have changed since do not matter for the result.
    The experiment is described by the commands that made its runs.
    """
    new = {key: value for key, value in run_settings(folder).items() if key not in run.data.params}
    client.log_batch(run.info.run_id, params=[Param(key, value) for key, value in new.items()])
    provenance, dataset = read_json(folder.provenance), read_json(folder.inputs).get("dataset")
    if dataset and not (run.inputs and run.inputs.dataset_inputs):
        inputs = [_dataset(provenance["data"], dataset["path"])]
        try:
            client.log_inputs(run.info.run_id, inputs)
        except MlflowException:  # another run may have been the first with this data set at the same moment
            client.log_inputs(run.info.run_id, inputs)
    if command := provenance.get("command"):
        experiment = client.get_experiment(run.info.experiment_id)
        text = describe_experiment(experiment.tags.get(DESCRIPTION_TAG), experiment.name, command)
        if text is not None:
            client.set_experiment_tag(experiment.experiment_id, DESCRIPTION_TAG, text)


def run_settings(folder: RunFolder) -> dict[str, str]:
    """Return the settings of a run that its model makes use of, by their dotted keys, as text."""
    config: Any = OmegaConf.to_container(folder.read_config())
    for group in unused_groups(config.get("model", {}).get("kind")):
        config.pop(group, None)
    return {key: str(value)[:6000] for key, value in flatten(config).items()}


def _dataset(data: dict[str, Any], path: str) -> DatasetInput:
    """Return what MLflow shows of a data set, by the provenance of a run and the path of the data set."""
    classes = {key: data[key] for key in ("objects", "positive", "negative") if key in data}
    dataset = Dataset(
        name=data["name"],
        digest=data["content_hash"][:12],
        source_type="local",
        source=json.dumps({"uri": path}),
        profile=json.dumps(classes),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def run_tags(folder: RunFolder) -> dict[str, str]:
    """Return the tags that tell a run's fingerprint and provenance."""
    provenance = read_json(folder.provenance)
    tags = {**flatten(provenance), "run_folder": folder.path.name}
    known = {f"mergerexp.{key}": str(value) for key, value in tags.items()}
    known |= authorship(folder.path, "train")
    if commit := provenance.get("git", {}).get("commit"):
        known["mlflow.source.git.commit"] = commit
    return {IDENTITY: folder.fingerprint} | {key: value[:5000] for key, value in known.items()}


def authorship(path: Path, verb: str) -> dict[str, str]:
    """Return the tags that fill the columns User and Source of MLflow's table of runs.

    Parameters
    ----------
    path
        What the user has made, since somebody else may complete the record.
    verb
        The verb that made it.
    """
    try:
        user = path.owner()
    except KeyError:  # a user of another machine
        user = str(path.stat().st_uid)
    return {"mlflow.user": user, "mlflow.source.name": f"mergerexp.{verb}", "mlflow.source.type": "LOCAL"}


def _send_tags(client: MlflowClient, folder: RunFolder, note: dict[str, Any]) -> None:
    """Update the tags with the provenance of the last attempt, whose code, machine or packages may be new."""
    tags = run_tags(folder)
    if note.get("tags") == (sent := digest(tags)):
        return
    known = client.get_run(note["run_id"]).data.tags
    new = [RunTag(key, value) for key, value in tags.items() if known.get(key) != value]
    client.log_batch(note["run_id"], tags=new)
    groups = tuple(
        f"mergerexp.{key}." for key, part in read_json(folder.provenance).items() if isinstance(part, dict)
    )
    for key in known.keys() - tags.keys():
        if key.startswith(groups):
            client.delete_tag(note["run_id"], key)  # such as the GPU of an earlier attempt
    note["tags"] = sent
    write_json(folder.note_file, note)


def _send_history(client: MlflowClient, folder: RunFolder, note: dict[str, Any]) -> None:
    """Send the epochs that the note lacks, without those that the same run below another root has sent."""
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
        write_json(folder.note_file, note)


def _close(client: MlflowClient, folder: RunFolder, run_id: str, status: dict[str, Any], ask: bool) -> None:
    """Send how the run ended, with its scores and artifacts; if the store is asked, only what it lacks."""
    state, run, now = status["state"], client.get_run(run_id), int(status["updated"] * 1000)
    if state == DONE:
        listed = folder.check_results()
        metrics, known = read_json(folder.metrics), run.data.metrics
        new = [Metric(key, value, now, 0) for key, value in metrics.items() if known.get(key) != value]
        hashes = [RunTag(f"{HASH}{name}", found) for name, found in listed.items()]
        client.log_batch(run_id, metrics=new, tags=[*_caveats(folder, metrics), *hashes])
        files = [*folder.artifacts(), *filter(Path.is_file, [folder.diff])]
        for path in _lacking(client, run, files) if ask else files:
            client.log_artifact(run_id, str(path))
        if not ask or not client.list_artifacts(run_id, FIGURES):
            _send_figures(client, folder, run_id)
    client.log_batch(run_id, tags=_state_tags(state, str(status.get("error") or "")))
    if run.info.status != CLOSED[state] or not ask:
        client.set_terminated(run_id, CLOSED[state], now)
    _delete_orphans(client, folder, run)


def _send_figures(client: MlflowClient, folder: RunFolder, run_id: str) -> None:
    """Draw the figures of a finished run and send them; a record is complete without them too."""
    from mergerexp.tracking.run_figures import run_figures  # with matplotlib: only at the end of a run

    with tempfile.TemporaryDirectory() as scratch:
        try:
            run_figures(folder, Path(scratch))
        except (UserError, ValueError, LookupError, OSError) as error:
            log.warning("%s: its figures can't be drawn (%s)", folder.name, describe(error))
        if any(Path(scratch).iterdir()):
            client.log_artifacts(run_id, scratch, FIGURES)


def _lacking(client: MlflowClient, run: Run, files: Sequence[Path]) -> list[Path]:
    """Return the files that are no artifacts of the run, or differ from these.

    If the artifacts are on a server, only sizes are compared.
    """
    sizes = {artifact.path: artifact.file_size for artifact in client.list_artifacts(run.info.run_id)}
    folder = local_path(run.info.artifact_uri)

    def is_there(path: Path) -> bool:
        same_size = sizes.get(path.name) == path.stat().st_size
        return same_size and (folder is None or filecmp.cmp(path, folder / path.name, shallow=False))

    return [path for path in files if not is_there(path)]


def _caveats(folder: RunFolder, metrics: dict[str, float]) -> list[RunTag]:
    """Return a tag with the caveats about how training ended, if there are any."""
    trainer = folder.read_config().trainer
    found = caveats(metrics, trainer.max_epochs, trainer.patience)
    text = "; ".join(f"{name}: {MEANS[name]}" for name in found)
    return [RunTag("mergerexp.caveat", text)] if found else []


def log_file(client: MlflowClient, run_id: str, path: Path) -> None:
    """Log a file as an artifact of a run, and its hash as a tag.

    The hash is sent first. If this is interrupted, the hash does not match, and the file is made again.

    Parameters
    ----------
    client
        The client of the store.
    run_id
        The id of the run in MLflow.
    path
        The file.
    """
    client.set_tag(run_id, f"{HASH}{path.name}", sha256(path))
    client.log_artifact(run_id, str(path))


def _state_tags(state: str, error: str) -> list[RunTag]:
    return [RunTag("mergerexp.state", state), RunTag("mergerexp.error", error[:5000])]
