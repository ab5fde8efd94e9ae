"""Files that runs keep in MLflow besides their predictions, read back for all runs of a study.

These are images of some galaxies, epochs of training and ratings of degraded test images. A file that can't
be read becomes a gap of the study. The run folders hold the former two for MLflow to be sent them again; the
ratings have to be made again, and a report is whole without them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from mergerexp.console import amount
from mergerexp.errors import UserError, describe
from mergerexp.files import read_json
from mergerexp.frames import records
from mergerexp.runs.run_folder import EXAMPLES, HISTORY
from mergerexp.tracking.mlflow_reader import MlflowReader
from mergerexp.tracking.selection import Gap, run_title
from mergerexp.tracking.study import Study, at_largest_size
from mergerexp.tracking.study_reader import StudyReader

ROBUSTNESS = "robustness.parquet"  # This file is there only where `mergerexp.robustness` has been run.
MEASURE = "python -m mergerexp.robustness"
EPOCH_COLUMNS = ["stage", "epoch", "train_loss", "val_loss", "val_accuracy"]
EXAMPLE_COLUMNS = ["objid", "file", "fold", "seed", "label", "p_m"]  # file: where the data set has files


def read_examples(reader: StudyReader, study: Study) -> tuple[dict[str, pd.DataFrame], list[Gap]]:
    """Read the images of some test galaxies, as each network rated them at its largest size and first seed.

    Returns
    -------
    dict
        The galaxies of each network with the columns objid, drawn, jpeg, fold, seed, label and p_m,
        and file where the data set has files.
    list of Gap
        The runs whose images can't be read.
    """
    rated = {arm: study.pooled[arm].first_seed.filter(EXAMPLE_COLUMNS) for arm in study.networks}
    if not rated:
        return {}, []
    cells = pd.concat([table[["fold", "seed"]].assign(arm=arm) for arm, table in rated.items()])
    runs = at_largest_size(study.runs_of_networks).merge(cells.drop_duplicates(), on=["arm", "fold", "seed"])
    found_in, gaps = _read(reader, runs, EXAMPLES, _read_images, "images")
    parts: dict[str, list[pd.DataFrame]] = {}
    for run, found in found_in:
        tested = rated[run["arm"]]
        pictured = found.merge(tested[tested["fold"] == run["fold"]], on="objid")
        parts.setdefault(run["arm"], []).append(pictured)
    return {arm: pd.concat(tables, ignore_index=True) for arm, tables in parts.items()}, gaps


def read_robustness(reader: MlflowReader, study: Study) -> tuple[pd.DataFrame | None, list[Gap]]:
    """Read the ratings of degraded test images, where `mergerexp.robustness` has measured them.

    Returns
    -------
    DataFrame or None
        The ratings by each network at its largest size, with the columns arm, subset, seed, fold, objid,
        label, degradation, strength and p_m; None if no run has any.
    list of Gap
        The networks whose ratings can't be read, and how many have none or were measured at other strengths
        than most. All are minor.
    """
    runs = at_largest_size(study.runs_of_networks)
    measured = [run_id for run_id in runs["run_id"] if reader.has(run_id, ROBUSTNESS)]
    if not measured:
        return None, []
    has = runs["run_id"].isin(measured)
    found_in, damaged = _read(reader, runs[has], ROBUSTNESS, _read_ratings, "robustness")
    gaps = [Gap("partial", f"{gap.what}; {MEASURE} measures it again") for gap in damaged]
    levels = [_levels(found) for _, found in found_in]
    usual = max(levels, key=levels.count, default=())
    alike = [(run, found) for (run, found), level in zip(found_in, levels, strict=True) if level == usual]
    if others := len(found_in) - len(alike):
        found = amount(others, "network")
        differing = f"the robustness of {found} was measured at other strengths than most"
        gaps.append(Gap("partial", f"{differing}; {MEASURE} measures all networks at the same ones"))
    if not has.all():
        counted = f"the robustness of {has.sum()} of {len(runs)} networks has been measured"
        gaps.append(Gap("partial", f"{counted}; {MEASURE} measures the others"))
    parts = [
        found.assign(**{key: run[key] for key in ("arm", "subset", "seed", "fold")}) for run, found in alike
    ]
    return (pd.concat(parts, ignore_index=True) if parts else None), gaps


def read_histories(reader: StudyReader, study: Study) -> tuple[pd.DataFrame, list[Gap]]:
    """Read the epochs of all networks' training.

    Returns
    -------
    DataFrame
        The epochs, one per row, with the columns run_id, arm, subset and those of `EPOCH_COLUMNS`; empty if
        there are none.
    list of Gap
        The runs whose epochs can't be read.
    """
    found_in, gaps = _read(reader, study.runs_of_networks, HISTORY, _read_history, "training curves")
    parts = [
        found.assign(**{key: run[key] for key in ("run_id", "arm", "subset")}) for run, found in found_in
    ]
    return (pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()), gaps


def _read(
    reader: StudyReader, runs: pd.DataFrame, name: str, read: Callable[[Path], pd.DataFrame], what: str
) -> tuple[list[tuple[dict[str, Any], pd.DataFrame]], list[Gap]]:
    """Return what was read of each run, and a gap for each run of which it can't be read."""
    content, found, gaps = reader.artifacts(runs, name, read), [], list[Gap]()
    for run in records(runs):
        if isinstance(value := content[run["run_id"]], Exception):
            gaps.append(Gap("damaged", f"the {what} of {run_title(run)} can't be read: {describe(value)}"))
        else:
            found.append((run, value))
    return found, gaps


def _levels(ratings: pd.DataFrame) -> tuple[tuple[str, float], ...]:
    return tuple(ratings[["degradation", "strength"]].drop_duplicates().itertuples(index=False, name=None))


def _read_ratings(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path, columns=["objid", "label", "degradation", "strength", "p_m"])


def _read_history(path: Path) -> pd.DataFrame:
    rows = read_json(path)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{HISTORY} has no epochs")
    if missing := set(EPOCH_COLUMNS) - set(rows[0]):
        raise UserError(f"{HISTORY} lacks {', '.join(sorted(missing))}")
    # Values that were not finite are null in the file.
    scores = dict.fromkeys(("train_loss", "val_loss", "val_accuracy"), float)
    return pd.DataFrame(rows)[EPOCH_COLUMNS].astype(scores)


def _read_images(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path, columns=["objid", "drawn", "jpeg"])
