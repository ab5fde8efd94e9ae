"""Keeping the records in MLflow up to date with the run folders; MLflow is loaded only to send something."""

from __future__ import annotations

import contextlib
import errno
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from mergerexp.config.paths import SQLITE
from mergerexp.config.schema import TrackingConfig
from mergerexp.errors import StoreError, UserError, explain, without_credentials
from mergerexp.runs.job_folder import DONE
from mergerexp.runs.run_folder import RunFolder
from mergerexp.tracking.store_file import CLOSED, REMEDY, StoredRun, StoreFile

log = logging.getLogger(__name__)

SYSTEM_ERROR = {  # errors of SQLite that stay until somebody mends their cause, as errors of the system
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_PERM: errno.EACCES,
}
EVERY_S = 10.0  # between two updates while a run goes on


@dataclass
class Standing:
    """How complete the MLflow records of some runs are.

    Attributes
    ----------
    begun
        The number of runs that have begun and have a store to be recorded in.
    lacking
        The number of these whose record is still incomplete.
    storeless
        The number of further runs that have begun, but have no store (``tracking=none``).
    broken
        Whether somebody has to mend a file of the store or of a run before the records can be completed. It
        is False if a store only did not answer.
    """

    begun: int = 0
    lacking: int = 0
    storeless: int = 0
    broken: bool = False


class Record:
    """Keeps the record of a run in MLflow up to date; failures are logged and never raised.

    Parameters
    ----------
    folder
        The folder of the run.
    tracking
        The store and experiment that the run is recorded in.

    Attributes
    ----------
    answers
        False if the store did not answer or could not be used.
    broken
        True if somebody has to mend a file of the store or of the run.
    """

    def __init__(self, folder: RunFolder, tracking: TrackingConfig) -> None:
        self.folder, self.tracking = folder, tracking
        self.answers, self.broken = True, False
        self._next = 0.0
        self._meanwhile: threading.Thread | None = None

    def begin(self) -> None:
        """Send what MLflow lacks while the caller goes on; the next update waits until that is done.

        The import of MLflow and the answer of a store take a second and more, and training needs neither.
        """
        if self.tracking.uri is not None:
            self._meanwhile = threading.Thread(target=self._update, daemon=True)
            self._meanwhile.start()

    def update(self, final: bool = False, ask: bool = False) -> bool:
        """Send what MLflow lacks, unless this was tried a moment ago.

        Parameters
        ----------
        final
            Whether to send it even if this was tried a moment ago.
        ask
            Whether to ask the store what it has; see `mergerexp.tracking.record.send`.

        Returns
        -------
        bool
            Whether the record is complete now.
        """
        if self._meanwhile is not None:
            self._meanwhile.join()
            self._meanwhile = None
        return self._update(final, ask)

    def _update(self, final: bool = False, ask: bool = False) -> bool:
        if self.tracking.uri is None:
            return True
        if not final and time.monotonic() < self._next:
            return False
        try:
            from mergerexp.tracking.record import send

            send(self.folder, self.tracking, ask)
        except StoreError as error:
            log.warning("%s. Until this is mended, the runs are recorded in their folders alone", error)
            self.answers, self.broken = False, True
        except UserError as error:  # a file of the run is damaged
            log.warning("%s: the record in MLflow can't be completed", error)
            self.broken = True
        except Exception as error:  # the drivers of stores raise all kinds of errors, which must stop no run
            self._report_failure(error)
        else:
            self._next = time.monotonic() + EVERY_S
            return True
        self._next = time.monotonic() + self.tracking.retry_s
        return False

    def _report_failure(self, error: Exception) -> None:
        """Log why the record can't be completed: because of a file that is named, or of no answer."""
        self.answers = False
        problem = problem_to_mend(error, self.tracking.uri)
        if problem is not None:
            self.broken = True
            log.warning("%s. After that, python -m mergerexp.status --sync completes the record", problem)
            return
        reason = without_credentials((str(error).strip() or type(error).__name__).splitlines()[0])[:200]
        log.warning("MLflow does not answer (%s): the record will be completed later", reason)


def modules_to_send(tracking: TrackingConfig) -> list[str]:
    """Return the module that imports what `Record` needs to send something; none without a store."""
    return [] if tracking.uri is None else ["mergerexp.tracking.preloaded"]


def problem_to_mend(error: Exception, uri: str | None) -> str | None:
    """Return what somebody has to do about an error of a store.

    Parameters
    ----------
    error
        The error that MLflow, or what it makes use of, has raised.
    uri
        The address of the store.

    Returns
    -------
    str or None
        What is wrong and what to do; None if the store is only busy or does not answer.
    """
    if isinstance(error, OSError) and error.filename is not None:
        return explain(error)
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, sqlite3.Error | ImportError):
        cause = cause.__cause__ or cause.__context__  # which errors of MLflow and SQLAlchemy hide
    if refusal := _refusal(error, uri):
        return refusal
    if isinstance(cause, ImportError):
        return f"the MLflow store can't be reached without a package ({cause}): install it"
    file = StoreFile.of(uri)
    code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF  # other bits say more about the error
    if file is None:
        return None
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return f"{file.path} is damaged ({cause}): {REMEDY}"
    if code in SYSTEM_ERROR:
        return explain(OSError(SYSTEM_ERROR[code], str(cause), str(file.path)))
    return None


def _refusal(error: Exception, uri: str | None) -> str | None:
    """Return what to do if a server refuses who asks; None for other errors of MLflow."""
    advice = {
        "UNAUTHENTICATED": "does not accept the name and password: set MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
        "PERMISSION_DENIED": "does not let this user do that: let the owner of the experiment, or whoever "
        "looks after the server, give the right to edit it",
    }
    code = str(getattr(error, "error_code", None))
    return f"{without_credentials(str(uri))}: the server {advice[code]}" if code in advice else None


def configured_tracking(folder: RunFolder, uri: str | None = None) -> TrackingConfig:
    """Return the store and experiment of a run by its config.

    Parameters
    ----------
    folder
        The folder of the run.
    uri
        The address of another store that is to be used instead.

    Raises
    ------
    UserError
        If the config is damaged.
    """
    tracking: Any = OmegaConf.to_container(folder.read_config().tracking)
    if uri is None:
        return TrackingConfig(**tracking)
    file = StoreFile.of(uri)
    return TrackingConfig(**{**tracking, "uri": uri if file is None else file.uri, "artifacts": None})


def complete_records(
    folders: Sequence[RunFolder],
    tracking: Callable[[RunFolder], TrackingConfig] = configured_tracking,
    ask: bool = False,
) -> Standing:
    """Complete the MLflow records of the runs that have begun.

    A store that does not answer or can't be used is tried once. Runs with damaged files are left out.

    Parameters
    ----------
    folders
        The folders of the runs.
    tracking
        A function that returns the store and experiment of a run.
    ask
        Whether to ask the stores what they have. Otherwise the notes in the run folders are believed, unless
        a run or its artifacts were removed from a store in an SQLite file.

    Returns
    -------
    Standing
        How complete the records are now.
    """
    standing, given_up = Standing(), set[str | None]()
    known: dict[str, dict[str, StoredRun]] = {}
    for folder in (folder for folder in folders if folder.provenance.is_file()):
        standing.begun += 1
        try:
            store = tracking(folder)
            if store.uri is None:
                standing.begun -= 1
                standing.storeless += 1
                continue
            if folder.again.is_file():  # the run is to begin anew, so its status is not that of its record
                continue
            if (is_noted := _is_noted(folder, store)) and not ask and _is_stored(folder, store.uri, known):
                continue
            _check_place(folder, store.uri)
        except UserError as error:
            log.warning("%s", error)
            standing.lacking += 1
            standing.broken = True
            continue
        if store.uri not in given_up:
            record = Record(folder, store)
            if record.update(final=True, ask=ask or is_noted):
                continue
            standing.broken |= record.broken
            given_up |= set() if record.answers else {store.uri}
        standing.lacking += 1
    return standing


def experiment_of(folder: RunFolder, tracking: TrackingConfig) -> str | None:
    """Return the ID of the experiment in MLflow that has a run; None if it can't be told without MLflow."""
    note = folder.note()
    if note.items() >= {"uri": tracking.uri, "experiment": tracking.experiment}.items():
        if "experiment_id" in note:
            return str(note["experiment_id"])
        with contextlib.suppress(StoreError, sqlite3.Error):
            if (file := StoreFile.of(tracking.uri)) is not None and file.exists():
                return file.experiment_id(tracking.experiment)
    return None


def _is_noted(folder: RunFolder, tracking: TrackingConfig) -> bool:
    """Tell whether a run is over and its note says that its complete record was sent to this store."""
    if not (note := folder.note()):
        return False
    same_store = (note["uri"], note["experiment"]) == (tracking.uri, tracking.experiment)
    over = note["closed"] is not None and note["closed"] == folder.status().get("updated")
    return same_store and over and note.get("sweeps", []) == folder.sweeps


def _is_stored(folder: RunFolder, uri: str, known: dict[str, dict[str, StoredRun]]) -> bool:
    """Tell whether a store in an SQLite file has the run of a note; for a server, the note is believed."""
    if (file := StoreFile.of(uri)) is None:
        return True
    if file.uri not in known:
        known[file.uri] = _runs_of(file)
    run, state = known[file.uri].get(folder.note()["run_id"]), folder.status()["state"]
    if run is None or run.status != CLOSED.get(state):
        return False
    return run.artifacts is None or state != DONE or _has_all(run.artifacts, folder.artifacts())


def _runs_of(file: StoreFile) -> dict[str, StoredRun]:
    """Return the runs of a store; none if it can't be read, which is reported when it is written."""
    with contextlib.suppress(StoreError, sqlite3.Error):
        if file.exists():
            file.check()
            if file.is_writable():
                file.follow()
            return file.runs()
    return {}


def _has_all(stored: Path, files: Sequence[Path]) -> bool:
    """Tell whether a folder has copies of files, by their sizes."""
    there = [(stored / path.name, path) for path in files if path.is_file()]
    return all(copy.is_file() and copy.stat().st_size == path.stat().st_size for copy, path in there)


def _check_place(folder: RunFolder, uri: str) -> None:
    """Check that a store whose folder is missing was not used before, since it was moved then."""
    file = StoreFile.of(uri)
    if file is not None and not file.path.parent.is_dir() and folder.note():
        raise StoreError(
            f"{folder.name} was recorded in {file.path}, and that folder is gone: if it was moved, give "
            f"MLFLOW_TRACKING_URI={SQLITE}/PATH/{file.path.name} python -m mergerexp.status --sync"
        )
