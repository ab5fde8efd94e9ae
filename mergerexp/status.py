"""``python -m mergerexp.status``: what every run of a sweep is doing."""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from mergerexp.config.validate import check_address
from mergerexp.console import set_up_logging
from mergerexp.errors import UserError, explain
from mergerexp.runs.job_folder import DONE, FAILED, LOST
from mergerexp.runs.sweep_folder import SweepFolder, all_runs, choose_sweep, find_sweeps
from mergerexp.sweep import slurm_queue
from mergerexp.sweep.states import JobState, collect
from mergerexp.sweep.view import state_table, watch
from mergerexp.tracking.pending import complete_records, configured


def _console(stderr: bool) -> Console:
    console = Console(highlight=False, stderr=stderr)
    # a file or a pipe has room to spare
    return console if console.is_terminal else Console(highlight=False, stderr=stderr, width=160)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m mergerexp.status", description=__doc__)
    parser.add_argument(
        "sweep", nargs="?", help="beginning of its id; default: the last one given; all for --sync"
    )
    parser.add_argument("--root", type=Path, default=Path(os.environ.get("MERGEREXP_ROOT", ".")))
    parser.add_argument("--list", action="store_true", help="list all sweeps")
    parser.add_argument("--watch", action="store_true", help="keep the table up to date until all is over")
    parser.add_argument("--json", action="store_true", help="for programs, on standard output")
    parser.add_argument(
        "--sync", action="store_true", help="ask MLflow, or $MLFLOW_TRACKING_URI, what it has; send the rest"
    )
    parser.add_argument("--cancel", action="store_true", help="cancel or stop what is not over")
    args = parser.parse_args(arguments)
    if args.sync and (args.list or args.watch or args.json or args.cancel):
        parser.error("--sync goes without the other options")
    return args


def list_sweeps(sweeps: Path) -> None:
    """Print a line a sweep."""
    for sweep in find_sweeps(sweeps):
        content, (folders, _) = sweep.read(), sweep.members()
        done = sum(folder.status().get("state") == DONE for folder in folders)
        given = time.strftime("%Y-%m-%d %H:%M", time.localtime(content["given"]))
        print(f"{sweep.name}  {given}  {done}/{len(folders)} done  {content['command']}")


def show(sweep: SweepFolder, args: argparse.Namespace) -> int:
    """Do what is asked for one sweep; return the exit code."""
    folders, labels = sweep.members()
    console = _console(stderr=args.json)  # standard output is for the JSON alone
    if args.cancel:
        stopped = ", the process that looks after the sweep is told to stop" if sweep.stop_launcher() else ""
        console.print(f"{slurm_queue.cancel(folders)} Slurm jobs cancelled{stopped}")

    def look() -> list[JobState]:
        return collect(folders, labels, sweep.is_looked_after())

    title = f"sweep {sweep.name}"
    states = watch(console, title, look) if args.watch else look()
    if args.json:
        print(json.dumps({"sweep": sweep.name, "runs": [state.as_dict() for state in states]}, indent=1))
    elif not args.watch:
        console.print(state_table(states, title))
    return 1 if any(state.state in (FAILED, LOST) for state in states) else 0


def sync(root: Path, beginning: str | None) -> int:
    """Complete the record of a sweep's runs, or of all below the root; return the exit code.

    Raises
    ------
    UserError
        If there is no such sweep or no run.
    """
    check_address("MLFLOW_TRACKING_URI", uri := os.environ.get("MLFLOW_TRACKING_URI"))
    folders = all_runs(root) if beginning is None else choose_sweep(root / "sweeps", beginning).members()[0]
    standing = complete_records(folders, functools.partial(configured, uri=uri), ask=True)
    has = f"MLflow has {standing.begun - standing.lacking} of {standing.begun} runs that have begun"
    if standing.storeless:
        has += f", and {standing.storeless} more have no store (tracking=none): MLFLOW_TRACKING_URI names one"
    print(has)
    return 1 if standing.lacking or (standing.storeless and not standing.begun) else 0


def main() -> int:
    """Run the verb; the exit code is 1 if a run has failed, 2 for a mistake."""
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


if __name__ == "__main__":
    sys.exit(main())
