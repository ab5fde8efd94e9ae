"""``python -m mergerexp.predict``: the objects of a survey are rated with a model folder."""

from __future__ import annotations

import logging
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from mergerexp.config.app import run_app
from mergerexp.config.call import Call, Done
from mergerexp.config.commands import status_command
from mergerexp.config.launcher import Options
from mergerexp.config.survey_schema import PredictConfig
from mergerexp.console import amount, console, duration
from mergerexp.errors import ConfigError, require_torch

if TYPE_CHECKING:
    from mergerexp.survey.survey import Survey

log = logging.getLogger("mergerexp.predict")  # __name__ is __main__ under python -m


def predict(call: Call[PredictConfig]) -> Done:
    """Rate the surveys of a call, usually one, and say what became of their objects.

    Parameters
    ----------
    call
        What is rated, and with which model.

    Raises
    ------
    ConfigError
        If several surveys would be mixed, or a setting would have no effect.
    UserError
        If torch is not installed, or as `mergerexp.survey.survey.Survey` says.
    """
    require_torch("rating a survey")
    from mergerexp.survey.survey import Survey  # here, so that --help need not wait for torch

    exit_code = 0
    _check(call)
    for cfg in call.configs:
        # What a dry run tells is of this machine, whatever the jobs of a launcher would have.
        survey = Survey(cfg, None if cfg.dry_run else call.launcher)
        log.info("%s in %s", amount(len(survey.input), "object"), cfg.images)
        statistics = survey.look()
        if cfg.dry_run:
            for line in survey.estimate(statistics):
                console.print(line, soft_wrap=True)
            continue
        with survey.looked_after():
            exit_code = max(exit_code, _rate(survey, call.launcher))
    return Done(exit_code)


def _check(call: Call[PredictConfig]) -> None:
    """Refuse what would mix surveys or be ignored, before any of them is looked at."""
    folder, number = Counter(cfg.folder for cfg in call.configs).most_common(1)[0]
    if number > 1:
        raise ConfigError(
            f"{number} cells would write into {folder}: give each line its own name=NAME, one after another"
        )
    if call.launcher is None and (shards := max(cfg.shards for cfg in call.configs)) > 1:
        raise ConfigError(f"shards={shards}: a launcher starts the jobs of a survey; add -m")
    if call.launcher is not None and call.launcher.rerun == "all":
        raise ConfigError(
            "hydra.launcher.rerun=all: parts that are there stay as they are, since they would come out the "
            "same; remove the survey's folder to begin anew"
        )


def _rate(survey: Survey, launcher: Options | None) -> int:
    """Rate what is not rated yet, merge and say what became of the objects; return the exit code."""
    started = time.perf_counter()
    if launcher is None:
        survey.begin()
        try:
            survey.rate(survey.missing())
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                "Interrupted: the same command goes on after the parts that are done."
            ) from None
    else:
        from mergerexp.survey.shards import ShardSweep

        status = status_command(Path(survey.cfg.paths.sweeps))
        if not ShardSweep(survey, launcher).run():
            console.print(
                f"The jobs go on in Slurm; {status} shows how they stand, and the same command merges the "
                "catalogue once they are done",
                soft_wrap=True,
            )
            return 0
        if missing := survey.missing():
            parts = amount(len(missing), "part")
            console.print(
                f"{survey.folder}: {parts} of {len(survey.parts)} not rated; {status} says why, and the same "
                "command rates them",
                soft_wrap=True,
            )
            return 1
    merged = survey.merge()
    counts = ", ".join(f"{number} {status}" for status, number in sorted(merged.counts.items()))
    console.print(f"{survey.folder}: {counts}, in {duration(time.perf_counter() - started)}", soft_wrap=True)
    for file in merged.files:
        console.print(f"  {file.name}: {file.stat().st_size / 1e6:.1f} MB", soft_wrap=True)
    return 0


def main() -> None:
    """Run the verb."""
    run_app("predict", PredictConfig, predict, starts_jobs=True)


if __name__ == "__main__":
    main()
