"""The choice of the scheduler for a launcher."""

from __future__ import annotations

from pathlib import Path

from mergerexp.config.launcher import LocalOptions, Options
from mergerexp.sweep.local import Local
from mergerexp.sweep.runner import Scheduler
from mergerexp.sweep.slurm import Slurm


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
    if isinstance(options, LocalOptions):
        return Local(options, code)
    return Slurm(options, folder, code)
