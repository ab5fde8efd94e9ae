"""A study on disk: tables, figures, calibrators, all numbers, and the report; whole, or as it was before."""

from __future__ import annotations

import datetime as dt
import logging
import math
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from mergerexp.errors import UserError, explain
from mergerexp.files import remove_partial, write_json, written_folder
from mergerexp.frames import records
from mergerexp.report.figures.galleries import draw_gallery, draw_lots, most_confident_mistakes
from mergerexp.report.figures.lesion import draw_lesion
from mergerexp.report.figures.quality import all_quality_figures
from mergerexp.report.figures.robustness import draw_robustness
from mergerexp.report.figures.style import save
from mergerexp.report.figures.training import draw_learning_curves
from mergerexp.report.page import write_page
from mergerexp.report.results import Results
from mergerexp.report.story import tell
from mergerexp.report.tables import all_tables
from mergerexp.report.training import cautions, endings
from mergerexp.report.verdict import verdict
from mergerexp.runs.provenance import command_line, git_state, software

log = logging.getLogger(__name__)
MARK = "study.json"  # what makes a folder one of ours, to be replaced


def write_study(results: Results, examples: dict[str, pd.DataFrame], folder: Path) -> Path:
    """Write everything, beside the folder first, and then in its place.

    Parameters
    ----------
    results
        All numbers.
    examples
        By arm: objid, label, p_m, drawn, jpeg of galaxies to show, of its largest size.
    folder
        Of the study; what an earlier aggregation left there is replaced.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    UserError
        If the folder holds something else.
    """
    check_folder(folder)
    old = _old(folder)
    with written_folder(folder) as draft:
        _write(results, examples, draft)
        if folder.exists():
            folder.rename(old)
    shutil.rmtree(old, ignore_errors=True)
    return folder / "report.html"


def check_folder(folder: Path) -> None:
    """See that a study can be written there, before hours of work; clear what a killed aggregation left.

    Raises
    ------
    UserError
        If the folder holds something else, or nothing can be written beside it.
    """
    old = _old(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if old.exists() and not folder.exists():  # killed between the two renames
            old.rename(folder)
        remove_partial(folder.parent, folder.name)
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=".").cleanup()
        foreign = folder.exists() and any(folder.iterdir()) and not (folder / MARK).is_file()
    except OSError as error:
        raise UserError(
            f"the study's folder {folder} can't be written: {explain(error)}; or choose another "
            "paths.studies=FOLDER or name=NAME"
        ) from error
    if foreign:
        raise UserError(f"{folder} is there and holds no study: choose another name=NAME")


def _old(folder: Path) -> Path:
    """Return where the study that is replaced is kept for a moment."""
    return folder.with_name(f".{folder.name}.old")


def _write(results: Results, examples: dict[str, pd.DataFrame], folder: Path) -> None:
    tables = all_tables(results)
    for table in tables:
        table.write(folder / "tables")
    figures = _figures(results, examples, folder / "figures")
    results.study.predictions.to_parquet(folder / "predictions.parquet", index=False)
    write_json(folder / "calibrators.json", {"calibrators": _calibrators(results)})
    provenance = _provenance(results)
    write_json(folder / MARK, _study_json(results, provenance))
    write_page(tell(results, tables, figures, examples, provenance), folder / "report.html")


def _figures(results: Results, examples: dict[str, pd.DataFrame], folder: Path) -> dict[str, Path]:
    """Draw all figures; return their PNG files by name."""
    drawers: dict[str, Callable[[], Figure]] = {"fig02_lesion": lambda: draw_lesion(results)}
    drawers |= all_quality_figures(results)
    if len(results.histories):
        drawers["learning_curves"] = lambda: draw_learning_curves(results)
    if results.robustness is not None:
        drawers["robustness_curves"] = lambda: draw_robustness(results)
    if pictured := [arm for arm in results.arms if arm in examples]:
        own = examples[pictured[0]]
        lots = draw_lots(own, results.settings.seed)
        lots["most_confident_mistakes"] = most_confident_mistakes(own)
        drawers |= {name: partial(draw_gallery, lot) for name, lot in lots.items() if lot}
    return {name: save(draw(), folder, name) for name, draw in drawers.items()}


def _calibrators(results: Results) -> list[dict[str, Any]]:
    """List the calibrator of each fold: what a survey's p_m go through."""
    return [
        {"arm": arm, "method": method, "seed": seed, "fold": fold, "calibrator": calibrator.to_dict()}
        for arm, quality in results.quality.items()
        for method, calibrators in quality.calibrators.items()
        for (seed, fold), calibrator in calibrators.items()
    ]


def _provenance(results: Results) -> dict[str, Any]:
    """Collect where the runs came from, and this aggregation."""
    tags = [results.study.tags[run_id] for run_id in results.study.runs["run_id"]]

    def values(key: str) -> list[str]:
        return sorted({own[f"mergerexp.{key}"] for own in tags if f"mergerexp.{key}" in own})

    versions = sorted({key.removeprefix("mergerexp.") for own in tags for key in own if ".software." in key})
    ended = pd.to_datetime(results.study.runs["ended"], unit="ms", utc=True)
    return {
        "data": {key: values(f"data.{key}") for key in ("name", "content_hash", "objects")},
        "settings": _settings(results),
        "runs": {
            "commit": values("git.commit"),
            "with changes of their own": values("git.dirty"),
            "from": str(ended.min().date()),
            "to": str(ended.max().date()),
            "device": values("device"),
            "cpu": values("hardware.cpu"),
            "gpu": values("hardware.gpu"),
            "command": values("command"),
        },
        "versions of the runs": {key.removeprefix("software."): values(key) for key in versions},
        "this aggregation": {
            "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "command": command_line(),
            **git_state(),
            **software(),
        },
    }


def _settings(results: Results) -> dict[str, Any]:
    """Return the runs' settings: what all share, and the values of what differs."""
    configs = [results.study.settings[run_id] for run_id in results.study.runs["run_id"]]
    keys = sorted(
        {key for config in configs for key in config if not key.startswith(("paths.", "tracking."))}
    )
    values = {key: sorted({config[key] for config in configs if key in config}) for key in keys}
    return {key: own[0] if len(own) == 1 else own for key, own in values.items()}


def _study_json(results: Results, provenance: dict[str, Any]) -> dict[str, Any]:
    comparison = results.comparison
    frames = {
        "scores": results.scores,
        "learning": results.learning,
        "tests": None if comparison is None else comparison.per_size,
        "combined_tests": None if comparison is None else comparison.combined,
        "calibration": pd.concat([pd.DataFrame(), *_calibration_scores(results)]),
        "robustness": results.robustness,
        "training": endings(results),
        "runs": results.study.runs,
    }
    return {
        "name": results.study.name,
        "arms": results.arms,
        "compared": results.compared,
        "verdict": [verdict(results.comparison), *cautions(results)],
        "settings": vars(results.settings),
        "gaps": [vars(gap) for gap in results.study.gaps],
        **{name: None if frame is None else _plain_records(frame) for name, frame in frames.items()},
        "power_laws": {
            arm: {"a": law.a, "b": law.b, "c": law.c, "covariance": law.covariance.tolist()}
            for arm, law in results.power_laws.items()
        },
        "provenance": provenance,
    }


def _calibration_scores(results: Results) -> list[pd.DataFrame]:
    return [quality.scores.assign(arm=arm) for arm, quality in results.quality.items()]


def _plain_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows for JSON, which knows no NaN."""
    return [{key: _plain(value) for key, value in row.items()} for row in records(frame)]


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
