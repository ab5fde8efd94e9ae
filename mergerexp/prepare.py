"""``python -m mergerexp.prepare``: make a data set on disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from mergerexp.config.app import run_app
from mergerexp.config.schema import PrepareConfig
from mergerexp.console import console
from mergerexp.data.build import prepare_dataset
from mergerexp.data.store import Dataset, verify


class Preparation:
    """The data sets of one call: all of them are made once the configs are known to be right."""

    def preflight(self, cells: list[tuple[list[str], PrepareConfig]], options: Any) -> None:
        """Prepare the data sets and say what they hold.

        Raises
        ------
        DataError
            If inputs are unusable, or a data set that is there was damaged.
        """
        for _, cfg in cells:
            started = time.perf_counter()
            dataset = Dataset.open(prepare_dataset(cfg.data, cfg.paths.datasets))
            verify(dataset)
            counts = ", ".join(f"{n} {name}" for name, n in dataset.meta["counts"].items())
            seconds = time.perf_counter() - started
            console.print(f"{dataset.path}: {counts}; {cfg.data.size} px; {seconds:.1f} s", soft_wrap=True)

    def run(self, overrides: list[str]) -> None:
        """Nothing is left to do."""

    def launch(self, options: Any, job_overrides: Sequence[Sequence[str]]) -> list[Any]:
        """Nothing is left to do."""
        return []

    def finish(self) -> int:
        """All went well."""
        return 0


def main() -> None:
    """Run the verb."""
    run_app("prepare", PrepareConfig, Preparation())


if __name__ == "__main__":
    main()
