"""Jobs on this machine: as many at once as it can take, each in a process of its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from mergerexp.config.launcher import LocalOptions
from mergerexp.console import amount
from mergerexp.cores import memory_gb, usable_cores, visible_gpus
from mergerexp.runs.job_folder import JobFolder
from mergerexp.sweep.crew import Crew
from mergerexp.sweep.job import PATIENCE_S, Job
from mergerexp.sweep.places import MeasuredPlaces, Places

log = logging.getLogger(__name__)
RUN_GB = 4.0  # the memory that a run of the default study takes


class Local:
    """Runs the jobs of one sweep in processes of this machine.

    Parameters
    ----------
    options
        The options of the launcher.
    code
        The copy of the code that the jobs run; it comes first on their ``PYTHONPATH``. None for the installed
        code.
    """

    interval_s = 0.2
    waits = True

    def __init__(self, options: LocalOptions, code: Path | None) -> None:
        places = make_places(options)
        # This depends on the machine alone, not on how many runs are left, since it influences rounding.
        self.crew = Crew(places, max(1, usable_cores() // places.n), code)

    def active(self, folders: Sequence[JobFolder]) -> set[JobFolder]:
        """Return the folders that another process is working on."""
        return {folder for folder in folders if folder.is_held()}

    def submit(self, jobs: Sequence[Job]) -> None:
        """Append jobs to those that wait to be started."""
        self.crew.add(jobs)
        most, threads = self.crew.places.n, amount(self.crew.threads, "thread")
        log.info("%s, %d at a time with %s each", amount(len(jobs), "job"), most, threads)

    def watch(self, jobs: Sequence[Job]) -> None:
        """Watch jobs that another process is working on, and take them over if it dies."""
        self.crew.watch(jobs)

    def poll(self) -> None:
        """Find out which jobs have ended, and start the next ones."""
        self.crew.poll()

    def in_queue(self, folder: JobFolder) -> str | None:
        """Return None, since these jobs are in the queue of no other program."""
        return None

    def idle(self) -> bool:
        """Tell whether none of our jobs is running or waiting; if so, end what was started besides them."""
        if self.crew.is_idle():
            self.crew.close()
        return self.crew.is_idle()

    def interrupt(self) -> str:
        """Stop the jobs between two training steps, after a checkpoint; return a message for the user."""
        if running := self.crew.running():
            log.info(
                "stopping %s, which takes some seconds, since each comes to a safe point first; "
                "another Ctrl-C kills at once what still goes on",
                amount(running, "job"),
            )
        self.crew.stop(PATIENCE_S + 5)
        self.crew.close()
        return "Stopped: the same command goes on where this one stopped."


def make_places(options: LocalOptions) -> Places:
    """Return the places for jobs on this machine, by its GPUs or else by its cores and memory.

    Parameters
    ----------
    options
        The options of the launcher.
    """
    gpus = visible_gpus()
    if options.n_jobs is not None:
        return Places(options.n_jobs, gpus)
    if not gpus:
        if isinstance(options.runs_per_gpu, int) and options.runs_per_gpu > 1:
            given = f"hydra.launcher.runs_per_gpu={options.runs_per_gpu}"
            log.warning("%s has no effect: this machine has no GPU (see hydra.launcher.n_jobs)", given)
        # More runs use the cores better than more threads of a run: two runs are 1.3 times as fast on two.
        return Places(max(1, min(usable_cores(), int(memory_gb() / RUN_GB))), [])
    if isinstance(options.runs_per_gpu, str):
        return MeasuredPlaces(gpus)
    return Places(options.runs_per_gpu * len(gpus), gpus)
