"""The report of a study as a page of the site, where there is one: of `make demo`, or $MERGEREXP_REPORT.

The page report.md has what is tagged ``with_report``, or else what says how to get one.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

STUDIES = Path(__file__).resolve().parents[2] / "demo" / "studies"
SHOWN = "study"  # the folder of the site that the report is copied to


def find_report() -> Path | None:
    """Return the newest report that is there.

    Raises
    ------
    FileNotFoundError
        If the path that somebody gave leads nowhere.
    """
    if given := os.environ.get("MERGEREXP_REPORT"):
        if not Path(given).is_file():
            raise FileNotFoundError(f"MERGEREXP_REPORT={given}: no such file")
        return Path(given)
    return max(STUDIES.glob("*/report.html"), key=lambda path: path.stat().st_mtime, default=None)


def setup(app: Sphinx) -> dict[str, Any]:
    """Look for a report."""
    report = find_report()
    app.add_config_value("study_report", str(report), "env")  # another report, another page
    if report is not None:
        app.tags.add("with_report")
        app.connect("build-finished", lambda app, error: _copy(report, app, error))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _copy(report: Path, app: Sphinx, error: Exception | None) -> None:
    """Copy the report and the figures that it links to."""
    if error is None:
        folder = Path(app.outdir) / SHOWN
        folder.mkdir(exist_ok=True)
        shutil.copyfile(report, folder / "report.html")
        for figure in (report.parent / "figures").glob("*.pdf"):
            (folder / "figures").mkdir(exist_ok=True)
            shutil.copyfile(figure, folder / "figures" / figure.name)
