"""The folder of a study: tables, figures, calibrators, all numbers, and the report."""

from __future__ import annotations

import datetime as dt
import math
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from mergerexp.files import write_json
from mergerexp.frames import records
from mergerexp.report.galleries import galleries
from mergerexp.report.helpers import Helpers, Later, begun
from mergerexp.report.mistakes import mistakes_table
from mergerexp.report.page.content import Report
from mergerexp.report.page.render import write_page
from mergerexp.report.result_folder import ResultKind, replaced, reserved
from mergerexp.report.results import StudyResults
from mergerexp.report.story import build_report
from mergerexp.report.tables import all_tables
from mergerexp.report.training import endings
from mergerexp.runs.provenance import command_line, git_state, software

_YES_NO = {"True": "yes", "False": "no"}
KIND = ResultKind("study", "study.json", "paths.studies=FOLDER")


def write_study(results: StudyResults, folder: Path, pool: Helpers | None = None) -> Path:
    """Write everything beside the folder first, and then put it in its place.

    Parameters
    ----------
    results
        All numbers of the study.
    folder
        The folder of the study, which the caller has reserved. What an earlier aggregation left there is
        replaced.
    pool
        Processes that share the work; None for none.

    Returns
    -------
    Path
        The path of the report.

    Raises
    ------
    UserError
        If the folder holds something else than a study.
    """
    with replaced(folder, KIND) as draft:
        _write(results, draft, pool)
    return folder / "report.html"


def reserve(folder: Path) -> AbstractContextManager[None]:
    """Let no other process write a study to a folder; see `mergerexp.report.result_folder.reserved`."""
    return reserved(folder, KIND)


def _write(results: StudyResults, folder: Path, pool: Helpers | None) -> None:
    drawn = _drawn(results)
    tasks = [partial(_draw, draw, folder / "figures", name) for name, draw in drawn.items()]
    with begun(pool, tasks) as finish:
        tables = [*all_tables(results), mistakes_table(results)]
        for table in tables:
            table.write(folder / "tables")
        results.study.predictions.to_parquet(folder / "predictions.parquet", index=False)
        write_json(folder / "calibrators.json", {"calibrators": _calibrators(results)})
        provenance = _provenance(results)
        figures = dict(zip(drawn, finish(), strict=True))
    report = build_report(results, tables, figures, provenance)
    write_json(folder / KIND.mark, _study_json(results, report))
    write_page(report, folder / "report.html")


def _drawn(results: StudyResults) -> dict[str, Later]:
    """Return what draws each figure, by name; those with many panels, which take longest, come first.

    Figures of probabilities show one network. Matplotlib is imported where figures are drawn.
    """

    def of(module: str, function: str, *arguments: Any) -> Later:
        return Later(f"mergerexp.report.figures.{module}:{function}", arguments)

    drawn = dict[str, Later]()
    if len(results.histories):
        drawn["training_curves"] = of("training", "draw_training_curves", results)
    if results.robustness is not None:
        drawn["robustness_curves"] = of("degradation", "draw_degradations", results)
    drawn |= {
        "fig02_lesion": of("lesion", "draw_lesion", results),
        "fig07_roc": of("quality", "draw_roc", results),
        "precision_recall": of("quality", "draw_precision_recall", results),
    }
    if results.rated is not None:
        test, words = results.study.pooled[results.rated].first_seed, results.words
        calibrated = results.quality[results.rated].recalibrated
        drawn |= {
            "fig03_histogram": of("quality", "draw_histogram", test, words),
            "fig04_calibration": of("quality", "draw_calibration", test, words),
            "fig05_histogram_recalibrated": of("quality", "draw_histogram", calibrated, words, "p_cal"),
            "fig06_calibration_recalibrated": of("quality", "draw_calibration", calibrated, words, "p_cal"),
        }
    for name, group in galleries(results).items():
        if group.thumbs:
            drawn[name] = of("gallery", "draw_gallery", group.thumbs)
    return drawn


def _draw(draw: Later, folder: Path, name: str) -> Path:
    from mergerexp.report.figures.style import save

    return save(draw(), folder, name)


def _calibrators(results: StudyResults) -> list[dict[str, Any]]:
    """List the calibrators of all folds, which can be applied to the p_m of a survey."""
    return [
        {"arm": arm, "method": method, "seed": seed, "fold": fold, "calibrator": calibrator.to_dict()}
        for arm, quality in results.quality.items()
        for method, calibrators in quality.calibrators.items()
        for (seed, fold), calibrator in calibrators.items()
    ]


def _provenance(results: StudyResults) -> dict[str, Any]:
    """Collect where the runs and this aggregation came from."""
    tags = [results.study.tags[run_id] for run_id in results.study.runs["run_id"]]

    def values(key: str) -> list[str]:
        return sorted({of_run[f"mergerexp.{key}"] for of_run in tags if f"mergerexp.{key}" in of_run})

    keys = {key.removeprefix("mergerexp.") for of_run in tags for key in of_run if ".software." in key}
    ended = pd.to_datetime(results.study.runs["ended"], unit="ms", utc=True)
    return {
        "data": {key: values(f"data.{key}") for key in ("name", "content_hash", "objects")},
        "settings": _settings(results),
        "runs": {
            "commit": values("git.commit"),
            "code differs from the commit": [_YES_NO.get(value, value) for value in values("git.dirty")],
            "from": str(ended.min().date()),
            "to": str(ended.max().date()),
            "device": values("device"),
            "cpu": values("hardware.cpu"),
            "gpu": values("hardware.gpu"),
            "command": values("command"),
        },
        "versions of the runs": {key.removeprefix("software."): values(key) for key in sorted(keys)},
        "this aggregation": {
            "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "command": command_line(),
            "commit": (git := git_state())["commit"],
            "code differs from the commit": _YES_NO.get(str(git["dirty"]), "unknown"),
            **software(),
        },
    }


def _settings(results: StudyResults) -> dict[str, Any]:
    """Return the settings of the runs, with a list of values where they differ."""
    configs = [results.study.settings[run_id] for run_id in results.study.runs["run_id"]]
    keys = sorted(
        {key for config in configs for key in config if not key.startswith(("paths.", "tracking."))}
    )
    values = {key: sorted({config[key] for config in configs if key in config}) for key in keys}
    return {key: found[0] if len(found) == 1 else found for key, found in values.items()}


def _study_json(results: StudyResults, report: Report) -> dict[str, Any]:
    """Return all numbers of a study, and the verdict and provenance of its report."""
    comparison, settings = results.comparison, vars(results.settings)
    frames = {
        "scores": results.scores,
        "learning": results.learning,
        "tests": None if comparison is None else comparison.per_size,
        "combined_tests": None if comparison is None else comparison.combined,
        "calibration": results.calibration,
        "robustness": results.robustness,
        "training": endings(results),
        "runs": results.study.runs,
    }
    return {
        "name": results.study.name,
        "arms": results.arms,
        "compared": results.compared or None,
        "verdict": report.verdict,
        "evidence": report.evidence,
        "settings": {
            key: str(value) if isinstance(value, Path) else value for key, value in settings.items()
        },
        "gaps": [vars(gap) for gap in results.study.gaps],
        **{name: None if frame is None else _plain_records(frame) for name, frame in frames.items()},
        "power_laws": {
            arm: {"a": law.a, "b": law.b, "c": law.c, "covariance": law.covariance.tolist()}
            for arm, law in results.power_laws.items()
        },
        "provenance": report.provenance,
    }


def _plain_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame for JSON, which has no NaN."""
    return [{key: _plain(value) for key, value in row.items()} for row in records(frame)]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
