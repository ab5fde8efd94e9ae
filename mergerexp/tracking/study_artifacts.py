"""Files that runs keep in MLflow besides their predictions, read back for all runs of a study.

These are images of some galaxies, epochs of training and ratings of degraded test images. A file that can't
be read becomes a gap of the study.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mergerexp.errors import UserError, describe
from mergerexp.files import read_json
from mergerexp.frames import records
from mergerexp.runs.run_folder import EXAMPLES, HISTORY
from mergerexp.tracking.selection import Gap, run_title
from mergerexp.tracking.study import Study, at_largest_size
from mergerexp.tracking.study_reader import StudyReader

ROBUSTNESS = "robustness.parquet"  # This file is there only where `mergerexp.robustness` has been run.
EPOCH_COLUMNS = ["stage", "epoch", "train_loss", "val_loss", "val_accuracy"]
EXAMPLE_COLUMNS = ["objid", "fold", "seed", "label", "p_m"]


def read_examples(reader: StudyReader, study: Study) -> tuple[dict[str, pd.DataFrame], list[Gap]]:
    """Read the images of some test galaxies, as each network rated them at its largest size and first seed.

    Returns
    -------
    dict
        The galaxies of each network with the columns objid, drawn, jpeg, fold, seed, label and p_m.
    list of Gap
        The runs whose images can't be read.
    """
    rated = {arm: study.pooled[arm].first_seed[EXAMPLE_COLUMNS] for arm in study.networks}
    if not rated:
        return {}, []
    cells = pd.concat([table[["fold", "seed"]].assign(arm=arm) for arm, table in rated.items()])
    runs = at_largest_size(study.runs_of_networks).merge(cells.drop_duplicates(), on=["arm", "fold", "seed"])
    content = reader.artifacts(runs, EXAMPLES, _read_images)
    parts: dict[str, list[pd.DataFrame]] = {}
    gaps = []
    for run in records(runs):
        found = content[run["run_id"]]
        if isinstance(found, Exception):
            gaps.append(_damaged("images", run, found))
            continue
        tested = rated[run["arm"]]
        pictured = found.merge(tested[tested["fold"] == run["fold"]], on="objid")
        parts.setdefault(run["arm"], []).append(pictured)
    return {arm: pd.concat(tables, ignore_index=True) for arm, tables in parts.items()}, gaps


def read_robustness(reader: StudyReader, study: Study) -> tuple[pd.DataFrame | None, list[Gap]]:
    """Read the ratings of degraded test images, where `mergerexp.robustness` has measured them.

    Returns
    -------
    DataFrame or None
        The ratings by each network at its largest size, with the columns arm, subset, seed, fold, objid,
        label, degradation, strength and p_m; None if no run has any.
    list of Gap
        The runs that have no ratings while others have them, whose ratings can't be read, or that were
        measured at other strengths than most.
    """
    runs = at_largest_size(study.runs_of_networks)
    measured = [run_id for run_id in runs["run_id"] if reader.has(run_id, ROBUSTNESS)]
    if not measured:
        return None, []
    content = reader.artifacts(runs[runs["run_id"].isin(measured)], ROBUSTNESS, _read_ratings)
    levels = {run_id: _levels(found) for run_id, found in content.items() if isinstance(found, pd.DataFrame)}
    usual = max(levels.values(), key=list(levels.values()).count, default=())
    parts, gaps = [], []
    for run in records(runs):
        found = content.get(run["run_id"])
        if found is None:
            what = f"robustness of {run_title(run)} was not measured: python -m mergerexp.robustness"
            gaps.append(Gap("missing", what))
        elif isinstance(found, Exception):
            gaps.append(_damaged("robustness", run, found))
        elif levels[run["run_id"]] != usual:
            what = f"robustness of {run_title(run)} was measured at other strengths than that of most runs"
            gaps.append(Gap("foreign", what))
        else:
            parts.append(found.assign(**{key: run[key] for key in ("arm", "subset", "seed", "fold")}))
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
    runs = study.runs_of_networks
    content = reader.artifacts(runs, HISTORY, _read_history)
    parts, gaps = [], []
    for run in records(runs):
        found = content[run["run_id"]]
        if isinstance(found, Exception):
            gaps.append(_damaged("learning curve", run, found))
        else:
            parts.append(found.assign(**{key: run[key] for key in ("run_id", "arm", "subset")}))
    return (pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()), gaps


def _damaged(what: str, run: Mapping[str, Any], error: Exception) -> Gap:
    return Gap("damaged", f"{what} of {run_title(run)}: {describe(error)}")


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
