"""``python -m mergerexp.status``: show the states of the runs of a sweep."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from mergerexp.console import amount, make_console, set_up_logging
from mergerexp.errors import UserError, explain
from mergerexp.runs.job_folder import DONE, FAILED, LOST
from mergerexp.runs.sweep_folder import SweepFolder, choose_sweep, find_sweeps
from mergerexp.study.synchronize import sync
from mergerexp.sweep import slurm_queue
from mergerexp.sweep.states import JobState, collect
from mergerexp.sweep.view import state_table, watch

ABOUT = "Show what every run of a sweep is doing. The exit code is 1 if a run has failed."


def parse() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="python -m mergerexp.status", description=ABOUT)
    parser.add_argument(
        "sweep",
        nargs="?",
        help="beginning of the id of the sweep; default: the most recent sweep, or with --sync all runs",
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=Path(os.environ.get("MERGEREXP_ROOT", ".")),
        help="the folder with the runs and sweeps; default: $MERGEREXP_ROOT, or the working directory",
    )
    parser.add_argument("--list", action="store_true", help="list all sweeps")
    parser.add_argument("--watch", action="store_true", help="update the table until all runs are over")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs, on standard output")
    parser.add_argument(
        "--sync",
        action="store_true",
        help="ask the MLflow store of each run, or $MLFLOW_TRACKING_URI, what it has, and send the rest",
    )
    parser.add_argument("--cancel", action="store_true", help="cancel or stop the runs that are not over")
    args = parser.parse_args()
    if args.sync and (args.list or args.watch or args.json or args.cancel):
        parser.error("--sync can't be combined with --list, --watch, --json or --cancel")
    return args


def list_sweeps(sweeps: Path) -> None:
    """Print a line for each sweep, the most recent first."""
    for sweep in find_sweeps(sweeps):
        content, (folders, _) = sweep.read(), sweep.members()
        done = sum(folder.status().get("state") == DONE for folder in folders)
        given = time.strftime("%Y-%m-%d %H:%M", time.localtime(content["given"]))
        print(f"{sweep.name}  {given}  {done}/{len(folders)} done  {content['command']}")


def show(sweep: SweepFolder, args: argparse.Namespace) -> int:
    """Show the states of the runs of one sweep, after cancelling them if that is asked for.

    Parameters
    ----------
    sweep
        The folder of the sweep.
    args
        The result of `parse`.

    Returns
    -------
    int
        The exit code: 1 if a run has failed or is lost.
    """
    folders, labels = sweep.members()
    console = make_console(stderr=args.json)  # standard output is for the JSON alone
    if args.cancel:
        stopped = ", the process that looks after the sweep is told to stop" if sweep.stop_launcher() else ""
        console.print(f"{amount(slurm_queue.cancel(folders), 'Slurm job')} cancelled{stopped}")

    def read_states() -> list[JobState]:
        return collect(folders, labels, sweep.is_held())

    title = f"sweep {sweep.name}"
    states = watch(console, title, read_states) if args.watch else read_states()
    if args.json:
        print(json.dumps({"sweep": sweep.name, "runs": [vars(state) for state in states]}, indent=1))
    elif not args.watch:
        console.print(state_table(states, title))
    return 1 if any(state.state in (FAILED, LOST) for state in states) else 0


def main() -> int:
    """Run the verb as the command line says; the exit code is 2 for a mistake of the user."""
    set_up_logging()
    args = parse()
    try:
        if args.sync:
            return sync(args.root, args.sweep)
        if args.list:
            list_sweeps(args.root / "sweeps")
            return 0
        return show(choose_sweep(args.root / "sweeps", args.sweep), args)
    except (UserError, OSError) as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted: jobs that are under way go on.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
