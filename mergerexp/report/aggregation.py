"""One aggregation: a study is read, everything is computed, and its folder is written."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mergerexp.config.schema import AggregateConfig
from mergerexp.console import amount
from mergerexp.errors import UserError
from mergerexp.report.helpers import helpers
from mergerexp.report.measures import measuring
from mergerexp.report.sample_sections import read_sections
from mergerexp.report.settings import AggregationSettings, study_folder, study_title
from mergerexp.tracking.experiment import ways_to_runs
from mergerexp.tracking.mlflow_reader import MlflowReader
from mergerexp.tracking.study import Gap
from mergerexp.tracking.study_artifacts import read_examples, read_histories, read_robustness

log = logging.getLogger(__name__)
MOST_GAPS = 12  # that are named while a study is made


def make_study(cfg: AggregateConfig) -> tuple[Path, list[str]]:
    """Read a study, compute everything, and write its folder.

    Returns
    -------
    Path
        The path of the report.
    list of str
        How the runs are opened in MLflow.

    Raises
    ------
    UserError
        If the study is not there, or has gaps and ``allow_partial`` is false.
    """
    title, folder = study_title(cfg.tracking.experiment, cfg.sweep, cfg.where or {}), study_folder(cfg)
    sample = None if cfg.sample is None else Path(cfg.sample).expanduser()
    if sample is not None:
        read_sections(sample)  # before minutes of work
    reader = MlflowReader(cfg.tracking)
    found = reader.find(cfg.sweep, cfg.where)
    settings = _settings(cfg, title, sample)
    with helpers() as pool:
        study = reader.with_predictions(found)
        # Such a study is refused once the gaps of all its files are known.
        is_refused = bool(study.serious_gaps) and not cfg.allow_partial
        if not is_refused:
            study.check_arms(settings.compare or (), "compare")
        with measuring(study, settings, None if is_refused else pool) as measured:
            # The helpers have begun, and this takes half a second.
            from mergerexp.report.results import compute
            from mergerexp.report.study_folder import reserve, write_study

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
            _warn(study.gaps)
            with reserve(folder):
                results = compute(study, settings, degraded, histories, examples, measured)
                log.info("writing tables, figures and the report")
                report = write_study(results, folder, pool)
    try:
        reader.add_report(study, title, report)
        is_kept = True
    except UserError as error:  # a colleague's store may be read only
        log.warning("%s: MLflow does not have this report", error)
        is_kept = False
    return report, ways_to_runs(study.uri, study.experiment_id, has_view=is_kept)


def _warn(gaps: Sequence[Gap]) -> None:
    for gap in gaps[:MOST_GAPS]:
        log.warning("%s", gap)
    if more := gaps[MOST_GAPS:]:
        log.warning("%s more, which the report lists", amount(len(more), "gap"))


def _settings(cfg: AggregateConfig, title: str, sample: Path | None) -> AggregationSettings:
    chosen = {"where": dict(cfg.where or {}), "sweep": cfg.sweep, "allow_partial": cfg.allow_partial}
    return AggregationSettings(
        cfg.compare, cfg.prevalence, cfg.draws, cfg.seed, title, chosen, cfg.published, sample
    )
