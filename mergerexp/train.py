"""``python -m mergerexp.train``: one run, or with ``-m`` a sweep.

The same line again skips what is done and goes on where the rest stopped.
"""

from __future__ import annotations

from mergerexp.config.app import run_app
from mergerexp.config.call import Call, Done
from mergerexp.config.schema import TrainConfig
from mergerexp.console import console
from mergerexp.errors import require_torch
from mergerexp.study.outcome import complete_study, tell_failures, validation_errors
from mergerexp.study.plan import Planner, folders_of
from mergerexp.study.run_table import run_table
from mergerexp.study.train_here import train_here
from mergerexp.study.train_sweep import TrainSweep


def train(call: Call[TrainConfig]) -> Done:
    """Train the runs of a call: plan all of them, start what is new, and show what came out.

    Parameters
    ----------
    call
        Configs of the runs, and the launcher that is to start them.

    Raises
    ------
    UserError
        If torch is not installed, or a run can't be planned or started; then none was started.
    """
    require_torch("training")
    runs = Planner(call.launcher).plan(call.cells)
    if call.launcher is None:
        train_here(runs)
    elif not TrainSweep(runs, call.launcher).run():
        console.print("Not waiting. How the jobs stand: python -m mergerexp.status")
        return Done()
    is_recorded = complete_study(runs)
    console.print(run_table(folders_of(runs)))
    all_done = tell_failures(runs, call.launcher)
    return Done(0 if all_done and is_recorded else 1, validation_errors(runs))


def main() -> None:
    """Run the verb."""
    run_app("train", TrainConfig, train)


if __name__ == "__main__":
    main()
