"""Completing the MLflow records of the runs of a sweep, or of all runs below a root, from their folders."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from mergerexp.config.addresses import STORE_VARIABLE, check_store_address
from mergerexp.errors import UserError
from mergerexp.runs.sweep_folder import all_runs, choose_sweep, runs_of
from mergerexp.tracking.pending import complete_records, configured_tracking


def sync(root: Path, beginning: str | None) -> int:
    """Complete the MLflow records of the runs of a sweep, or of all runs below a root.

    Parameters
    ----------
    root
        The folder with the runs and sweeps.
    beginning
        The beginning of the id of the sweep; None for all runs.

    Returns
    -------
    int
        The exit code: 1 if a record is incomplete, or if no run has a store.

    Raises
    ------
    UserError
        If there is no such sweep or no run.
    """
    check_store_address(STORE_VARIABLE, uri := os.environ.get(STORE_VARIABLE) or None)
    if beginning is None:
        folders = all_runs(root)
    else:
        sweep = choose_sweep(root / "sweeps", beginning)
        if not (folders := runs_of(sweep)):
            raise UserError(f"sweep {sweep.name} rates a survey, of which MLflow has no record")
    standing = complete_records(folders, functools.partial(configured_tracking, uri=uri), ask=True)
    message = f"MLflow has {standing.begun - standing.lacking} of {standing.begun} runs that have begun"
    if standing.storeless:
        verb = "has" if standing.storeless == 1 else "have"
        message += f", and {standing.storeless} more {verb} no store (tracking=none): "
        message += "MLFLOW_TRACKING_URI names one"
    print(message)
    return 1 if standing.lacking or (standing.storeless and not standing.begun) else 0
