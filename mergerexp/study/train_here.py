"""Training runs in this process, one after the other."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Sequence

import filelock

from mergerexp.errors import explain
from mergerexp.runs.job_folder import QUEUED
from mergerexp.study.plan import TARGET, PlannedRun
from mergerexp.sweep.job import Job
from mergerexp.sweep.progress import Forecast
from mergerexp.sweep.states import JobState, job_state

log = logging.getLogger(__name__)


def train_here(runs: Sequence[PlannedRun]) -> None:
    """Skip, resume or start each run; if one fails, the failure is logged and the next run is trained.

    Parameters
    ----------
    runs
        The runs in the order in which they are trained.
    """
    for number, run in enumerate(runs, 1):
        label, folder = f"[{number}/{len(runs)}] {run.folder.name}", run.folder
        if folder.is_done():
            log.info("%s: done before", label)
            continue
        log.info("%s: %s", label, "resuming" if folder.checkpoint.is_file() else "starting")
        started = time.perf_counter()
        try:
            if folder.is_held():
                raise filelock.Timeout(str(folder.path))
            run.write(again=folder.lacks_results())
            Job(TARGET, folder.path).run()
        except filelock.Timeout:
            log.error("%s: another process is training this run", label)
        except Exception as error:
            log.error("%s failed: %s (traceback in %s)", label, explain(error), folder.traceback)
        else:
            took = f"done in {time.perf_counter() - started:.0f} s"
            log.info("%s: %s", label, ", ".join(filter(None, [took, _time_left(runs, number)])))
        finally:
            if number < len(runs):
                gc.collect()  # a trainer and what it trains refer to each other, and to all images


def _time_left(runs: Sequence[PlannedRun], number: int) -> str:
    """Return how long the runs after the first ones will take, by those that are done."""
    begun = [job_state(run.folder, run.folder.name) for run in runs[:number]]
    waiting = [JobState(run.folder.name, "", QUEUED) for run in runs[number:] if not run.folder.is_done()]
    return Forecast({run.folder.name: run.cost for run in runs}, at_once=1).left([*begun, *waiting])
