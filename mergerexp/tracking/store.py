"""Opening MLflow stores: a file that is made whole or not at all, and follows its folder; or a server."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
from pathlib import Path

from mergerexp.config.schema import TrackingConfig
from mergerexp.errors import StoreError, UserError, without_credentials
from mergerexp.files import written
from mergerexp.tracking.store_file import FOLDER, StoreFile

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# A server that is down must not hold up training: we try again ourselves.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
# A connection that is kept would go on writing to a file that somebody has removed or replaced.
os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

for chatty in ("mlflow", "alembic"):
    logging.getLogger(chatty).setLevel(logging.WARNING)  # they set their own level when imported
# What it raises is told in one line by whoever called; it would print the statement and a traceback before.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

KIND = {"mlflow.experimentKind": "custom_model_development"}  # else the UI opens on language models
SYNC = "python -m mergerexp.status --sync tells MLflow what it lacks of the runs below MERGEREXP_ROOT"


def open_store(tracking: TrackingConfig, create: bool = True) -> tuple[MlflowClient, str]:
    """Open the store and make sure the experiment exists; return the client and the store's full URI.

    Many processes may do so at once where there is no SQLite file yet: the first one makes it.

    Parameters
    ----------
    tracking
        Which store and experiment.
    create
        Make what is not there. Otherwise nothing is written, unless the store was moved.

    Raises
    ------
    StoreError
        If the SQLite file is no whole store, or is to be written and can't be.
    UserError
        If store or experiment are not there and are not to be made.
    """
    assert tracking.uri is not None
    file = StoreFile.of(tracking.uri)
    if file is None:
        return _connect(tracking, tracking.uri, create), tracking.uri
    if not create:
        if not file.exists():
            raise UserError(
                f"{file.path}: no MLflow store; MERGEREXP_ROOT or tracking.uri says where it is, and {SYNC}"
            )
        return _connect(tracking, _readable(file).uri, create), file.uri
    if not file.exists():
        file.path.parent.mkdir(parents=True, exist_ok=True)
        with file.lock():
            if not file.exists():
                _make(file)
    file.check()
    if not file.is_writable():
        raise StoreError(
            f"{file.path} can't be written (it is {file.path.owner()}'s; SQLite writes into its folder too): "
            "where a group shares it, chmod g+w for both"
        )
    file.follow()
    return _connect(tracking, file.uri, create), file.uri


def _make(file: StoreFile) -> None:
    """Make the tables elsewhere, which takes seconds: cut off in the midst, they would stay half made."""
    file.remove_side_files()
    with tempfile.TemporaryDirectory() as scratch:
        made = StoreFile(Path(scratch) / file.path.name)
        MlflowClient(made.uri).search_experiments(max_results=1)
        with written(file.path) as partial:
            shutil.copyfile(made.path, partial)


def _readable(file: StoreFile) -> StoreFile:
    """Return a store that names its artifacts rightly: the file, or where it can't be corrected, a copy."""
    file.check(pages=True)
    if not file.moved_from():
        return file
    if file.is_writable():
        file.follow()
        return file
    scratch = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    copy = file.copy_to(Path(scratch) / file.path.name)
    copy.follow(file)
    return copy


def _connect(tracking: TrackingConfig, uri: str, create: bool) -> MlflowClient:
    client = MlflowClient(uri)
    if client.get_experiment_by_name(tracking.experiment) is None:
        if not create:
            known = ", ".join(experiment.name for experiment in client.search_experiments())
            where = without_credentials(str(tracking.uri))
            raise UserError(f"no experiment {tracking.experiment} in {where}; there are {known}; {SYNC}")
        _create_experiment(client, tracking)
    return client


def _create_experiment(client: MlflowClient, tracking: TrackingConfig) -> None:
    artifacts, tags, file = tracking.artifacts, dict(KIND), StoreFile.of(tracking.uri)
    if file is not None:
        tags[FOLDER] = file.folder
        artifacts = artifacts or str(Path(file.folder) / "mlartifacts")  # MLflow would take ./mlruns
    if artifacts is not None and "://" not in artifacts:
        artifacts = Path(artifacts).resolve().as_uri()
    try:
        client.create_experiment(tracking.experiment, artifacts, tags)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another run was quicker
            raise
