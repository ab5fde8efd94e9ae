"""``python -m mergerexp.train``: one run, or with ``-m`` a sweep.

The same line again skips what is done and goes on where the rest stopped.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
import traceback
from pathlib import Path

from filelock import Timeout

from mergerexp.config.app import run_app
from mergerexp.config.fingerprint import fingerprint
from mergerexp.config.schema import TrainConfig
from mergerexp.console import console
from mergerexp.data.build import prepare_dataset
from mergerexp.data.splits import split_dataset
from mergerexp.data.store import Dataset
from mergerexp.files import write_text
from mergerexp.models.weights import WeightsFile, find_weights
from mergerexp.report.run_table import run_table
from mergerexp.sweep.run_folder import RunFolder

log = logging.getLogger("mergerexp.train")  # __name__ is __main__ under python -m
find_weights_once = functools.cache(find_weights)


class Sweep:
    """The runs of one call, in this process."""

    def __init__(self) -> None:
        self.datasets: dict[str, Dataset] = {}
        self.folders: list[RunFolder] = []
        self.failed = 0
        self.total = 0

    def preflight(self, cells: list[TrainConfig]) -> None:
        """Get the weights, then the data and splits of all cells, before any of them starts.

        Raises
        ------
        WeightsError, DataError, ValueError
            If one can't be had, or the data can't be split as asked.
        """
        self.total = len(cells)
        for cfg in cells:
            self.weights(cfg)
        for cfg in cells:
            split_dataset(self.dataset(cfg), cfg.split, cfg.fold, cfg.subset)

    def weights(self, cfg: TrainConfig) -> WeightsFile | None:
        """Return the pretrained weights that a config asks for."""
        if cfg.init.weights == "random":
            return None
        return find_weights_once(cfg.model.backbone, cfg.model.pretrained, Path(cfg.paths.weights))

    def dataset(self, cfg: TrainConfig) -> Dataset:
        """Return a config's data set, preparing it if it is not there."""
        key = repr((cfg.data, cfg.paths.datasets))
        if key not in self.datasets:
            path = prepare_dataset(cfg.data, cfg.paths.datasets, cfg.trainer.progress)
            self.datasets[key] = Dataset.open(path)
        return self.datasets[key]

    def run(self, cfg: TrainConfig, overrides: list[str]) -> None:
        """Skip, resume or start one run; a failure is told and the next run goes on."""
        weights, dataset = self.weights(cfg), self.dataset(cfg)
        identity = fingerprint(cfg, dataset.content_hash, weights.sha256 if weights else None)
        folder = RunFolder.of(cfg, identity)
        self.folders.append(folder)
        where = f"[{len(self.folders)}/{self.total}] {folder.path.name}"
        try:
            with folder.lock().acquire(timeout=0):
                if folder.is_done():
                    from mergerexp.tracking.record import Record

                    log.info("%s: done before", where)
                    folder.checkpoint.unlink(missing_ok=True)
                    Record(folder, cfg.tracking).update(final=True)
                    return
                log.info("%s: %s", where, "resuming" if folder.checkpoint.is_file() else "starting")
                self._train(cfg, dataset, weights, folder)
        except Timeout:
            self.failed += 1
            log.error("%s: another process is training this run", where)
        except Exception as error:
            self.failed += 1
            with contextlib.suppress(OSError):  # the folder may be what failed
                write_text(folder.path / "traceback.txt", traceback.format_exc())
            log.error("%s failed: %s (traceback in %s)", where, error, folder.path / "traceback.txt")

    def _train(
        self, cfg: TrainConfig, dataset: Dataset, weights: WeightsFile | None, folder: RunFolder
    ) -> None:
        started = time.perf_counter()
        from mergerexp.training.run import run_training  # torch: not before something is to be trained

        run_training(cfg, dataset, weights, folder)
        log.info("%s: done in %.0f s", folder.path.name, time.perf_counter() - started)

    def finish(self) -> int:
        """Show what came out, and return the exit code."""
        console.print(run_table(self.folders))
        return 1 if self.failed else 0


def main() -> None:
    """Run the verb."""
    sweep = Sweep()
    run_app("train", TrainConfig, sweep.preflight, sweep.run, sweep.finish)


if __name__ == "__main__":
    main()
