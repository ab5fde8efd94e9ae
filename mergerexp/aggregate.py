"""``python -m mergerexp.aggregate``: the runs of a study become tables, figures and a report."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mergerexp.config.app import run_app
from mergerexp.config.schema import AggregateConfig
from mergerexp.console import console
from mergerexp.errors import UserError

log = logging.getLogger("mergerexp.aggregate")  # __name__ is __main__ under python -m


class Aggregation:
    """The studies of one call, usually one."""

    def preflight(self, cells: list[tuple[list[str], AggregateConfig]]) -> None:
        """Aggregate each study.

        Raises
        ------
        UserError
            If a study is not there, or has gaps and may not have any.
        """
        for _, cfg in cells:
            started = time.perf_counter()
            report = aggregate(cfg)
            took = time.perf_counter() - started
            console.print(f"{report.parent}: tables, figures and the report, in {took:.0f} s", soft_wrap=True)
            console.print(f"Open {report.absolute().as_uri()}", soft_wrap=True)

    def run(self, overrides: list[str]) -> None:
        """Nothing is left to do."""

    def launch(self, options: Any, job_overrides: Sequence[Sequence[str]]) -> list[Any]:
        """Nothing is left to do."""
        return []

    def finish(self) -> int:
        """All went well."""
        return 0


def aggregate(cfg: AggregateConfig) -> Path:
    """Read a study, compute everything, write its folder; return the report's path.

    Raises
    ------
    UserError
        If the study is not there, or has gaps and ``allow_partial`` is false.
    """
    from mergerexp.report.examples import read_examples, read_robustness
    from mergerexp.report.quality import Settings
    from mergerexp.report.results import compute
    from mergerexp.report.study_folder import write_study
    from mergerexp.tracking.study import StudyReader

    reader = StudyReader(cfg.tracking)
    study = reader.with_predictions(reader.find(cfg.sweep, cfg.where))
    log.info("%s: %d runs of %s", study.name, len(study.runs), ", ".join(study.runs["arm"].unique()))
    if study.gaps and not cfg.allow_partial:
        hint = "the study is not whole: allow_partial=true goes on without these"
        raise UserError("\n".join([*map(str, study.gaps), hint]))
    for gap in study.gaps:
        log.warning("%s", gap)
    compare = None if cfg.compare is None else (cfg.compare[0], cfg.compare[1])
    settings = Settings(compare, cfg.prevalence, cfg.draws, cfg.seed)
    degraded = read_robustness(reader, study)
    results = compute(study, settings, degraded, lambda what: log.info("computing %s", what))
    name = cfg.name or "-".join(filter(None, [study.name.replace(" ", "_"), cfg.sweep]))
    log.info("writing tables, figures and the report")
    return write_study(results, read_examples(reader, results), Path(cfg.paths.studies) / name)


def main() -> None:
    """Run the verb."""
    run_app("aggregate", AggregateConfig, Aggregation())


if __name__ == "__main__":
    main()
