"""A sweep of training runs: new runs are started, and runs that are under way are watched."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from mergerexp.config.call import differences
from mergerexp.config.launcher import Options, SlurmOptions
from mergerexp.config.paths import SQLITE
from mergerexp.console import amount
from mergerexp.errors import explain
from mergerexp.files import restored_on_error
from mergerexp.study.outcome import RERUN_ALL
from mergerexp.study.plan import TARGET, PlannedRun, run_labels
from mergerexp.sweep.job import Job
from mergerexp.sweep.job_sweep import JobSweep
from mergerexp.sweep.runner import Interrupted, Scheduler, make_scheduler, submit_jobs, wait_for_jobs
from mergerexp.sweep.slurm_queue import refuse_jobs_in_slurm
from mergerexp.sweep.snapshot import snapshot
from mergerexp.tracking.pending import modules_to_send

log = logging.getLogger(__name__)


class TrainSweep(JobSweep):
    """The runs of one command line, which a launcher starts.

    Parameters
    ----------
    runs
        The runs in the order of the command line, each once.
    options
        The options of the launcher.
    """

    def __init__(self, runs: Sequence[PlannedRun], options: Options) -> None:
        super().__init__(Path(runs[0].cfg.paths.sweeps), [run.folder for run in runs], options)
        self.runs = runs

    def run(self) -> bool:
        """Start the runs that are to be started, and wait until all are over, if the launcher waits.

        Returns
        -------
        bool
            False if there are jobs that are not waited for.

        Raises
        ------
        UserError
            If another process looks after this sweep, or the jobs can't be submitted.
        """
        try:
            with self.looked_after():
                self._run()
        except PermissionError as error:  # runs that are all done can be shown where nothing can be written
            if self.options.rerun == "all" or not all(folder.is_done() for folder in self.folders):
                raise
            log.info("%s, all done before (%s)", amount(len(self.runs), "run"), explain(error))
        return self.waits or all(folder.is_done() for folder in self.folders)

    def _run(self) -> None:
        with restored_on_error([self.folder.file]):  # a sweep that is refused is none that status could show
            scheduler, jobs = self._submit()
        try:
            labels, costs = run_labels(self.runs), {run.folder.name: run.cost for run in self.runs}
            wait_for_jobs(scheduler, jobs, labels, self.title, costs)
        except Interrupted as interrupted:
            again = RERUN_ALL if self.options.rerun == "all" else ""
            raise Interrupted(f"{interrupted}{again}") from None

    def _submit(self) -> tuple[Scheduler, list[Job]]:
        """Submit the runs that are to start; return the scheduler, and the jobs of all runs under way."""
        overrides = differences([run.overrides for run in self.runs])
        self.folder.write(self.folders, overrides, [run.cost for run in self.runs])
        scheduler = make_scheduler(self.options, self.folder.path, snapshot(self.sweeps))
        if not isinstance(self.options, SlurmOptions):
            refuse_jobs_in_slurm(self.folders)
        elif str(self.runs[0].cfg.tracking.uri).startswith(SQLITE):
            log.warning(
                "An SQLite file on a shared file system may lock up: let MLFLOW_TRACKING_URI name a server, "
                "or use tracking=none and later MLFLOW_TRACKING_URI=... python -m mergerexp.status --sync"
            )
        under_way = scheduler.active(self.folders)
        active = [run for run in self.runs if run.folder in under_way]
        new = [run for run in self.runs if run.folder not in under_way and self.is_to_start(run.folder)]
        done = sum(run.folder.is_done() for run in self.runs) - sum(run.folder.is_done() for run in new)
        number = amount(len(self.runs), "run") if len(self.runs) > 1 else f"1 run ({self.folders[0].name})"
        log.info("%s: %s, %d done before, %d to start", self.title, number, done, len(new))
        begun = [run.folder for run in new if run.folder.status()]
        files = [file for run in begun for file in (run.config, run.inputs, run.again, run.submission)]
        with restored_on_error(files):
            for run in new:
                run.write(again=self.options.rerun == "all" or run.folder.lacks_results())
            for run in self.runs:
                run.folder.join(self.folder.name)
            new.sort(key=lambda run: -run.cost)  # a long run must not be the last one to start
            submit_jobs(scheduler, _jobs(new), _jobs(active))
        return scheduler, _jobs([*new, *active])


def _jobs(runs: Sequence[PlannedRun]) -> list[Job]:
    return [Job(TARGET, run.folder.path, modules_to_send(run.cfg.tracking)) for run in runs]
