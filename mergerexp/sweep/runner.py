"""Start the jobs of a sweep with a scheduler, and look on until all of them are over."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Protocol

from mergerexp.errors import UserError
from mergerexp.runs.job_folder import QUEUED, JobFolder
from mergerexp.sweep.job import Job
from mergerexp.sweep.states import JobState, all_over, job_state
from mergerexp.sweep.view import View

log = logging.getLogger(__name__)


class Scheduler(Protocol):
    """What runs jobs: `mergerexp.sweep.local.Local`, `mergerexp.sweep.slurm.Slurm`."""

    interval_s: float
    waits: bool

    def active(self, folders: Sequence[JobFolder]) -> set[Path]:
        """Return the folders whose jobs are under way already."""

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take up jobs, in this order."""

    def watch(self, jobs: Sequence[Job]) -> None:
        """Look after jobs that are under way already."""

    def poll(self) -> None:
        """See how the jobs are, start or restart what should be."""

    def in_queue(self, folder: Path) -> str | None:
        """Return the state of a job in a queue that is not ours, if it is in one."""

    def idle(self) -> bool:
        """Tell whether no job is in its hands any more."""

    def interrupt(self) -> str:
        """Stop or leave the jobs; return what to tell the user."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, answered; the message says what has become of the jobs."""


def run_jobs(
    scheduler: Scheduler, new: Sequence[Job], active: Sequence[Job], labels: dict[str, str], title: str
) -> None:
    """Submit jobs, and unless the scheduler is not to be waited for, look on until all are over.

    Parameters
    ----------
    scheduler
        What runs them.
    new
        Jobs to start, the most urgent first.
    active
        Jobs that are under way already.
    labels
        Folder -> what to call the job on the terminal.
    title
        What to call the sweep.

    Raises
    ------
    Interrupted
        On Ctrl-C.
    OSError
        If the jobs' folders can't be written any more; what runs on this machine is stopped first.
    """
    if active:
        log.info("%d jobs are under way already", len(active))
        scheduler.watch(active)
    folders = [JobFolder(Path(job.folder)) for job in new]
    before = [folder.status() for folder in folders]
    for folder in folders:
        folder.set_state_of_idle(QUEUED, error=None, requeue_refused=None)
    try:
        if new:
            scheduler.submit(new)
    except (UserError, OSError):
        for folder, status in zip(folders, before, strict=True):
            folder.restore(status)
        raise
    jobs = sorted([*new, *active], key=lambda job: list(labels).index(job.folder))
    if not scheduler.waits or not jobs:
        return
    with _sigterm_as_ctrl_c():
        try:
            with View(title) as view:
                while True:
                    scheduler.poll()
                    states = [_state(job, labels[job.folder], scheduler) for job in jobs]
                    view.show(states)
                    if all_over(states) and scheduler.idle():
                        break
                    time.sleep(scheduler.interval_s)
        except KeyboardInterrupt:
            raise Interrupted(scheduler.interrupt()) from None
        except OSError:  # how jobs stand can't be noted any more, e.g. on a full disk
            scheduler.interrupt()
            raise


@contextlib.contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Answer ``kill`` as Ctrl-C, which a shell's background jobs do not get."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _state(job: Job, label: str, scheduler: Scheduler) -> JobState:
    path = Path(job.folder)
    return job_state(JobFolder(path), label, in_queue=scheduler.in_queue(path))
