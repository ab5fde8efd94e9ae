"""``python -m mergerexp.aggregate``: the runs of a study become tables, figures and a report."""

from __future__ import annotations

import time

from mergerexp.config.app import run_app
from mergerexp.config.call import Call, Done
from mergerexp.config.schema import AggregateConfig
from mergerexp.console import console
from mergerexp.cores import usable_cores
from mergerexp.tracking.store_file import check_store
from mergerexp.workers import warm_up


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
    from mergerexp.report.helpers import NEEDED
    from mergerexp.report.result_folder import check_distinct
    from mergerexp.report.settings import study_folder

    check_distinct([study_folder(cfg) for cfg in call.configs])
    if usable_cores() > 1:
        warm_up(NEEDED)  # while this process imports what it needs itself
    for cfg in call.configs:
        started = time.perf_counter()
        try:
            check_store(cfg.tracking.uri)  # before the imports, which take seconds
            from mergerexp.report.aggregation import make_study

            report, ways = make_study(cfg)
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


def main() -> None:
    """Run the verb."""
    run_app("aggregate", AggregateConfig, aggregate)


if __name__ == "__main__":
    main()
