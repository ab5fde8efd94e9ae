"""What the status verb prints of sweeps: a list of them, the states of the runs of one, or JSON."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from mergerexp.console import amount, make_console
from mergerexp.errors import visible
from mergerexp.runs.job_folder import FAILED, LOST
from mergerexp.runs.sweep_folder import SweepFolder, known_sweeps
from mergerexp.sweep import slurm_queue
from mergerexp.sweep.progress import Forecast
from mergerexp.sweep.states import JobState, collect
from mergerexp.sweep.view import state_table, watch


def list_sweeps(sweeps: Path, as_json: bool) -> None:
    """Print all sweeps, the most recent first: a line for each, or a JSON list.

    Parameters
    ----------
    sweeps
        The folder for all sweeps.
    as_json
        Whether JSON is printed.

    Raises
    ------
    UserError
        If there is no sweep.
    """
    rows: list[dict[str, Any]] = []
    for sweep in known_sweeps(sweeps):
        content, folders = sweep.read(), sweep.members().folders
        done = sum(folder.is_done() for folder in folders)
        row = {"sweep": sweep.name, "given": content["given"], "done": done, "runs": len(folders)}
        rows.append({**row, "command": content["command"]})
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        given = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["given"]))
        print(f"{row['sweep']}  {given}  {row['done']}/{row['runs']} done  {visible(row['command'])}")


def cancel(sweep: SweepFolder, quiet: bool) -> None:
    """Cancel the jobs of a sweep in Slurm, stop the process that looks after it, and say so.

    Parameters
    ----------
    sweep
        The folder of the sweep.
    quiet
        Whether standard output is left to something else.
    """
    launcher = sweep.stop_launcher()  # first, since it would submit cancelled jobs again
    number = slurm_queue.cancel(sweep.members().folders)
    cancelled = f"{amount(number, 'job')} cancelled" if number else ""
    said = "; ".join(filter(None, [cancelled, launcher])) or "nothing is under way that could be stopped"
    make_console(stderr=quiet).print(f"sweep {sweep.name}: {said}", soft_wrap=True)


def show(sweep: SweepFolder, watching: bool, as_json: bool) -> int:
    """Show the states of the runs of one sweep.

    Parameters
    ----------
    sweep
        The folder of the sweep.
    watching
        Whether the table is brought up to date until all runs are over.
    as_json
        Whether JSON is printed instead.

    Returns
    -------
    int
        The exit code: 1 if a run has failed or is lost.
    """
    folders, labels, costs = sweep.members()

    def read_states() -> list[JobState]:
        return collect(folders, labels, sweep.is_held())

    title, console, forecast = f"sweep {sweep.name}", make_console(stderr=False), Forecast(costs)
    states = watch(console, title, read_states, forecast) if watching else read_states()
    if as_json:
        print(json.dumps({"sweep": sweep.name, "runs": [vars(state) for state in states]}, indent=1))
    elif not watching:
        console.print(state_table(states, title, forecast, console.width))
    return 1 if any(state.state in (FAILED, LOST) for state in states) else 0
