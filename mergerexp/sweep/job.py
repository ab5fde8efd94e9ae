"""A job in a process of its own, which is the same on Slurm and on this machine."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import filelock

from mergerexp.cores import wait_without_spinning
from mergerexp.errors import describe
from mergerexp.files import write_text
from mergerexp.garbage import collect_rarely
from mergerexp.runs import stop
from mergerexp.runs.job_folder import FAILED, QUEUED, RUNNING, STOPPED, JobFolder

SLURM_SIGNALS = {signal.SIGTERM, signal.SIGUSR2, signal.SIGCONT}
LOCK_WAIT_S = 5.0  # another process may hold the lock for a moment, to see whether it is free
LEASE_S = 120.0  # a network file system may keep the lock of a node that died for so long
HELD = 75  # the exit code if another process is working on the job
PATIENCE_S = 20  # for the current training step, before a job that is to stop is interrupted


class Job:
    """A function that is called with a folder in another process.

    Only strings are pickled, so that a job does not depend on the code that submitted it.

    Parameters
    ----------
    target
        The function, as ``module:function``. It is called with the path of the folder.
    folder
        The folder of the job, with everything that the function needs.
    modules
        The modules that it imports later on. Jobs that share a machine have them from the start.
    """

    def __init__(self, target: str, folder: Path, modules: Sequence[str] = ()) -> None:
        self.target, self.path, self.modules = target, str(folder), list(modules)

    @property
    def folder(self) -> JobFolder:
        """The folder of the job."""
        return JobFolder(Path(self.path))

    def __call__(self) -> Any:
        """Run the job in submitit's process under Slurm; save and requeue it when its time is up."""
        wait_without_spinning()
        collect_rarely()
        # The handler of submitit calls checkpoint() and scontrol requeue.
        requeue: Any = signal.getsignal(signal.SIGUSR2)
        heed_slurm(lambda *_: requeue_and_exit(requeue, [self.folder]))
        try:
            return self.run(LEASE_S, *slurm_place())
        except stop.StopRequested:
            requeue_and_exit(requeue, [self.folder])
        except filelock.Timeout:
            print(f"{self.path}: another process is working on it", file=sys.stderr, flush=True)
            os._exit(HELD)

    def checkpoint(self) -> Any:
        """Return to submitit what is to run after the requeue, which is this job again."""
        from submitit.helpers import DelayedSubmission

        if not self.folder.is_done():  # a job that is done may still be completing its record in MLflow
            self.folder.set_state(QUEUED, error=None)
        return DelayedSubmission(self)

    __submitit_checkpoint__ = checkpoint

    def run(self, wait_s: float = LOCK_WAIT_S, job: str | None = None, node: str | None = None) -> Any:
        """Call the function; write the state of the job before and, if it fails or is stopped, after that.

        Parameters
        ----------
        wait_s
            How long to wait for the lock of the job, in seconds.
        job, node
            Its id in Slurm, and the node that it runs on; None on this machine.

        Returns
        -------
        object
            The result of the function; None if the job was done before.

        Raises
        ------
        filelock.Timeout
            If another process is working on the job, whose state is then left unchanged.
        """
        folder = self.folder
        with folder.lock().acquire(timeout=wait_s):
            if folder.is_done():  # it finished before Slurm, which wanted to requeue it, could end it
                return None
            folder.set_state(RUNNING, job_started=round(time.time(), 3), error=None, job=job, node=node)
            module, _, function = self.target.partition(":")
            try:
                return getattr(importlib.import_module(module), function)(folder.path)
            except (stop.StopRequested, KeyboardInterrupt):
                if not folder.is_over():
                    folder.set_state(STOPPED)
                raise
            except Exception as error:
                with contextlib.suppress(OSError):  # the error may be that the folder can't be written
                    write_text(folder.traceback, traceback.format_exc())
                if not folder.is_over():
                    folder.set_state(FAILED, error=describe(error))
                raise


def heed_slurm(otherwise: Callable[[int, FrameType | None], Any]) -> None:
    """Save at Slurm's SIGTERM, and save and stop at its SIGUSR2, which tells that time is almost up.

    Parameters
    ----------
    otherwise
        What is called if the current training step takes too long for that.
    """
    keep_signals_from_children()
    lead = int(os.environ.get("MERGEREXP_SIGNAL_LEAD", "60"))
    stop.stop_on(signal.SIGUSR2, max(1, lead - PATIENCE_S), otherwise)
    stop.save_on(signal.SIGTERM)  # scancel, and the preemption of some sites, send it before the end


def slurm_place() -> tuple[str | None, str | None]:
    """Return the id of the Slurm job that this process belongs to, and its node; None outside of Slurm."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID")
    return job, os.environ.get("SLURMD_NODENAME")


def requeue_and_exit(requeue: Any, folders: Sequence[JobFolder]) -> None:
    """Let submitit requeue a Slurm job and end this process at once, since all files on disk are complete.

    Parameters
    ----------
    requeue
        The handler of signals of submitit.
    folders
        The folders of what the job has to go on with.
    """
    known: dict[str, Any] = {}
    try:
        requeue(signal.SIGUSR2, None)
    except SystemExit:
        pass
    except (OSError, subprocess.SubprocessError) as error:
        # The process that waits for the sweep, if there is one, submits the job again.
        refused = f"the site refuses to requeue ({describe(error)})"
        known = {"state": QUEUED, "error": refused, "requeue_refused": True}
    except Exception as error:  # submitit raises one if the job was out of time too often
        hint = "See hydra.launcher.max_requeues and timeout."
        known = {"state": FAILED, "error": f"{describe(error)} {hint}"}
    if known:
        for folder in folders:
            folder.set_state(**known)
    sys.stderr.flush()
    os._exit(255)


def keep_signals_from_children() -> None:
    """Let forked child processes, such as the workers of a DataLoader, have the default signal handlers.

    With the handlers of the job they would ignore SIGTERM, and could keep the GPU of a finished job until its
    time limit. The signals are blocked around the fork, since Python would lose one that arrives before the
    handlers are reset.
    """

    def in_child() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        signal.signal(signal.SIGCONT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SLURM_SIGNALS)

    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, SLURM_SIGNALS),
        after_in_child=in_child,
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, SLURM_SIGNALS),
    )


def run_here(target: str, folder: str) -> int:
    """Run a job in this process, which a scheduler started for it on this machine.

    Parameters
    ----------
    target, folder
        The parameters of `Job`.

    Returns
    -------
    int
        The exit code of the process: 0 if the job is done, 1 if it failed, 130 if it was stopped, and `HELD`
        if another process is working on it.
    """
    for signum in (signal.SIGINT, signal.SIGTERM):
        stop.stop_on(signum, PATIENCE_S, signal.default_int_handler)
    return _run_child(Job(target, Path(folder)))


def run_in_slurm(target: str, folder: str) -> int:
    """Run a job in this process, which shares a Slurm job with others; see `run_here`."""
    heed_slurm(signal.default_int_handler)
    return _run_child(Job(target, Path(folder)), *slurm_place())


def _run_child(job: Job, slurm_job: str | None = None, node: str | None = None) -> int:
    try:
        # The signals were blocked until there were handlers for them.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, *SLURM_SIGNALS})
        job.run(LOCK_WAIT_S, slurm_job, node)
    except filelock.Timeout:
        return HELD
    except (stop.StopRequested, KeyboardInterrupt):
        return 130
    except Exception:
        traceback.print_exc()
        return 1
    return 0
