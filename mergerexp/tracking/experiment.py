"""What a person sees of an experiment in MLflow's pages: its address, its columns and its description.

MLflow itself is not loaded for that.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import time
from pathlib import Path

from mergerexp.tracking.store_file import StoreFile

VIEW = "mergerexp"  # the key of our saved view, which addresses name
# MLflow (3.15 and later) keeps a saved view in a tag of the experiment, whose name begins so.
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
DESCRIPTION_TAG = "mlflow.note.content"
LONGEST = 5000  # characters of a tag of an experiment
# The first line is what MLflow shows while the description is folded; the commands follow, one per line.
MADE_BY = "The commands that made these runs, and the one that makes their report:\n\n```\n"
# The columns that are visible at once, by MLflow's names, with their widths in pixels.
COLUMNS = {
    "params.`init.name`": 90,
    "params.`subset`": 75,
    "params.`fold`": 60,
    "metrics.`test/error`": 95,
    "metrics.`test/auroc`": 95,
    "metrics.`train/n_balanced`": 130,
    "attributes.`Dataset`": 170,
    "attributes.`User`": 80,
    "attributes.`Source`": 130,
}
# Without this, MLflow 3 opens an experiment on its pages about language models.
TRAINING = "workflowType=machine_learning"
LOCAL_SERVER = "http://127.0.0.1:5000"  # where `mlflow ui` serves its pages unless told otherwise


def saved_view() -> str:
    """Return the value of the tag that keeps the view of the runs' table with the columns that matter."""
    state = {"selectedColumns": list(COLUMNS), "columnOrder": list(COLUMNS), "columnWidths": COLUMNS}
    view = {"name": VIEW, "createdAt": int(1000 * time.time()), "state": json.dumps(state)}
    return json.dumps(view)


def describe_experiment(text: str | None, experiment: str, command: str) -> str | None:
    """Return the description of an experiment with a command that made runs of it.

    Parameters
    ----------
    text
        The present description. One that somebody has written himself is left alone.
    experiment
        The name of the experiment.
    command
        The command.

    Returns
    -------
    str or None
        The new description; None if the present one is to stay.
    """
    if not text:
        aggregate = shlex.join(["python", "-m", "mergerexp.aggregate", f"tracking.experiment={experiment}"])
        new = (
            f"{MADE_BY}{command}\n```\n\nEach trains what is missing of its runs when it is given again. "
            f"Tables, figures and the report are made by\n\n```\n{aggregate}\n```\n"
        )
    else:
        before, ours, after = text.partition(MADE_BY)
        commands, _, rest = after.partition("\n```")
        if not ours or command in commands.splitlines():
            return None
        new = f"{before}{ours}{commands}\n{command}\n```{rest}"
    return new if len(new) <= LONGEST else None


def page_of_run(uri: str, experiment_id: str, run_id: str) -> str:
    """Return the address of a run on a server."""
    return f"{uri.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}?{TRAINING}"


def ways_to_runs(uri: str, experiment_id: str, has_view: bool = True) -> list[str]:
    """Return the lines that tell how the table of runs is opened: the address, after a command for a file.

    Parameters
    ----------
    uri
        The address of the store.
    experiment_id
        The ID of the experiment.
    has_view
        Whether the experiment has our saved view, with which the table is opened then.
    """
    view = f"&viewStateShareKey={VIEW}" if has_view else ""
    page = f"#/experiments/{experiment_id}/runs?{TRAINING}{view}"
    if uri.startswith("http"):
        return [f"Runs in MLflow: {uri.rstrip('/')}/{page}"]
    file = StoreFile.of(uri)
    # Where the environment is not activated, its programs are not on the PATH.
    program = "mlflow" if shutil.which("mlflow") else str(Path(sys.executable).with_name("mlflow"))
    command = shlex.join([program, "ui", "--backend-store-uri", file.uri if file else uri])
    return [
        f"Runs in MLflow: {command}",
        f"and then, once it has started, which takes half a minute, open {LOCAL_SERVER}/{page}",
    ]
