"""``python -m mergerexp.robustness``: a study's networks rate degraded versions of their test images.

The same line again skips the runs that are done.
"""

from __future__ import annotations

from mergerexp.config.app import run_app
from mergerexp.config.call import Call, Done
from mergerexp.config.schema import RobustnessConfig
from mergerexp.console import amount, console
from mergerexp.errors import require_torch
from mergerexp.tracking.store_file import check_store


def robustness(call: Call[RobustnessConfig]) -> Done:
    """Let the networks of the chosen studies rate degraded images; the exit code is 1 if one could not.

    Parameters
    ----------
    call
        Which studies, usually one, and which degradations.

    Raises
    ------
    UserError
        If torch is not installed; else see `mergerexp.evaluation.robustness_measurement`.
    """
    require_torch("rating images")
    for cfg in call.configs:
        check_store(cfg.tracking.uri)  # before the imports, which take seconds
    from mergerexp.evaluation.robustness_measurement import RobustnessMeasurement

    failed = 0
    for cfg in call.configs:
        measurement = RobustnessMeasurement(cfg)
        measurement.measure()
        failed += len(measurement.problems)
        numbers = [f"{amount(measurement.rated, 'network')} rated now", f"{measurement.before} before"]
        numbers += [f"{len(measurement.problems)} failed"] if measurement.problems else []
        console.print(f"{cfg.tracking.experiment}: {', '.join(numbers)}", soft_wrap=True)
    return Done(exit_code=int(failed > 0))


def main() -> None:
    """Run the verb."""
    run_app("robustness", RobustnessConfig, robustness)


if __name__ == "__main__":
    main()
