"""Keeping MLflow up to date with run folders; MLflow is loaded only where a store has to be told."""

from __future__ import annotations

import contextlib
import errno
import logging
import sqlite3
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

SYSTEM_ERROR = {  # of SQLite's errors, those that stay until somebody does something
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_PERM: errno.EACCES,
}
EVERY_S = 10.0  # between updates within a run


@dataclass
class Standing:
    """How the record of some runs stands.

    Attributes
    ----------
    begun
        How many of them have begun and have a store to be recorded in.
    lacking
        How many of these the store still lacks.
    storeless
        How many have begun and are not recorded, as was asked for (``tracking=none``).
    broken
        Whether somebody has to mend something (the store's file, a run's) before the record is whole; False
        where a store only did not answer.
    """

    begun: int = 0
    lacking: int = 0
    storeless: int = 0
    broken: bool = False


class Record:
    """Keeps MLflow up to date with a run folder; failures are told and tried again, never raised.

    Parameters
    ----------
    folder
        The run.
    tracking
        Which store.

    Attributes
    ----------
    answers
        False once the store did not answer, or could not be used.
    broken
        True once the store or a file of the run was found to need mending.
    """

    def __init__(self, folder: RunFolder, tracking: TrackingConfig) -> None:
        self.folder, self.tracking = folder, tracking
        self.answers, self.broken = True, False
        self._next = 0.0

    def update(self, final: bool = False, ask: bool = False) -> bool:
        """Send what is new, unless that was tried a moment ago; return whether MLflow is up to date.

        Parameters
        ----------
        final
            Whether to try whatever was tried a moment ago.
        ask
            Whether to ask the store what it has; see `mergerexp.tracking.record.sync`.
        """
        if self.tracking.uri is None:
            return True
        if not final and time.monotonic() < self._next:
            return False
        try:
            from mergerexp.tracking.record import sync

            sync(self.folder, self.tracking, ask)
        except StoreError as error:
            log.warning("%s. Until this is mended, the runs are recorded in their folders alone", error)
            self.answers, self.broken = False, True
        except UserError as error:  # of the run's own files
            log.warning("%s: the record in MLflow can't be completed", error)
            self.broken = True
        except Exception as error:  # whatever the store's drivers raise: the run goes on without
            self._tell(error)
        else:
            self._next = time.monotonic() + EVERY_S
            return True
        self._next = time.monotonic() + self.tracking.retry_s
        return False

    def _tell(self, error: Exception) -> None:
        """Say what keeps a record from being completed: something here, or a store that does not answer."""
        self.answers = False
        reason = _what_to_mend(error, self.tracking.uri)
        if reason is not None:
            self.broken = True
            log.warning("%s. After that, python -m mergerexp.status --sync completes the record", reason)
            return
        reason = without_credentials((str(error).strip() or type(error).__name__).splitlines()[0])[:200]
        log.warning("MLflow does not answer (%s): the record will be completed later", reason)


def _what_to_mend(error: Exception, uri: str | None) -> str | None:
    """Return what somebody has to do about an error; None where a store is busy, or does not answer."""
    if isinstance(error, OSError) and error.filename is not None:
        return explain(error)
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, sqlite3.Error | ImportError):
        cause = cause.__cause__ or cause.__context__  # MLflow's and SQLAlchemy's errors hide it
    if isinstance(cause, ImportError):
        return f"the MLflow store can't be reached without a package ({cause}): install it"
    file = StoreFile.of(uri)
    code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF  # the rest tells which part of it
    if file is None:
        return None
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return f"{file.path} is damaged ({cause}): {REMEDY}"
    if code in SYSTEM_ERROR:
        return explain(OSError(SYSTEM_ERROR[code], str(cause), str(file.path)))
    return None


def configured(folder: RunFolder, uri: str | None = None) -> TrackingConfig:
    """Return where a run's config says that it is recorded, or another store under the same experiment.

    Raises
    ------
    UserError
        If the config is damaged.
    """
    own: Any = OmegaConf.to_container(folder.read_config().tracking)
    if uri is None:
        return TrackingConfig(**own)
    file = StoreFile.of(uri)
    return TrackingConfig(**{**own, "uri": uri if file is None else file.uri, "artifacts": None})


def complete_records(
    folders: Sequence[RunFolder],
    tracking: Callable[[RunFolder], TrackingConfig] = configured,
    ask: bool = False,
) -> Standing:
    """Tell MLflow what it has missed of runs that have begun.

    A store that does not answer or can't be used is tried once; a run with damaged files is left out.

    Parameters
    ----------
    folders
        The runs.
    tracking
        Returns where a run is to be recorded.
    ask
        Ask the stores what they have. Otherwise the note in a run's folder is believed, as far as nobody has
        removed the run or its artifacts from an SQLite file.
    """
    standing, given_up = Standing(), set[str | None]()
    known: dict[str, dict[str, StoredRun]] = {}
    for folder in (folder for folder in folders if folder.provenance.is_file()):
        standing.begun += 1
        try:
            own = tracking(folder)
            if own.uri is None:
                standing.begun -= 1
                standing.storeless += 1
                continue
            if folder.again.is_file():  # to begin anew, its status is no longer the record's
                continue
            if (is_noted := _is_noted(folder, own)) and not ask and _is_there(folder, own.uri, known):
                continue
            _check_place(folder, own.uri)
        except UserError as error:
            log.warning("%s", error)
            standing.lacking += 1
            standing.broken = True
            continue
        if own.uri not in given_up:
            record = Record(folder, own)
            if record.update(final=True, ask=ask or is_noted):
                continue
            standing.broken |= record.broken
            given_up |= set() if record.answers else {own.uri}
        standing.lacking += 1
    return standing


def _is_noted(folder: RunFolder, tracking: TrackingConfig) -> bool:
    """Tell whether a run is over, and its note says that this store was told all of it."""
    if not (note := folder.note()):
        return False
    same_store = (note["uri"], note["experiment"]) == (tracking.uri, tracking.experiment)
    over = note["closed"] is not None and note["closed"] == folder.status().get("updated")
    return same_store and over and note.get("sweeps", []) == folder.sweeps


def _is_there(folder: RunFolder, uri: str, known: dict[str, dict[str, StoredRun]]) -> bool:
    """Tell whether a store in a file still has what a run's note says; a server's is believed."""
    if (file := StoreFile.of(uri)) is None:
        return True
    if file.uri not in known:
        known[file.uri] = _runs_of(file)
    run, state = known[file.uri].get(folder.note()["run_id"]), folder.status()["state"]
    if run is None or run.status != CLOSED.get(state):
        return False
    return run.artifacts is None or state != DONE or _has_all(run.artifacts, folder.artifacts())


def _runs_of(file: StoreFile) -> dict[str, StoredRun]:
    """Return what a store has; nothing if it can't be read: what is wrong is told when it is written to."""
    with contextlib.suppress(StoreError, sqlite3.Error):
        if file.exists():
            file.check()
            if file.is_writable():
                file.follow()
            return file.runs()
    return {}


def _has_all(stored: Path, files: Sequence[Path]) -> bool:
    """Tell whether a folder has files as large as these."""
    there = [(stored / path.name, path) for path in files if path.is_file()]
    return all(copy.is_file() and copy.stat().st_size == path.stat().st_size for copy, path in there)


def _check_place(folder: RunFolder, uri: str) -> None:
    """Refuse to make a store anew in a folder that was there and is gone: it was moved."""
    file = StoreFile.of(uri)
    if file is not None and not file.path.parent.is_dir() and folder.note():
        raise StoreError(
            f"{folder.name} was recorded in {file.path}, and that folder is gone: if it was moved, say "
            f"MLFLOW_TRACKING_URI={SQLITE}/PATH/{file.path.name} python -m mergerexp.status --sync"
        )
