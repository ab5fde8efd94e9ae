"""What became of the runs of a call, once there is nothing more to wait for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mergerexp.config.addresses import STORE_VARIABLE
from mergerexp.config.commands import status_command, verb_command
from mergerexp.config.compose import compose_cell
from mergerexp.config.launcher import Options
from mergerexp.config.paths import ROOT_VARIABLE, SQLITE, absolute_paths
from mergerexp.config.schema import AggregateConfig
from mergerexp.console import console
from mergerexp.environment import environment
from mergerexp.errors import without_credentials
from mergerexp.files import read_json
from mergerexp.runs.sweep_folder import SweepFolder
from mergerexp.study.plan import PlannedRun, run_labels
from mergerexp.sweep.states import job_state
from mergerexp.sweep.view import failure_table
from mergerexp.tracking.experiment import ways_to_runs
from mergerexp.tracking.pending import complete_records, experiment_of

RERUN_ALL = "\nLeave out hydra.launcher.rerun=all then: with it, all runs begin once more."
STORE = re.compile(r"(tracking(\.uri|\.experiment)?|paths\.root)=")  # overrides that say where the record is
VARIABLES = (ROOT_VARIABLE, "MERGEREXP_TRACKING", STORE_VARIABLE)  # and the variables that do


def complete_study(runs: Sequence[PlannedRun]) -> bool:
    """Complete the MLflow records of the runs that are over.

    Parameters
    ----------
    runs
        The runs of a call.

    Returns
    -------
    bool
        False if a record is incomplete until somebody mends the store or the run. A store that only does not
        answer is no reason for that.
    """
    tracking = {run.folder: run.cfg.tracking for run in runs}
    over = [folder for folder in tracking if folder.is_over()]
    standing = complete_records(over, tracking.__getitem__)
    if standing.lacking:
        console.print(
            f"MLflow lacks all or part of {standing.lacking} of {standing.begun} runs (see above). The same "
            f"command completes the record, and so does {show_sweeps(runs, '--sync')}",
            soft_wrap=True,
        )
    return not standing.broken


def show_sweeps(runs: Sequence[PlannedRun], *flags: str) -> str:
    """Return the command of the status verb for the runs of a call."""
    return status_command(Path(runs[0].cfg.paths.sweeps), *flags)


def show_next_steps(runs: Sequence[PlannedRun]) -> None:
    """Show how the runs are opened in MLflow and reported on, as far as MLflow has any of them.

    Parameters
    ----------
    runs
        The runs of a call.
    """
    ways: dict[str, list[str]] = {}
    for run in runs:
        tracking = run.cfg.tracking
        if (uri := tracking.uri) is not None and (experiment := experiment_of(run.folder, tracking)):
            if uri + experiment in ways:
                continue
            ways[uri + experiment] = ways_to_runs(without_credentials(uri), experiment)
            if len(runs) > 1:
                ways[uri + experiment].append(way_to_report(run, runs))
    for line in (line for lines in ways.values() for line in lines):
        console.print(line, soft_wrap=True, highlight=False)


def way_to_report(run: PlannedRun, runs: Sequence[PlannedRun]) -> str:
    """Return the line that tells how the experiment of a run is reported on.

    Parameters
    ----------
    run
        A run that MLflow has.
    runs
        All runs of the call.
    """
    if _have_all_folds(runs):
        return f"Tables, figures and a report: {aggregate_command(run)}"
    partial = aggregate_command(run, "allow_partial=true")
    return f"Tables, figures and a report, of those folds alone that are there: {partial}"


def _have_all_folds(runs: Sequence[PlannedRun]) -> bool:
    """Tell whether the runs of a call that are done or go on in Slurm are all folds of their arms."""
    folds: dict[tuple[str, int], set[int]] = {}
    for run in runs:
        there = folds.setdefault((repr(replace(run.cfg, fold=0)), run.cfg.split.folds), set())
        if run.folder.is_done() or not run.folder.is_over():
            there.add(run.cfg.fold)
    return all(len(there) == number for (_, number), there in folds.items())


def aggregate_command(run: PlannedRun, *further: str) -> str:
    """Return the command that aggregates the experiment of a run, in whatever shell it is given.

    Parameters
    ----------
    run
        A run that MLflow has.
    *further
        Further settings.
    """
    chosen, wanted = [given for given in run.overrides if STORE.match(given)], run.cfg.tracking
    # The variables may have been set for the one command that trained, and the next line is without them.
    with environment(dict.fromkeys(VARIABLES)):
        if run.cfg.paths.root != _aggregated(chosen).paths.root:
            chosen.append(_override("paths.root", run.cfg.paths.root))
        if wanted.uri != _aggregated(chosen).tracking.uri and not str(wanted.uri).startswith(SQLITE):
            chosen = ["tracking=server", *(given for given in chosen if not given.startswith("tracking="))]
        there = _aggregated(chosen).tracking
    for key in ("uri", "experiment"):  # an experiment file may choose them, too
        if (value := getattr(wanted, key)) != getattr(there, key):
            chosen.append(_override(f"tracking.{key}", value))
    return verb_command("aggregate", *chosen, *further)


def _aggregated(overrides: Sequence[str]) -> AggregateConfig:
    return absolute_paths(compose_cell("aggregate", overrides, AggregateConfig))


def _override(key: str, value: str) -> str:
    """Return a setting as Hydra reads it, which takes some characters for more than text."""
    if re.search(r"[^\w./:@%+-]", value):
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'{key}="{quoted}"'
    return f"{key}={value}"


def show_failures(runs: Sequence[PlannedRun], launcher: Options | None) -> bool:
    """Show which runs of a call are not done, and why.

    Parameters
    ----------
    runs
        The runs of a call.
    launcher
        The options of the launcher that started them. None if they were trained in this process, which has
        logged each failure already.

    Returns
    -------
    bool
        Whether all runs are done.
    """
    folders, labels = [run.folder for run in runs], run_labels(runs)
    if all(folder.is_done() for folder in folders):
        return True
    table = failure_table([job_state(folder, labels[folder.path]) for folder in folders])
    if launcher is not None and table is not None:
        sweep = SweepFolder.of(Path(runs[0].cfg.paths.sweeps), folders)
        console.print(table)
        console.print(
            "The same command tries these again. Their logs are traceback.txt and log.txt in the folder of "
            f"each run, and for Slurm {sweep.path / 'slurm'}.{RERUN_ALL if launcher.rerun == 'all' else ''}",
            soft_wrap=True,
        )
    return False


def validation_errors(runs: Sequence[PlannedRun]) -> list[float | None]:
    """Return the validation error of each run, for a sweeper that minimises it; None for runs not done."""
    return [
        float(read_json(run.folder.metrics)["val/error"]) if run.folder.is_done() else None for run in runs
    ]
