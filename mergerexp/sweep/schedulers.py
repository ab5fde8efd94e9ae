"""The scheduler that a launcher's options ask for."""

from __future__ import annotations

from pathlib import Path

from mergerexp.config.launcher import LocalOptions, Options
from mergerexp.sweep.local import Local
from mergerexp.sweep.runner import Scheduler
from mergerexp.sweep.slurm import Slurm


def make_scheduler(options: Options, folder: Path, code: Path | None) -> Scheduler:
    """Return the scheduler of a sweep.

    Parameters
    ----------
    options
        What ``hydra.launcher`` says.
    folder
        For what the scheduler writes.
    code
        The copy of the code that the jobs are to run; None: what is installed.
    """
    if isinstance(options, LocalOptions):
        return Local(options, code)
    return Slurm(options, folder, code)
