"""Folders that one process at a time works on: that of a job, with its state for other processes to read."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from filelock import FileLock, Timeout

from mergerexp.errors import UserError
from mergerexp.files import is_locked, read_json, write_json

log = logging.getLogger(__name__)
warn_once = functools.cache(log.warning)

QUEUED, RUNNING, STOPPED, DONE, FAILED, LOST = "queued", "running", "stopped", "done", "failed", "lost"
OVER = (STOPPED, DONE, FAILED, LOST)  # jobs in these states stay there unless somebody starts them again


@dataclass(frozen=True)
class File:
    """An attribute of a folder's class, whose value is the path of a file in the folder.

    Attributes
    ----------
    name
        The name of the file.
    """

    name: str

    @overload
    def __get__(self, folder: None, kind: type) -> File: ...
    @overload
    def __get__(self, folder: JobFolder, kind: type) -> Path: ...
    def __get__(self, folder: JobFolder | None, kind: type) -> File | Path:
        return self if folder is None else folder.path / self.name


@dataclass(frozen=True)
class LockedFolder:
    """A folder that one process at a time works on.

    Attributes
    ----------
    path
        The folder.
    """

    path: Path

    @property
    def name(self) -> str:
        """The name of the folder, which is the name or id of what it is about."""
        return self.path.name

    def lock(self) -> FileLock:
        """Return the lock of the folder, which the system releases when the process that holds it dies."""
        self.path.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path / ".lock")

    def is_held(self) -> bool:
        """Tell whether a process that this machine knows of holds the lock."""
        return (self.path / ".lock").exists() and is_locked(self.lock())


@dataclass(frozen=True)
class JobFolder(LockedFolder):
    """The folder of one job of a sweep.

    Attributes
    ----------
    path
        The folder.
    status_file
        The state of the job and its details.
    submission
        The file that names the Slurm array with which the job was last submitted.
    traceback
        The file with the traceback of the last failure.
    log
        The output of a job that has no log of Slurm to itself: by a local process, or in a shared task.
    again
        A file that exists while a finished job is to begin anew and has not yet done so. Until then, the
        results of the job are what they were.
    """

    submission = File("submission.json")
    traceback = File("traceback.txt")
    log = File("log.txt")
    again = File("again.json")
    status_file = File("status.json")

    def is_ours(self) -> bool:
        """Tell whether the status of the job, or else its folder, belongs to this user or does not exist."""
        existing = [path for path in (self.status_file, self.path) if path.exists()]
        return not existing or existing[0].stat().st_uid == os.getuid()

    def status(self) -> dict[str, Any]:
        """Return the content of ``status.json``, which is empty for a job that never started.

        If the file is damaged, log a warning and return what other files tell about the job.
        """
        try:
            return dict(read_json(self.status_file))
        except FileNotFoundError:
            return {}
        except UserError as error:
            status = self.reconstructed_status()
            state = status.get("state", "unknown: the same command starts it again")
            warn_once("%s; by the other files in the folder, the state is %s", error, state)
            return status

    def reconstructed_status(self) -> dict[str, Any]:
        """Return what other files than ``status.json`` tell of the status, which is nothing here."""
        return {}

    def is_done(self) -> bool:
        """Tell whether the job is finished and is not to begin anew."""
        return self.status().get("state") == DONE and not self.again.exists()

    def is_over(self) -> bool:
        """Tell whether the job has ended, in whatever way."""
        return self.status().get("state") in OVER

    def set_state_of_idle(self, state: str, **details: Any) -> None:
        """Write the state of a waiting job, unless it is done or a process is working on it meanwhile.

        Parameters
        ----------
        state, **details
            The parameters of `set_state`.
        """
        with contextlib.suppress(Timeout), self.lock().acquire(timeout=0):
            if not JobFolder.is_done(self):
                self.set_state(state, **details)

    def set_state(self, state: str, **details: Any) -> None:
        """Write ``status.json`` with the state, this process, its host and the time.

        Parameters
        ----------
        state
            One of the states of this module.
        **details
            Further entries. Earlier entries are kept unless they are given anew.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        status = {**self.status(), "state": state, **details}
        status |= {"host": platform.node(), "pid": os.getpid(), "updated": round(time.time(), 3)}
        write_json(self.status_file, status)
