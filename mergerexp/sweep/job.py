"""What a scheduler runs: one job in a process of its own, the same on Slurm and on this machine."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import filelock

from mergerexp.cores import wait_without_spinning
from mergerexp.errors import describe
from mergerexp.files import write_text
from mergerexp.runs import stop
from mergerexp.runs.job_folder import FAILED, OVER, QUEUED, RUNNING, STOPPED, JobFolder

SLURM_SIGNALS = {signal.SIGTERM, signal.SIGUSR2, signal.SIGCONT}
LOCK_WAIT_S = 5.0  # somebody may be looking whether it is free
LEASE_S = 120.0  # a network file system may keep the lock of a node that died so long
HELD = 75  # exit code: another process is at work on the job
PATIENCE_S = 20  # how long a step may take when the job is to stop


class Job:
    """A function of a folder, to be called elsewhere; only strings are pickled.

    Parameters
    ----------
    target
        ``module:function``, called with the folder's path.
    folder
        The job's folder, which holds all that the function needs.
    """

    def __init__(self, target: str, folder: Path) -> None:
        self.target, self.folder = target, str(folder)

    def __call__(self) -> Any:
        """Run under Slurm, in submitit's process: save and requeue when the time is up."""
        wait_without_spinning()
        keep_signals_from_children()
        requeue: Any = signal.getsignal(
            signal.SIGUSR2
        )  # submitit's own handler: checkpoint(), scontrol requeue
        lead = int(os.environ.get("MERGEREXP_SIGNAL_LEAD", "60"))
        stop.stop_on(signal.SIGUSR2, max(1, lead - PATIENCE_S), lambda: self._requeue(requeue))
        stop.save_on(signal.SIGTERM)  # sent ahead of the end by scancel and by some sites' preemption
        array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
        job = f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID")
        try:
            return self.run(LEASE_S, job=job, node=os.environ.get("SLURMD_NODENAME"))
        except stop.StopRequested:
            self._requeue(requeue)
        except filelock.Timeout:
            print(f"{self.folder}: another process is at work on it", file=sys.stderr, flush=True)
            os._exit(HELD)

    def checkpoint(self) -> Any:
        """Tell submitit what to run after the requeue: the same again."""
        from submitit.helpers import DelayedSubmission

        folder = JobFolder(Path(self.folder))
        if not folder.is_done():  # it may be telling MLflow only
            folder.set_state(QUEUED, error=None)
        return DelayedSubmission(self)

    __submitit_checkpoint__ = checkpoint

    def run(self, patience_s: float = LOCK_WAIT_S, **where: Any) -> Any:
        """Call the function, with the job's state written before and, if it fails, after.

        Parameters
        ----------
        patience_s
            How long to wait for the job's lock.
        **where
            What to note of where it runs.

        Raises
        ------
        filelock.Timeout
            If another process is at work on the job; its state is then left alone.
        """
        folder = JobFolder(Path(self.folder))
        with folder.lock().acquire(timeout=patience_s):
            return self._run(folder, where)

    def _run(self, folder: JobFolder, where: dict[str, Any]) -> Any:
        if folder.is_done():  # before Slurm, which wanted to requeue it, could end it
            return None
        folder.set_state(RUNNING, job_started=round(time.time(), 3), error=None, **where)
        module, _, function = self.target.partition(":")
        try:
            return getattr(importlib.import_module(module), function)(folder.path)
        except (stop.StopRequested, KeyboardInterrupt):
            if folder.status().get("state") not in OVER:
                folder.set_state(STOPPED)
            raise
        except Exception as error:
            with contextlib.suppress(OSError):  # the folder may be what failed
                write_text(folder.traceback, traceback.format_exc())
            if folder.status().get("state") not in OVER:
                folder.set_state(FAILED, error=describe(error))
            raise

    def _requeue(self, requeue: Any) -> None:
        """Let submitit requeue the job, and leave: all that is on disk is whole at any moment."""
        folder = JobFolder(Path(self.folder))
        try:
            requeue(signal.SIGUSR2, None)
        except SystemExit:
            pass
        except (OSError, subprocess.SubprocessError) as error:
            refused = f"the site refuses to requeue ({describe(error)})"
            folder.set_state(QUEUED, error=refused, requeue_refused=True)  # whoever waits submits it again
        except Exception as error:  # submitit's: out of time too often
            folder.set_state(FAILED, error=f"{describe(error)} See hydra.launcher.max_requeues and timeout.")
        sys.stderr.flush()
        os._exit(255)


def keep_signals_from_children() -> None:
    """Give forked children (DataLoader workers) the default handlers.

    With the job's own they would ignore SIGTERM, and could hold a finished job's GPU until its time
    limit. The signals are blocked around the fork, or Python drops one that arrives before the hook.
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
    """Run a job in this process of its own on this machine; return the exit code."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        stop.stop_on(signum, PATIENCE_S, _interrupt)
    try:
        Job(target, Path(folder)).run(job=None, node=None)
    except filelock.Timeout:
        return HELD
    except (stop.StopRequested, KeyboardInterrupt):
        return 130
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _interrupt() -> None:
    raise KeyboardInterrupt
