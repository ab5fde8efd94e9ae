"""Several jobs in one job of Slurm, which share its GPUs and cores."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from mergerexp.console import amount, set_up_logging
from mergerexp.cores import usable_cores, visible_gpus, wait_without_spinning
from mergerexp.errors import describe
from mergerexp.garbage import collect_rarely
from mergerexp.runs.job_folder import FAILED, QUEUED, JobFolder
from mergerexp.sweep.arrays import record_of
from mergerexp.sweep.crew import Crew
from mergerexp.sweep.job import HELD, LEASE_S, PATIENCE_S, Job, requeue_and_exit, slurm_place
from mergerexp.sweep.places import MeasuredPlaces, Places

POLL_S = 0.2
TO_REQUEUE_S = 10  # before a job's end, for ending NVIDIA's service and asking Slurm to requeue the job


class Pack:
    """A function for submitit that runs several jobs side by side, each in a process of its own.

    One that fails takes none along. If the Slurm job is requeued, it goes on with what is not over yet.

    Parameters
    ----------
    jobs
        The jobs.
    record
        The file that describes the Slurm array to other processes. A job that was submitted again with
        another array since is left to that.
    together
        The most jobs that run at once.
    measured
        Whether only as many of these share a GPU as its memory holds.
    """

    def __init__(self, jobs: Sequence[Job], record: Path, together: int, measured: bool) -> None:
        self.jobs, self.record = list(jobs), str(record)
        self.together, self.measured = together, measured

    def __call__(self) -> None:
        """Run the jobs in submitit's process under Slurm, and requeue it when its time is up.

        Raises
        ------
        RuntimeError
            If a job failed, so that Slurm's accounting says so too.
        """
        wait_without_spinning()
        collect_rarely()
        set_up_logging()
        # The handler of submitit calls checkpoint() and scontrol requeue.
        requeue: Any = signal.getsignal(signal.SIGUSR2)
        ending = _Ending()
        signal.signal(signal.SIGTERM, lambda *_: None)  # it reaches the jobs as well, which save
        signal.signal(signal.SIGUSR2, ending.note)
        crew = self._crew()
        crew.add(self._take_up())
        try:
            self._look_after(crew, ending, requeue)
        except Exception as error:  # such as a full disk: no run may go on without anybody who looks after it
            crew.stop(PATIENCE_S)
            for job in self._left():
                # The process that waits for the sweep, if there is one, submits the job again.
                with contextlib.suppress(OSError):
                    job.folder.set_state_of_idle(QUEUED, error=describe(error), requeue_refused=True)
            raise
        finally:
            crew.close()
        self._end(crew.held_elsewhere())

    def _look_after(self, crew: Crew, ending: _Ending, requeue: Any) -> None:
        """Return once all jobs are over, or another process works on those that are left for too long."""
        held_since = time.monotonic()
        while not crew.is_idle() or (crew.held_elsewhere() and time.monotonic() < held_since + LEASE_S):
            crew.poll()
            if not crew.is_idle():
                held_since = time.monotonic()
            if ending.is_near:
                lead = int(os.environ.get("MERGEREXP_SIGNAL_LEAD", "60"))
                crew.stop(max(lead / 2, lead - TO_REQUEUE_S))
                if left := self._left():
                    crew.close()  # this process ends in the next line, without an exception
                    requeue_and_exit(requeue, [job.folder for job in left])
            time.sleep(POLL_S)

    def _end(self, held: Sequence[JobFolder]) -> None:
        if held:
            names = ", ".join(folder.name for folder in held)
            print(f"another process is working on {names}", file=sys.stderr, flush=True)
            os._exit(HELD)
        states = [job.folder.status().get("state") for job in self.jobs]
        if failed := states.count(FAILED):
            raise RuntimeError(f"{failed} of {amount(len(self.jobs), 'job')} failed")

    def checkpoint(self) -> Any:
        """Return to submitit what is to run after the requeue, which is the jobs that are not over."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(Pack(self._take_up(), Path(self.record), self.together, self.measured))

    __submitit_checkpoint__ = checkpoint

    def _take_up(self) -> list[Job]:
        """Return the jobs that are not over, and say that they wait: their task may have been killed."""
        left = self._left()
        for job in left:
            with contextlib.suppress(OSError):  # nothing but what is shown depends on it
                job.folder.set_state_of_idle(QUEUED, error=None)
        return left

    def _left(self) -> list[Job]:
        return [job for job in self.jobs if self._is_open(job.folder)]

    def _is_open(self, folder: JobFolder) -> bool:
        """Tell whether a job is this pack's to run, and has neither been done nor failed in it."""
        status = folder.status()
        if folder.is_done() or (status.get("state"), status.get("job")) == (FAILED, slurm_place()[0]):
            return False
        return record_of(folder) == self.record

    def _crew(self) -> Crew:
        gpus = visible_gpus()
        places = MeasuredPlaces(gpus) if self.measured and gpus else Places(self.together, gpus)
        # The threads of a job do not depend on how many jobs are left, since they decide rounding.
        return Crew(places, max(1, usable_cores() // self.together), code=None, in_slurm=True)


class _Ending:
    """Whether Slurm has said that time is almost up."""

    is_near = False

    def note(self, signum: int, frame: FrameType | None) -> None:
        self.is_near = True
