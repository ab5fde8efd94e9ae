"""What runs keep besides their predictions: images of some galaxies, ratings of degraded ones."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
from mlflow.exceptions import MlflowException

from mergerexp.errors import describe
from mergerexp.report.results import Results, largest
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


def read_robustness(reader: StudyReader, study: Study) -> pd.DataFrame | None:
    """Return the ratings of degraded test images, where `mergerexp.robustness` has measured some.

    Columns arm, subset, seed, fold, objid, label, degradation, strength, p_m.
    """
    measured = [run_id for run_id in study.runs["run_id"] if _has(reader, run_id)]
    runs = study.runs[study.runs["run_id"].isin(measured)]
    parts = []
    for run_id, found in reader.artifacts(runs, ROBUSTNESS, pd.read_parquet).items():
        if isinstance(found, Exception):
            log.warning("run %s: %s can't be read (%s)", run_id[:8], ROBUSTNESS, found)
            continue
        row = runs[runs["run_id"] == run_id].iloc[0]
        parts.append(found.assign(**{key: row[key] for key in ("arm", "subset", "seed", "fold")}))
    return pd.concat(parts, ignore_index=True) if parts else None


def _read_images(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path, columns=["objid", "drawn", "jpeg"])


def _has(reader: StudyReader, run_id: str) -> bool:
    try:
        return any(file.path == ROBUSTNESS for file in reader.client.list_artifacts(run_id))
    except MlflowException:
        return False
