"""``python -m mergerexp.aggregate``: the runs of a study become tables, figures and a report."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path

from mergerexp.config.app import run_app
from mergerexp.config.call import Call, Done
from mergerexp.config.schema import AggregateConfig
from mergerexp.console import console
from mergerexp.errors import UserError
from mergerexp.tracking.experiment import ways_to_runs
from mergerexp.tracking.store_file import check_store

log = logging.getLogger("mergerexp.aggregate")  # __name__ is __main__ under python -m


def aggregate(call: Call[AggregateConfig]) -> Done:
    """Write the folders of the chosen studies, and say where they are.

    Parameters
    ----------
    call
        Which studies, usually one.

    Raises
    ------
    UserError
        If a study is not there, or has gaps and may not have any.
    """
    from mergerexp.report.result_folder import check_distinct
    from mergerexp.report.settings import study_folder

    check_distinct([study_folder(cfg) for cfg in call.configs])
    for cfg in call.configs:
        started = time.perf_counter()
        try:
            report, ways = _aggregate(cfg)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("Interrupted: studies are as they were before.") from None
        took = time.perf_counter() - started
        for line in (
            f"{report.parent}: tables, figures and the report, in {took:.0f} s",
            f"Open {report.absolute().as_uri()}",
            *ways,
        ):
            console.print(line, soft_wrap=True)
    return Done()


def aggregate_study(cfg: AggregateConfig) -> Path:
    """Read a study, compute everything, write its folder; return the report's path.

    Raises
    ------
    UserError
        If the study is not there, or has gaps and ``allow_partial`` is false.
    """
    return _aggregate(cfg)[0]


def _aggregate(cfg: AggregateConfig) -> tuple[Path, list[str]]:
    """Do what `aggregate_study` does; return how the runs are opened in MLflow, too."""
    check_store(cfg.tracking.uri)  # before the imports, which take seconds
    from mergerexp.report.results import compute
    from mergerexp.report.sample_sections import read_sections
    from mergerexp.report.settings import AggregationSettings, study_folder, study_title
    from mergerexp.report.study_folder import reserve, write_study
    from mergerexp.tracking.mlflow_reader import MlflowReader
    from mergerexp.tracking.study_artifacts import read_examples, read_histories, read_robustness

    title = study_title(cfg.tracking.experiment, cfg.sweep, cfg.where or {})
    folder = study_folder(cfg)
    sample = None if cfg.sample is None else Path(cfg.sample).expanduser()
    if sample is not None:
        read_sections(sample)  # before minutes of work
    reader = MlflowReader(cfg.tracking)
    study = reader.with_predictions(reader.find(cfg.sweep, cfg.where))
    examples, without = read_examples(reader, study)
    degraded, gaps = read_robustness(reader, study)
    if gaps and not cfg.allow_partial:
        degraded = None  # curves of some networks only would be taken for those of all
        gaps = [replace(gap, what=f"{gap.what}; the report leaves robustness out") for gap in gaps]
    histories, untold = read_histories(reader, study)
    study = replace(study, gaps=[*study.gaps, *without, *gaps, *untold])
    log.info("%s: %d runs of %s", study.name, len(study.runs), ", ".join(study.runs["arm"].unique()))
    if not cfg.allow_partial:
        study.check_whole()
    for gap in study.gaps:
        log.warning("%s", gap)
    chosen = {"where": dict(cfg.where or {}), "sweep": cfg.sweep, "allow_partial": cfg.allow_partial}
    settings = AggregationSettings(
        cfg.compare, cfg.prevalence, cfg.draws, cfg.seed, title, chosen, cfg.published, sample
    )
    with reserve(folder):
        results = compute(study, settings, degraded, histories, examples)
        log.info("writing tables, figures and the report")
        report = write_study(results, folder)
    try:
        reader.add_report(study, title, report)
        is_kept = True
    except UserError as error:  # a colleague's store may be read only
        log.warning("%s: MLflow does not have this report", error)
        is_kept = False
    return report, ways_to_runs(study.uri, study.experiment_id, has_view=is_kept)


def main() -> None:
    """Run the verb."""
    run_app("aggregate", AggregateConfig, aggregate)


if __name__ == "__main__":
    main()
