"""A folder in which a job writes how it stands, for whoever wants to know."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mergerexp.errors import UserError
from mergerexp.files import read_json, write_json

log = logging.getLogger(__name__)
warn_once = functools.cache(log.warning)

QUEUED, RUNNING, STOPPED, DONE, FAILED, LOST = "queued", "running", "stopped", "done", "failed", "lost"
OVER = (STOPPED, DONE, FAILED, LOST)  # nothing happens any more unless somebody starts the job again


def is_locked(lock: FileLock) -> bool:
    """Tell whether a process that this machine knows of holds a lock; False where it is not ours to ask."""
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False


@dataclass(frozen=True)
class JobFolder:
    """The folder of one job of a sweep.

    Attributes
    ----------
    path
        The folder.
    """

    path: Path

    @property
    def name(self) -> str:
        """The folder's name, which is the job's."""
        return self.path.name

    @property
    def submission(self) -> Path:
        """Which Slurm array the job was last submitted with."""
        return self.path / "submission.json"

    @property
    def traceback(self) -> Path:
        """Of the last failure."""
        return self.path / "traceback.txt"

    def lock(self) -> FileLock:
        """Return the lock of the job; the system releases it when its holder dies."""
        self.path.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path / ".lock")

    def is_held(self) -> bool:
        """Tell whether a process of this machine is at work on the job."""
        if not (self.path / ".lock").exists():
            return False
        return is_locked(self.lock())

    def is_ours(self) -> bool:
        """Tell whether the job's last word, or else its folder, if there is one, was written by this user."""
        there = [path for path in (self.path / "status.json", self.path) if path.exists()]
        return not there or there[0].stat().st_uid == os.getuid()

    def status(self) -> dict[str, Any]:
        """Return the last written status; empty for a job that never started.

        A damaged one is told, and made again from what else is known of the job.
        """
        try:
            return dict(read_json(self.path / "status.json"))
        except FileNotFoundError:
            return {}
        except UserError as error:
            status = self.status_from_the_rest()
            state = status.get("state", "unknown: the same command starts it again")
            warn_once("%s; by what else is there, the state is %s", error, state)
            return status

    def status_from_the_rest(self) -> dict[str, Any]:
        """Return what can be said of the job without its status: nothing."""
        return {}

    def is_done(self) -> bool:
        """Tell whether the job is finished, its results are there and it is not to begin anew."""
        return self.status().get("state") == DONE and not self.again.exists()

    @property
    def again(self) -> Path:
        """There while a job is to begin anew that has not started: until then it is what it was."""
        return self.path / "again.json"

    def set_state_of_idle(self, state: str, **details: Any) -> None:
        """Write the state of a job that waits, unless it is done or somebody is at work on it by now."""
        with contextlib.suppress(Timeout), self.lock().acquire(timeout=0):
            if not JobFolder.is_done(self):
                self.set_state(state, **details)

    def restore(self, status: dict[str, Any]) -> None:
        """Put back a status that was read before."""
        if status:
            write_json(self.path / "status.json", status)
        else:
            (self.path / "status.json").unlink(missing_ok=True)

    def set_state(self, state: str, **details: Any) -> None:
        """Write ``status.json``; details of earlier states are kept unless given anew."""
        self.path.mkdir(parents=True, exist_ok=True)
        status = {**self.status(), "state": state, **details}
        status |= {"host": platform.node(), "pid": os.getpid(), "updated": round(time.time(), 3)}
        write_json(self.path / "status.json", status)
