"""The folder of a sample: tables, figures, all numbers, and its page."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mergerexp.files import write_json
from mergerexp.frames import records
from mergerexp.populations.figures import sample_figures
from mergerexp.populations.functions import MassFunction
from mergerexp.populations.page import build_page, sample_sections
from mergerexp.populations.pictures import pictures
from mergerexp.populations.published import PublishedComparison
from mergerexp.populations.results import Sample
from mergerexp.populations.tables import sample_tables
from mergerexp.report.figures.style import save
from mergerexp.report.page.render import write_page
from mergerexp.report.result_folder import ResultKind, replaced
from mergerexp.report.sample_sections import write_sections
from mergerexp.runs.provenance import command_line, git_state, software
from mergerexp.seals import sha256

KIND = ResultKind("sample", "sample.json", "samples=FOLDER")


def write_sample(sample: Sample, folder: Path) -> Path:
    """Write everything beside the folder first, and then put it in its place.

    Parameters
    ----------
    sample
        All numbers of the sample.
    folder
        The folder of the sample, which the caller has reserved. What was there is replaced.

    Returns
    -------
    Path
        The path of the page.

    Raises
    ------
    UserError
        If the folder holds something else than a sample.
    """
    with replaced(folder, KIND) as draft:
        tables = sample_tables(sample)
        for table in tables:
            table.write(draft / "tables")
        figures = {
            name: save(draw(), draft / "figures", name) for name, draw in sample_figures(sample).items()
        }
        provenance = _provenance(sample)
        write_json(draft / KIND.mark, _plain(_numbers(sample) | {"provenance": provenance}))
        thumbs = []
        if sample.best is not None:
            thumbs = pictures(sample.cfg, sample.gathered.path, sample.best)
        page = build_page(sample, tables, figures, thumbs, provenance)
        sections = sample_sections(sample, tables, figures)
        said = [*sample.notes, *page.errata]
        write_sections(
            [dataclasses.replace(sections[0], intro="\n\n".join([sections[0].intro, *said])), *sections[1:]],
            draft,
        )
        write_page(page, draft / "sample.html")
    return folder / "sample.html"


def _provenance(sample: Sample) -> dict[str, Any]:
    cfg, git = sample.cfg, git_state()
    files = {"catalogue": sample.gathered.path}
    if cfg.ratings is not None:
        files["ratings"] = Path(cfg.ratings).expanduser()
    return {
        "files": {name: {"name": path.name, "sha256": sha256(path)} for name, path in files.items()},
        "settings": {
            key: value for key, value in dataclasses.asdict(cfg).items() if key not in ("paths", "samples")
        },
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "command": command_line(),
        "commit": git["commit"],
        **software(),
    }


def _numbers(sample: Sample) -> dict[str, Any]:
    """Return all numbers of a sample."""
    return {
        "name": sample.cfg.name or sample.cfg.catalogue.name,
        "rows": sample.gathered.rows,
        "fates": {str(fate): count for fate, count in sample.gathered.fates.items()},
        "named": sample.gathered.named,
        "used_without": dict(sample.gathered.without),
        "ratings_without_a_row": sample.gathered.rated_only,
        "repeated_ids": dict(sample.gathered.repeated),
        "prevalence": sample.prevalence,
        "sizes": sample.sizes,
        "cuts": sample.counts,
        "published": _published(sample.published),
        "densities": "h^3 Mpc^-3 dex^-1" if sample.is_absolute else "relative to all galaxies, dex^-1",
        "mass_limits": {
            name: {
                "coefficients": fit.coefficients,
                "bins": records(fit.bins),
                "redshift": fit.limit.redshift[::40],
                "log_mass": fit.limit.log_mass[::40],
            }
            for name, fit in sample.limits.items()
        },
        "mass_functions": {name: _function(each) for name, each in sample.functions.items()},
        "colours": [
            {"low": each.low, "high": each.high, "sample": each.sample, "other": each.other}
            | dataclasses.asdict(each.result)
            for each in sample.colour_tests
        ],
        "recall": None if sample.chances is None else dataclasses.asdict(sample.chances.recall),
        "prevalence_by_mass": None
        if sample.chances is None
        else dataclasses.asdict(sample.chances.prevalence),
        "notes": sample.notes,
    }


def _published(found: PublishedComparison | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "rated_by": found.rated_by,
        "without_a_row": found.without_a_row,
        "agreement": dataclasses.asdict(found.agreement),
        "cuts": records(found.cuts),
    }


def _function(function: MassFunction) -> dict[str, Any]:
    fit = function.fit
    return {
        "title": function.title,
        "galaxies": function.galaxies,
        "log_mass": fit.function.log_mass,
        "alpha": fit.function.alpha,
        "log_phi": fit.function.log_phi,
        "errors": function.errors,
        "jackknife": function.jackknife,
        "not_determined": fit.at_bound,
        "double": None
        if function.choice is None
        else {
            "ratio": function.choice.ratio,
            "p_value": function.choice.p_value,
            "draws": function.choice.draws,
        },
        "bins": records(function.bins),
    }


def _plain(value: Any) -> Any:
    """Return numbers, lists and dictionaries as JSON has them, which has no NaN."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return None if value is pd.NA else value
