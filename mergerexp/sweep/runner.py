"""Starting the jobs of a sweep with a scheduler, and waiting until all of them are over."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mergerexp.config.launcher import LocalOptions, Options
from mergerexp.console import amount
from mergerexp.files import restored_on_error
from mergerexp.runs.job_folder import QUEUED, JobFolder
from mergerexp.sweep.job import Job
from mergerexp.sweep.local import Local
from mergerexp.sweep.progress import Forecast
from mergerexp.sweep.slurm import Slurm
from mergerexp.sweep.states import all_over, job_state
from mergerexp.sweep.view import view

log = logging.getLogger(__name__)


# What both have: interval_s (seconds between two calls of `poll`), waits (whether to wait until all is over),
# active, submit, watch, poll, in_queue (the state of a job in another program's queue), idle and interrupt.
Scheduler = Local | Slurm


class Interrupted(KeyboardInterrupt):
    """The user pressed Ctrl-C, and the scheduler has answered; the message says what became of the jobs."""


def make_scheduler(options: Options, folder: Path, code: Path | None) -> Scheduler:
    """Return the scheduler for the jobs of a sweep.

    Parameters
    ----------
    options
        The options of the launcher, whose type decides.
    folder
        The folder of the sweep, for the files of the scheduler.
    code
        The copy of the code that the jobs are to run; None for the installed code.
    """
    return Local(options, code) if isinstance(options, LocalOptions) else Slurm(options, folder, code)


def submit_jobs(scheduler: Scheduler, new: Sequence[Job], active: Sequence[Job]) -> None:
    """Submit jobs; after an error, their states are as they were.

    Parameters
    ----------
    scheduler
        The scheduler that runs the jobs.
    new
        The jobs that are to be started, the most urgent first.
    active
        The jobs that are under way already.

    Raises
    ------
    UserError
        If the jobs are refused.
    """
    if active:
        verb = "is" if len(active) == 1 else "are"
        log.info("%s %s under way already", amount(len(active), "job"), verb)
        scheduler.watch(active)
    folders = [job.folder for job in new]
    with restored_on_error(folder.status_file for folder in folders):
        for folder in folders:
            folder.set_state_of_idle(QUEUED, error=None, requeue_refused=None)
        if new:
            scheduler.submit(new)


def wait_for_jobs(
    scheduler: Scheduler,
    jobs: Sequence[Job],
    labels: Mapping[Path, str],
    title: str,
    costs: Mapping[str, float] | None = None,
) -> None:
    """Show how the jobs of a sweep stand until these are over, if the scheduler is to be waited for.

    Parameters
    ----------
    scheduler
        The scheduler that runs the jobs.
    jobs
        The jobs that are waited for.
    labels
        The name on the terminal of each job of the sweep, by the path of its folder, in the order in which
        they are shown. Those that are not waited for are shown as they stand now.
    title
        The name of the sweep on the terminal.
    costs
        How long each job takes in comparison with the others, by its name; None if that is not known.

    Raises
    ------
    Interrupted
        If the user pressed Ctrl-C.
    OSError
        If the folders of the jobs can't be written any more. Jobs on this machine are stopped first.
    """
    if not scheduler.waits or not jobs:
        return
    awaited = [job.folder.path for job in jobs]
    known = {path: job_state(JobFolder(path), label) for path, label in labels.items()}
    with _sigterm_as_ctrl_c():
        try:
            with view(title, Forecast(costs or {})) as show:
                while True:
                    scheduler.poll()
                    for folder in map(JobFolder, awaited):
                        in_queue = scheduler.in_queue(folder)
                        known[folder.path] = job_state(folder, labels[folder.path], in_queue=in_queue)
                    show(list(known.values()))
                    if all_over([known[path] for path in awaited]) and scheduler.idle():
                        break
                    time.sleep(scheduler.interval_s)
        except KeyboardInterrupt:
            raise Interrupted(scheduler.interrupt()) from None
        except OSError:  # the states of jobs can't be written any more, for example on a full disk
            scheduler.interrupt()
            raise


@contextlib.contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Let ``kill`` have the effect of Ctrl-C, which does not reach the background jobs of a shell."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
