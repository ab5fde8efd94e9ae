"""``python -m mergerexp.prepare``: make a data set on disk."""

from __future__ import annotations

import time

from mergerexp.config.app import run_app
from mergerexp.config.schema import PrepareConfig
from mergerexp.console import console
from mergerexp.data.build import prepare_dataset
from mergerexp.data.store import Dataset


def prepare(cells: list[PrepareConfig]) -> None:
    """Prepare the data sets and say what they hold.

    Raises
    ------
    DataError
        If inputs are unusable.
    """
    for cfg in cells:
        started = time.perf_counter()
        dataset = Dataset.open(prepare_dataset(cfg.data, cfg.paths.datasets))
        counts = ", ".join(f"{n} {name}" for name, n in dataset.meta["counts"].items())
        seconds = time.perf_counter() - started
        console.print(f"{dataset.path}: {counts}; {cfg.data.size} px; {seconds:.1f} s", soft_wrap=True)


def main() -> None:
    """Run the verb: all of it happens once the configs are known to be right."""
    run_app("prepare", PrepareConfig, prepare, lambda cfg, overrides: None, lambda: 0)


if __name__ == "__main__":
    main()
