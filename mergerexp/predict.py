"""``python -m mergerexp.predict``: the objects of a survey are rated with a model folder."""

from __future__ import annotations

import logging
import time

from mergerexp.config.app import run_app
from mergerexp.config.call import Call, Done
from mergerexp.config.survey_schema import PredictConfig
from mergerexp.console import amount, console, duration
from mergerexp.errors import require_torch

log = logging.getLogger("mergerexp.predict")  # __name__ is __main__ under python -m


def predict(call: Call[PredictConfig]) -> Done:
    """Rate the surveys of a call, usually one, and say what became of their objects.

    Parameters
    ----------
    call
        What is rated, and with which model.

    Raises
    ------
    UserError
        If torch is not installed, or as `mergerexp.survey.survey.Survey` says.
    """
    require_torch("rating a survey")
    from mergerexp.survey.survey import Survey  # here, so that --help need not wait for torch

    for cfg in call.configs:
        started = time.perf_counter()
        survey = Survey(cfg)
        log.info("%s in %s", amount(len(survey.input), "object"), cfg.images)
        survey.look()
        if cfg.dry_run:
            for line in survey.estimate():
                console.print(line, soft_wrap=True)
            continue
        try:
            survey.rate()
            merged = survey.merge()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                "Interrupted: the same command goes on after the parts that are done."
            ) from None
        counts = ", ".join(f"{number} {status}" for status, number in sorted(merged.counts.items()))
        console.print(
            f"{survey.folder}: {counts}, in {duration(time.perf_counter() - started)}", soft_wrap=True
        )
        for file in merged.files:
            console.print(f"  {file.name}: {file.stat().st_size / 1e6:.1f} MB", soft_wrap=True)
    return Done()


def main() -> None:
    """Run the verb."""
    run_app("predict", PredictConfig, predict)


if __name__ == "__main__":
    main()
