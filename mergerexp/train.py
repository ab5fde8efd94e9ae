"""``python -m mergerexp.train``: train one run, or with ``-m`` the runs of a sweep.

If the same command is given again, it skips the runs that are done and resumes the others.
"""

from __future__ import annotations

from mergerexp.config.app import run_app
from mergerexp.config.call import Call, Done
from mergerexp.config.schema import TrainConfig
from mergerexp.console import console
from mergerexp.errors import require_torch


def train(call: Call[TrainConfig]) -> Done:
    """Train the runs of a call: plan all of them, start those that are not done, and show the results.

    Parameters
    ----------
    call
        The configs of the runs, and the options of the launcher that is to start them.

    Returns
    -------
    Done
        The exit code, and the validation error of each run for a sweeper that minimises it.

    Raises
    ------
    UserError
        If torch is not installed, or a run can't be planned or started. Then no run was started.
    """
    # Imported here, so that --help and a refusal need not wait for pandas.
    from mergerexp.study.outcome import (
        complete_study,
        show_failures,
        show_next_steps,
        show_sweeps,
        validation_errors,
    )
    from mergerexp.study.plan import Planner
    from mergerexp.study.run_table import run_table
    from mergerexp.study.train_here import train_here
    from mergerexp.study.train_sweep import TrainSweep

    require_torch("training")
    planned = Planner(call.launcher).plan(call.cells)
    runs = list({run.folder: run for run in planned}.values())  # 1e-3 and 0.001 are one run
    if call.launcher is None:
        train_here(runs)
    elif not TrainSweep(runs, call.launcher).run():
        console.print(f"The jobs go on in Slurm; {show_sweeps(runs)} shows how they stand", soft_wrap=True)
        show_next_steps(runs)
        return Done()
    is_recorded = complete_study(runs)
    console.print(run_table([run.folder for run in runs]))
    show_next_steps(runs)
    all_done = show_failures(runs, call.launcher)
    return Done(0 if all_done and is_recorded else 1, validation_errors(planned))


def main() -> None:
    """Run the verb as the command line says."""
    run_app("train", TrainConfig, train, starts_jobs=True)


if __name__ == "__main__":
    main()
