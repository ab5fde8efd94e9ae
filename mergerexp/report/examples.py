"""What runs keep besides their predictions: images of some galaxies, ratings of degraded ones."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mergerexp.errors import UserError, describe
from mergerexp.files import read_json
from mergerexp.frames import records
from mergerexp.report.quality import first_seed
from mergerexp.report.results import largest
from mergerexp.tracking.arms import is_network
from mergerexp.tracking.selection import Gap, cell_name
from mergerexp.tracking.study import ROBUSTNESS, Study, StudyReader

HISTORY = ["stage", "epoch", "train_loss", "val_loss", "val_accuracy"]
RATED = ["objid", "fold", "seed", "label", "p_m"]


def read_examples(reader: StudyReader, study: Study) -> tuple[dict[str, pd.DataFrame], list[Gap]]:
    """Return the galaxies to show of each network: objid, label, p_m, drawn, jpeg, fold, seed.

    Those of its largest size and first seed. A run whose images can't be read is a gap.
    """
    runs = _networks(study)
    if runs.empty:
        return {}, []
    rated = {arm: first_seed(largest(study.predictions, arm))[RATED] for arm in runs["arm"].unique()}
    cells = pd.concat([own[["fold", "seed"]].assign(arm=arm) for arm, own in rated.items()]).drop_duplicates()
    runs = runs.merge(cells, on=["arm", "fold", "seed"])
    content = reader.artifacts(runs, "examples.parquet", _read_images)
    parts: dict[str, list[pd.DataFrame]] = {}
    gaps = []
    for row in records(runs):
        found = content[row["run_id"]]
        if isinstance(found, Exception):
            what = f"images of {cell_name(row)} (run {row['run_id'][:8]}): {describe(found)}"
            gaps.append(Gap("damaged", what))
            continue
        own = rated[row["arm"]]
        parts.setdefault(row["arm"], []).append(found.merge(own[own["fold"] == row["fold"]], on="objid"))
    return {arm: pd.concat(own, ignore_index=True) for arm, own in parts.items()}, gaps


def read_robustness(reader: StudyReader, study: Study) -> tuple[pd.DataFrame | None, list[Gap]]:
    """Return the ratings of degraded test images, where `mergerexp.robustness` has measured some.

    Those of each network at its largest size; None if there are none at all. Columns arm, subset, seed, fold,
    objid, label, degradation, strength, p_m. Where only some runs have them, or otherwise than most, that is
    a gap.
    """
    runs = _networks(study)
    measured = [run_id for run_id in runs["run_id"] if reader.has(run_id, ROBUSTNESS)]
    if not measured:
        return None, []
    content = reader.artifacts(runs[runs["run_id"].isin(measured)], ROBUSTNESS, _read_ratings)
    levels = {run_id: _levels(found) for run_id, found in content.items() if isinstance(found, pd.DataFrame)}
    usual = max(levels.values(), key=list(levels.values()).count, default=())
    parts, gaps = [], []
    for row in records(runs):
        run_id, found = row["run_id"], content.get(row["run_id"])
        name = f"robustness of {cell_name(row)} (run {run_id[:8]})"
        if found is None:
            gaps.append(Gap("missing", f"{name} was not measured: python -m mergerexp.robustness"))
        elif isinstance(found, Exception):
            gaps.append(Gap("damaged", f"{name}: {describe(found)}"))
        elif levels[run_id] != usual:
            gaps.append(Gap("foreign", f"{name} was measured at other strengths than that of most runs"))
        else:
            parts.append(found.assign(**{key: row[key] for key in ("arm", "subset", "seed", "fold")}))
    return (pd.concat(parts, ignore_index=True) if parts else None), gaps


def read_histories(reader: StudyReader, study: Study) -> tuple[pd.DataFrame, list[Gap]]:
    """Return the epochs of all networks' training: run_id, arm, subset and the columns of `HISTORY`.

    A run whose history can't be read is a gap.
    """
    networks = [run_id for run_id in study.runs["run_id"] if is_network(study.settings[run_id])]
    runs = study.runs[study.runs["run_id"].isin(networks)]
    content = reader.artifacts(runs, "history.json", _read_history)
    parts, gaps = [], []
    for row in records(runs):
        found = content[row["run_id"]]
        if isinstance(found, Exception):
            what = f"learning curve of {cell_name(row)} (run {row['run_id'][:8]}): {describe(found)}"
            gaps.append(Gap("damaged", what))
            continue
        parts.append(found.assign(**{key: row[key] for key in ("run_id", "arm", "subset")}))
    return (pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()), gaps


def _networks(study: Study) -> pd.DataFrame:
    """Return the runs of networks at their largest size."""
    networks = [run_id for run_id in study.runs["run_id"] if is_network(study.settings[run_id])]
    largest_of = study.runs.groupby("arm")["subset"].transform("max")
    return study.runs[study.runs["run_id"].isin(networks) & (study.runs["subset"] == largest_of)]


def _levels(ratings: pd.DataFrame) -> tuple[tuple[str, float], ...]:
    return tuple(ratings[["degradation", "strength"]].drop_duplicates().itertuples(index=False, name=None))


def _read_ratings(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path, columns=["objid", "label", "degradation", "strength", "p_m"])


def _read_history(path: Path) -> pd.DataFrame:
    rows = read_json(path)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise UserError("history.json has no epochs")
    if missing := set(HISTORY) - set(rows[0]):
        raise UserError(f"history.json lacks {', '.join(sorted(missing))}")
    scores = dict.fromkeys(("train_loss", "val_loss", "val_accuracy"), float)  # null: not finite
    return pd.DataFrame(rows)[HISTORY].astype(scores)


def _read_images(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path, columns=["objid", "drawn", "jpeg"])
