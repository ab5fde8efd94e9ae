"""``python -m mergerexp.sample``: the mergers of a rated survey beside all its galaxies."""

from __future__ import annotations

import time

from mergerexp.config.app import run_app
from mergerexp.config.call import Call, Done
from mergerexp.config.sample_schema import SampleConfig
from mergerexp.console import console


def sample(call: Call[SampleConfig]) -> Done:
    """Measure the samples of a call, usually one, and say where their pages are.

    Parameters
    ----------
    call
        Which catalogues, and how.

    Raises
    ------
    UserError
        If a catalogue can't be read, lacks a column, or has no galaxy that can be used.
    """
    from mergerexp.populations.make import make_sample  # takes seconds
    from mergerexp.report.result_folder import check_distinct

    check_distinct([cfg.folder for cfg in call.configs])
    for cfg in call.configs:
        started = time.perf_counter()
        try:
            page = make_sample(cfg)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("Interrupted: samples are as they were before.") from None
        took = time.perf_counter() - started
        console.print(f"{page.parent}: tables, figures and the page, in {took:.0f} s", soft_wrap=True)
        console.print(f"Open {page.absolute().as_uri()}", soft_wrap=True)
    return Done()


def main() -> None:
    """Run the verb."""
    run_app("sample", SampleConfig, sample)


if __name__ == "__main__":
    main()
