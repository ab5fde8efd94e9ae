"""Opening MLflow stores: servers, and SQLite files, which are created completely or not at all."""

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
from mergerexp.tracking.experiment import VIEW_TAG, saved_view
from mergerexp.tracking.store_file import FOLDER, SYNC, StoreFile, deleted_experiment

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# A server that is down must not delay training. Records are completed later anyway.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
# If connections were kept open, they would write to a file that somebody has removed or replaced.
os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")

from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException

for chatty in ("mlflow", "alembic"):
    logging.getLogger(chatty).setLevel(logging.WARNING)  # here, since they set their level when imported
# The errors of this module are reported in one line by its callers. It would log them with a traceback too.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

KIND = {"mlflow.experimentKind": "custom_model_development"}  # without it, the UI opens on language models


def open_store(tracking: TrackingConfig, create: bool = True) -> tuple[MlflowClient, str]:
    """Open a store, and create the store and the experiment if they do not exist.

    Many processes may do this at once: the first one creates the SQLite file.

    Parameters
    ----------
    tracking
        The store and the experiment.
    create
        Whether to create what does not exist. Otherwise nothing is written, unless the store was moved.

    Returns
    -------
    tuple
        The client, and the full address of the store.

    Raises
    ------
    StoreError
        If the SQLite file is damaged or incomplete, or can't be written although that is needed; or if
        somebody has deleted the experiment.
    UserError
        If the store or the experiment does not exist and is not to be created.
    """
    assert tracking.uri is not None
    file = StoreFile.of(tracking.uri)
    if file is None:
        return _connect(tracking, tracking.uri, create), tracking.uri
    if not create:
        file.check_there()
        return _connect(tracking, _readable(file).address, create), file.uri
    if not file.exists():
        file.path.parent.mkdir(parents=True, exist_ok=True)
        with file.lock():
            if not file.exists():
                _make(file)
    file.check()
    if not file.is_writable():
        raise StoreError(
            f"{file.path} can't be written (it belongs to {file.path.owner()}; SQLite also writes in its "
            "folder): if a group shares it, chmod g+w both"
        )
    file.follow()
    return _connect(tracking, file.address, create), file.uri


def _make(file: StoreFile) -> None:
    """Create the tables of a store in a temporary file, and then move it into place.

    Creating the tables takes seconds. If that were interrupted in place, the store would stay incomplete.
    """
    file.remove_side_files()
    with tempfile.TemporaryDirectory() as scratch:
        made = StoreFile(Path(scratch) / file.path.name)
        MlflowClient(made.address).search_experiments(max_results=1)
        with written(file.path) as partial:
            shutil.copyfile(made.path, partial)


def _readable(file: StoreFile) -> StoreFile:
    """Return a store with right addresses of artifacts: a copy, if those in the file can't be corrected."""
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
    """Return the client of a store that has the experiment."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(tracking.experiment)
    if experiment is None:
        if not create:
            where = without_credentials(uri)
            known = ", ".join(experiment.name for experiment in client.search_experiments())
            raise UserError(f"no experiment {tracking.experiment} in {where}; there are {known}; {SYNC}")
        _create_experiment(client, tracking)
    elif experiment.lifecycle_stage == "deleted":
        raise deleted_experiment(uri, tracking.experiment, experiment.experiment_id)
    elif create:
        keep_view(client, experiment)
    return client


def keep_view(client: MlflowClient, experiment: Experiment) -> None:
    """Give an experiment that an older version has made our saved view of its runs."""
    if VIEW_TAG not in experiment.tags:
        client.set_experiment_tag(experiment.experiment_id, VIEW_TAG, saved_view())


def _create_experiment(client: MlflowClient, tracking: TrackingConfig) -> None:
    artifacts, file = tracking.artifacts, StoreFile.of(tracking.uri)
    tags = {**KIND, VIEW_TAG: saved_view()}
    if file is not None:
        tags[FOLDER] = file.folder
        artifacts = artifacts or str(Path(file.folder) / "mlartifacts")  # the default of MLflow is ./mlruns
    if artifacts is not None and "://" not in artifacts:
        artifacts = Path(artifacts).resolve().as_uri()
    try:
        client.create_experiment(tracking.experiment, artifacts, tags)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another run may have created it meanwhile
            raise
