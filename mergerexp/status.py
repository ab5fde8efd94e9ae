"""``python -m mergerexp.status``: what every run of a sweep is doing."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.live import Live

from mergerexp.config.schema import TrainConfig
from mergerexp.console import set_up_logging
from mergerexp.errors import UserError
from mergerexp.sweep import local, slurm
from mergerexp.sweep.job_folder import DONE, FAILED, LOST, OVER
from mergerexp.sweep.run_folder import RunFolder
from mergerexp.sweep.states import JobState, collect
from mergerexp.sweep.sweep_folder import SweepFolder, find_sweeps
from mergerexp.sweep.view import state_table

WATCH_EVERY_S = 2.0
console = Console(highlight=False)
if not console.is_terminal:
    console = Console(highlight=False, width=160)  # a file or a pipe has room to spare


@dataclass(frozen=True)
class RecordedRun:
    """A run with the config that lies in its folder."""

    folder: RunFolder
    cfg: TrainConfig


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m mergerexp.status", description=__doc__)
    parser.add_argument("sweep", nargs="?", help="beginning of its id; default: the last one given")
    parser.add_argument("--root", type=Path, default=Path(os.environ.get("MERGEREXP_ROOT", ".")))
    parser.add_argument("--list", action="store_true", help="list all sweeps")
    parser.add_argument("--watch", action="store_true", help="keep the table up to date until all is over")
    parser.add_argument("--json", action="store_true", help="for programs, on standard output")
    parser.add_argument("--sync", action="store_true", help="tell MLflow what it has missed")
    parser.add_argument("--cancel", action="store_true", help="cancel or stop what is not over")
    return parser.parse_args(arguments)


def choose(root: Path, wanted: str | None) -> SweepFolder:
    """Return the sweep of that id, or the last one given.

    Raises
    ------
    UserError
        If there is none, or several.
    """
    sweeps = find_sweeps(root / "sweeps")
    if not sweeps:
        raise UserError(f"no sweep in {root / 'sweeps'}; --root, or MERGEREXP_ROOT, says where to look")
    if wanted is None:
        return sweeps[0]
    found = [sweep for sweep in sweeps if sweep.name.startswith(wanted)]
    if len(found) != 1:
        names = ", ".join(sweep.name for sweep in found or sweeps)
        raise UserError(f"{wanted}: {'which of' if found else 'no such sweep; there are'} {names}")
    return found[0]


def members(sweep: SweepFolder) -> tuple[list[RunFolder], list[str]]:
    """Return the run folders of a sweep and what to call them."""
    runs = sweep.read()["runs"]
    return [RunFolder(Path(run["folder"])) for run in runs], [" ".join(run["overrides"]) for run in runs]


def watch(sweep: SweepFolder, folders: Sequence[RunFolder], labels: Sequence[str]) -> list[JobState]:
    """Show the table until every run is over, or Ctrl-C."""
    states = collect(folders, labels)
    try:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                live.update(state_table(states, f"sweep {sweep.name}"), refresh=True)
                if all(state.state in OVER for state in states):
                    break
                time.sleep(WATCH_EVERY_S)
                states = collect(folders, labels)
    except KeyboardInterrupt:
        pass  # looking on has no consequences
    return states


def synchronise(folders: Sequence[RunFolder]) -> int:
    """Tell MLflow what it has missed; return how many runs it still lacks."""
    from omegaconf import DictConfig, OmegaConf

    from mergerexp.config.validate import typed
    from mergerexp.tracking.pending import complete_records

    runs = []
    for folder in folders:
        if folder.provenance.is_file():
            config = OmegaConf.load(folder.config)
            assert isinstance(config, DictConfig)
            runs.append(RecordedRun(folder, typed(config, TrainConfig)))
    missing = complete_records(runs)
    console.print(f"MLflow has {len(runs) - missing} of {len(runs)} runs that have begun")
    return missing


def show(sweep: SweepFolder, args: argparse.Namespace) -> int:
    """Do what is asked for one sweep; return the exit code."""
    folders, labels = members(sweep)
    if args.cancel:
        console.print(f"{slurm.cancel(folders) + local.cancel(folders)} runs cancelled")
    if args.sync:
        return 1 if synchronise(folders) else 0
    states = watch(sweep, folders, labels) if args.watch else collect(folders, labels)
    if args.json:
        content = {"sweep": sweep.name, "runs": [state.as_dict() for state in states]}
        print(json.dumps(content, indent=1))
    elif not args.watch:
        console.print(state_table(states, f"sweep {sweep.name}"))
    return 1 if any(state.state in (FAILED, LOST) for state in states) else 0


def main() -> int:
    """Run the verb; the exit code is 1 if a run has failed, 2 for a mistake."""
    set_up_logging()
    args = parse()
    try:
        if args.list:
            for sweep in find_sweeps(args.root / "sweeps"):
                content, (folders, _) = sweep.read(), members(sweep)
                done = sum(folder.status().get("state") == DONE for folder in folders)
                given = time.strftime("%Y-%m-%d %H:%M", time.localtime(content["given"]))
                print(f"{sweep.name}  {given}  {done}/{len(folders)} done  {content['command']}")
            return 0
        return show(choose(args.root, args.sweep), args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
