"""``python -m mergerexp.train``: one run, or with ``-m`` a sweep.

The same line again skips what is done and goes on where the rest stopped.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import filelock
from hydra.core.utils import JobReturn

from mergerexp.config.app import run_app
from mergerexp.config.compose import compose_cell
from mergerexp.config.launcher import Options
from mergerexp.config.schema import TrainConfig
from mergerexp.console import console
from mergerexp.errors import explain, require_torch
from mergerexp.runs.job_folder import OVER
from mergerexp.runs.run_folder import RunFolder
from mergerexp.study.plan import PlannedRun, Planner
from mergerexp.study.run_table import run_table
from mergerexp.study.train_sweep import TARGET, TrainSweep
from mergerexp.sweep.job import Job
from mergerexp.tracking.pending import complete_records

log = logging.getLogger("mergerexp.train")  # __name__ is __main__ under python -m


class Training:
    """The runs of one call."""

    def __init__(self) -> None:
        self.planner = Planner(None)
        self.planned: dict[tuple[str, ...], PlannedRun] = {}
        self.sweep: TrainSweep | None = None
        self.begun = self.failed = 0

    def preflight(self, cells: list[tuple[list[str], TrainConfig]], options: Options | None) -> None:
        """Plan all runs before any of them starts; see `Planner.plan` for what may be raised."""
        require_torch("training")
        self.planner = Planner(options)
        self.planned = {run.overrides: run for run in self.planner.plan(cells)}

    def plan(self, overrides: Sequence[str]) -> PlannedRun:
        """Return the plan of a run, made now if a sweeper of its own mind (Optuna's) asks for the run."""
        key = tuple(overrides)
        if key not in self.planned:
            cfg = compose_cell("train", overrides, TrainConfig)
            self.planned[key] = self.planner.plan([(overrides, cfg)])[0]
        return self.planned[key]

    def run(self, overrides: list[str]) -> float | None:
        """Skip, resume or start one run in this process; a failure is told and the next run goes on."""
        run = self.plan(overrides)
        self.begun += 1
        where, folder = f"[{self.begun}/{len(self.planned)}] {run.folder.name}", run.folder
        if folder.is_done():
            log.info("%s: done before", where)
            return None
        log.info("%s: %s", where, "resuming" if folder.checkpoint.is_file() else "starting")
        started = time.perf_counter()
        try:
            if folder.is_held():
                raise filelock.Timeout(str(folder.path))
            run.write(again=folder.lacks_results())
            error: float = Job(TARGET, folder.path).run(job=None, node=None)
        except filelock.Timeout:
            self.failed += 1
            log.error("%s: another process is training this run", where)
        except Exception as problem:
            self.failed += 1
            log.error("%s failed: %s (traceback in %s)", where, explain(problem), folder.traceback)
        else:
            log.info("%s: done in %.0f s", folder.name, time.perf_counter() - started)
            return error
        return None

    def launch(self, options: Options, job_overrides: Sequence[Sequence[str]]) -> Sequence[JobReturn]:
        """Do a sweep with one of our launchers."""
        self.sweep = TrainSweep([self.plan(overrides) for overrides in job_overrides], options)
        return self.sweep.run()

    def finish(self) -> int:
        """Show what came out, and return the exit code."""
        folders = list(dict.fromkeys(run.folder for run in self.planned.values()))  # some cells are one run
        if self.sweep is not None and not self.sweep.waited and not all(map(RunFolder.is_done, folders)):
            console.print("Not waiting. How the jobs stand: python -m mergerexp.status")
            return 0
        tracking = {run.folder: run.cfg.tracking for run in self.planned.values()}
        over = [folder for folder in folders if folder.status().get("state") in OVER]
        standing = complete_records(over, tracking.__getitem__)
        console.print(run_table(folders))
        failed = self.sweep.tell_failures() if self.sweep is not None else int(self.failed > 0)
        if standing.lacking:
            console.print(
                f"MLflow lacks all or part of {standing.lacking} of {standing.begun} runs (see above). The "
                "same command completes the record, and so does python -m mergerexp.status --sync",
                soft_wrap=True,
            )
        return failed or int(standing.broken)


def main() -> None:
    """Run the verb."""
    run_app("train", TrainConfig, Training())


if __name__ == "__main__":
    main()
