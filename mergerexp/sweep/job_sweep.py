"""The jobs of one command line, which a launcher starts and one process looks after."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import filelock

from mergerexp.config.commands import status_command
from mergerexp.config.launcher import Options, SlurmOptions
from mergerexp.errors import UserError
from mergerexp.runs.job_folder import FAILED, LOST, JobFolder
from mergerexp.runs.sweep_folder import SweepFolder


class JobSweep:
    """The jobs of a sweep and the options of the launcher that starts them.

    Parameters
    ----------
    sweeps
        The folder for all sweeps.
    folders
        The folders of the jobs.
    options
        The options of the launcher.
    """

    def __init__(self, sweeps: Path, folders: Sequence[JobFolder], options: Options) -> None:
        self.sweeps, self.folders, self.options = sweeps, list(folders), options
        self.folder = SweepFolder.of(sweeps, self.folders)
        self.title = f"sweep {self.folder.name}"

    @property
    def waits(self) -> bool:
        """Whether the launcher waits until all jobs are over."""
        return not isinstance(self.options, SlurmOptions) or self.options.wait

    @contextlib.contextmanager
    def looked_after(self) -> Iterator[None]:
        """Let this process be the one that looks after the sweep.

        Raises
        ------
        UserError
            If another process is.
        """
        try:
            # The timeout is for the status verb, which holds the lock for a moment to see whether it is free.
            with self.folder.lock().acquire(timeout=2):
                yield
        except filelock.Timeout:
            raise UserError(
                f"another process looks after sweep {self.folder.name}; watch it with "
                f"{status_command(self.sweeps, '--watch')}"
            ) from None

    def is_to_start(self, folder: JobFolder) -> bool:
        """Tell whether a job that is not under way is to be started, by its state and the options."""
        if self.options.rerun == "all":
            return True
        if folder.is_done():
            return False
        return self.options.rerun == "failed" or folder.status().get("state") not in (FAILED, LOST)
