"""What runs keep besides their predictions: images of some galaxies, ratings of degraded ones."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from mergerexp.errors import describe
from mergerexp.frames import records
from mergerexp.report.results import Results, largest
from mergerexp.tracking.arms import is_network
from mergerexp.tracking.selection import Gap, cell_name
from mergerexp.tracking.study import ROBUSTNESS, Study, StudyReader

log = logging.getLogger(__name__)


def read_examples(reader: StudyReader, results: Results) -> dict[str, pd.DataFrame]:
    """Return the galaxies to show of each network: objid, label, p_m, drawn, jpeg, fold.

    Those of its largest size and first seed; a run without images is told.
    """
    shown = {}
    for arm in results.networks:
        runs = results.study.runs
        own = runs[(runs["arm"] == arm) & (runs["subset"] == runs.loc[runs["arm"] == arm, "subset"].max())]
        own = own[own["seed"] == own["seed"].min()]
        content = reader.artifacts(own, "examples.parquet", _read_images)
        parts = []
        for run_id, fold in zip(own["run_id"], own["fold"], strict=True):
            found = content[run_id]
            if isinstance(found, Exception):
                log.warning("run %s: no images of its galaxies (%s)", run_id[:8], describe(found))
            else:
                parts.append(found.assign(fold=fold))
        if parts:
            test = largest(results.study.predictions, arm)
            rated = test[test["seed"] == own["seed"].min()][["objid", "fold", "label", "p_m"]]
            shown[arm] = pd.concat(parts, ignore_index=True).merge(rated, on=["objid", "fold"])
    return shown


def read_robustness(reader: StudyReader, study: Study) -> tuple[pd.DataFrame | None, list[Gap]]:
    """Return the ratings of degraded test images, where `mergerexp.robustness` has measured some.

    Those of each network at its largest size; None if there are none at all. Columns arm, subset, seed, fold,
    objid, label, degradation, strength, p_m. Where only some runs have them, or otherwise than most, that is
    a gap.
    """
    networks = [run_id for run_id in study.runs["run_id"] if is_network(study.settings[run_id])]
    largest_of = study.runs.groupby("arm")["subset"].transform("max")
    runs = study.runs[study.runs["run_id"].isin(networks) & (study.runs["subset"] == largest_of)]
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


def _levels(ratings: pd.DataFrame) -> tuple[tuple[str, float], ...]:
    return tuple(ratings[["degradation", "strength"]].drop_duplicates().itertuples(index=False, name=None))


def _read_ratings(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path, columns=["objid", "label", "degradation", "strength", "p_m"])


def _read_images(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path, columns=["objid", "drawn", "jpeg"])
