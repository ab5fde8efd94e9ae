"""``python -m mergerexp.robustness``: a study's networks rate degraded versions of their test images.

The same line again skips the runs that are done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mergerexp.config.app import run_app
from mergerexp.config.schema import RobustnessConfig
from mergerexp.console import console
from mergerexp.errors import require_torch


class Degrading:
    """The studies of one call, usually one."""

    def __init__(self) -> None:
        self.failed = False

    def preflight(self, cells: list[tuple[list[str], RobustnessConfig]], options: Any) -> None:
        """Measure each study.

        Raises
        ------
        UserError
            If torch is not installed; else see `mergerexp.evaluation.robustness_measurement`.
        """
        require_torch("rating images")
        from mergerexp.evaluation.robustness_measurement import RobustnessMeasurement

        for _, cfg in cells:
            summary = RobustnessMeasurement(cfg).measure()
            self.failed |= bool(summary.problems)
            done, failed = f"{summary.rated} networks rated, {summary.before} before", len(summary.problems)
            console.print(f"{cfg.tracking.experiment}: {done}{f', {failed} failed' if failed else ''}")

    def run(self, overrides: list[str]) -> None:
        """Nothing is left to do."""

    def launch(self, options: Any, job_overrides: Sequence[Sequence[str]]) -> list[Any]:
        """Nothing is left to do."""
        return []

    def finish(self) -> int:
        """Return the exit code: 1 if a run could not be rated."""
        return 1 if self.failed else 0


def main() -> None:
    """Run the verb."""
    run_app("robustness", RobustnessConfig, Degrading())


if __name__ == "__main__":
    main()
