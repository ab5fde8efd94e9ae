"""A sweep of training runs: what is new is started, what is under way is looked after."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import filelock
from hydra.core.utils import JobReturn, JobStatus

from mergerexp.config.compose import differences
from mergerexp.config.launcher import Options, SlurmOptions
from mergerexp.config.paths import SQLITE
from mergerexp.console import console
from mergerexp.errors import UserError, explain
from mergerexp.files import read_json, write_text
from mergerexp.runs.job_folder import DONE, FAILED, LOST
from mergerexp.runs.run_folder import RunFolder
from mergerexp.runs.sweep_folder import SweepFolder
from mergerexp.study.plan import PlannedRun
from mergerexp.sweep.job import Job
from mergerexp.sweep.runner import Interrupted, run_jobs
from mergerexp.sweep.schedulers import make_scheduler
from mergerexp.sweep.snapshot import snapshot
from mergerexp.sweep.states import job_state
from mergerexp.sweep.view import failure_table

log = logging.getLogger(__name__)
TARGET = "mergerexp.training.job:train_run"


class TrainSweep:
    """The runs of one command line.

    Parameters
    ----------
    runs
        In the order of the command line.
    options
        What ``hydra.launcher`` says.
    """

    def __init__(self, runs: Sequence[PlannedRun], options: Options) -> None:
        self.all, self.options = runs, options
        self.runs = list({run.folder.path: run for run in runs}.values())  # 1e-3 and 0.001 are one run
        own = differences([run.overrides for run in self.runs]) if len(self.runs) > 1 else [[]]
        self.differences = own
        self.labels = {str(run.folder.path): " ".join(mine) for run, mine in zip(self.runs, own, strict=True)}
        sweeps = Path(self.runs[0].cfg.paths.sweeps)
        self.sweeps = sweeps
        self.folder = SweepFolder.of(sweeps, [run.folder for run in self.runs])
        self.waited = True

    def run(self) -> Sequence[JobReturn]:
        """Start what is to be started and look on; the results are those of `runs`, in their order.

        Raises
        ------
        UserError
            If another process looks after this very sweep.
        """
        try:
            with self._colleagues(), self.folder.lock().acquire(timeout=2):  # status may be looking
                self._run()
        except filelock.Timeout:
            raise UserError(
                f"another process looks after sweep {self.folder.name}; watch it with "
                "python -m mergerexp.status --watch"
            ) from None
        return [_returned(run) for run in self.all]

    @contextlib.contextmanager
    def _colleagues(self) -> Iterator[None]:
        """Let work that is all done be looked at where a colleague lets nobody write."""
        try:
            yield
        except PermissionError as error:
            if self.options.rerun == "all" or not all(run.folder.is_done() for run in self.runs):
                raise
            log.info("%d runs, all done before (%s)", len(self.runs), explain(error))

    def _run(self) -> None:
        folders = [run.folder for run in self.runs]
        self.folder.write(folders, self.differences)
        scheduler = make_scheduler(self.options, self.folder.path, snapshot(self.sweeps))
        if isinstance(self.options, SlurmOptions) and str(self.runs[0].cfg.tracking.uri).startswith(SQLITE):
            log.warning(
                "SQLite locks up on a shared file system: use tracking=server; or tracking=none, and later "
                "MLFLOW_TRACKING_URI=... python -m mergerexp.status --sync"
            )
        under_way = scheduler.active(folders)
        active = [run for run in self.runs if run.folder.path in under_way]
        new = [run for run in self.runs if run.folder.path not in under_way and self._wanted(run)]
        done = sum(run.folder.is_done() for run in self.runs) - sum(run.folder.is_done() for run in new)
        log.info(
            "sweep %s: %d runs, %d done before, %d to start", self.folder.name, len(folders), done, len(new)
        )
        self.waited = scheduler.waits or not (new or active)
        with _as_it_was_if_refused([run.folder for run in new]):
            for run in new:
                run.write(again=self.options.rerun == "all" or run.folder.lacks_results())
            for folder in folders:
                folder.join(self.folder.name)
            new.sort(key=lambda run: -run.cost)  # the longest first, or the last one keeps all waiting
            try:
                run_jobs(scheduler, _jobs(new), _jobs(active), self.labels, f"sweep {self.folder.name}")
            except Interrupted as interrupted:
                raise Interrupted(f"{interrupted}{self._same_command()}") from None

    def _same_command(self) -> str:
        """Return what to add where the same command is said to go on."""
        if self.options.rerun != "all":
            return ""
        return "\nLeave out hydra.launcher.rerun=all then: with it all runs begin once more."

    def _wanted(self, run: PlannedRun) -> bool:
        if self.options.rerun == "all":
            return True
        if run.folder.is_done():
            return False
        return self.options.rerun == "failed" or run.folder.status().get("state") not in (FAILED, LOST)

    def tell_failures(self) -> int:
        """Show which runs are not done and why; return the exit code."""
        states = [job_state(run.folder, self.labels[str(run.folder.path)]) for run in self.runs]
        if table := failure_table(states):
            console.print(table)
            console.print(
                "The same command tries these again. Logs: traceback.txt and log.txt in the run's folder, "
                f"those of Slurm in {self.folder.path / 'slurm'}{self._same_command()}",
                soft_wrap=True,
            )
            return 1
        return 0


@contextlib.contextmanager
def _as_it_was_if_refused(folders: Sequence[RunFolder]) -> Iterator[None]:
    """Let runs that have begun stand as they did if they can't be written or are not taken."""
    names = ("config.yaml", "inputs.json", "again.json", "submission.json")  # states: run_jobs
    files = [folder.path / name for folder in folders if folder.status() for name in names]
    before = {path: path.read_text(encoding="utf-8") if path.is_file() else None for path in files}
    try:
        yield
    except (UserError, OSError):
        for path in [path for path, text in before.items() if text is None]:
            path.unlink(missing_ok=True)
        for path, text in before.items():
            if text is not None and text != path.read_text(encoding="utf-8"):  # a full disk takes no more
                write_text(path, text)
        raise


def _jobs(runs: Sequence[PlannedRun]) -> list[Job]:
    return [Job(TARGET, run.folder.path) for run in runs]


def _returned(run: PlannedRun) -> JobReturn:
    """Return the validation error for a sweeper that optimises it; a failed run has none."""
    result = JobReturn(overrides=list(run.overrides), status=JobStatus.COMPLETED)
    state = run.folder.status().get("state")
    result.return_value = read_json(run.folder.metrics)["val/error"] if state == DONE else None
    return result
