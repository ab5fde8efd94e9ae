"""Time 1, 2, 4 and 8 runs at once on one device, which share it by MPS, or else by time slices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from bisect import bisect_left
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from benchmarks.gpu.measure import (
    GPU,
    SCRATCH,
    SMALL,
    WARM_UP,
    finetuning,
    long_epochs,
    protocol,
    report,
    settings,
    synchronize,
)

EVERY = 1 if SMALL else 5  # steps between two looks at the clock
AT_ONCE = (1, 2) if SMALL else (1, 2, 4, 8)
PHASE_S = 1.0 if SMALL else 3.0
MPS = "nvidia-cuda-mps-control"


class Signals:
    """Signals between processes, which are files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def wait(self, name: str) -> None:
        """Wait until a signal is given."""
        while not (self.folder / name).exists():
            time.sleep(0.005)

    def give(self, name: str) -> None:
        """Give a signal."""
        (self.folder / name).touch()


class Log(pl.Callback):
    """Records when steps ended, from the phase in which this run begins to the end of the last phase.

    Parameters
    ----------
    signals
        The signals that begin and end the phases.
    number
        The number of this run, which determines the phase in which it begins.
    network
        The name of the network.
    """

    def __init__(self, signals: Signals, number: int, network: str) -> None:
        self.signals, self.number, self.network = signals, number, network
        self.ends: list[float] = []
        self._seen = 0

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Record the step, and end the training after the last phase."""
        trainer.should_stop = self.record()

    def record(self) -> bool:
        """Record the time after every `EVERY` steps; after the warm-up, wait for the phase of this run.

        Returns
        -------
        bool
            Whether the last phase is over.
        """
        self._seen += 1
        if self._seen % EVERY == 0:
            synchronize()
            self.ends.append(time.monotonic())
        if self._seen == WARM_UP:
            self.signals.give(f"{self.network}-ready-{self.number}")
            first = next(n for n in AT_ONCE if self.number < n)
            self.signals.wait(f"{self.network}-phase-{first}")
        return self._seen % EVERY == 0 and (self.signals.folder / f"{self.network}-over").exists()


def train_networks(folder: Path, number: int) -> None:
    """Train both networks in this process, one after the other, and write when their steps ended."""
    for setting in settings(batches=(16,)):
        log = Log(Signals(folder), number, setting.network)
        dataset = long_epochs(setting)
        run_folder = folder / f"run-{number}"
        finetuning(protocol(setting, dataset, "trainer.threads=1", folder=run_folder), log)
        (folder / f"{setting.network}-steps-{number}.json").write_text(json.dumps(log.ends))


def together(folder: Path, mode: str) -> None:
    """Start the runs in processes, let more of them train in each phase, and report the steps of the phases.

    Parameters
    ----------
    folder
        The folder for the signals and results.
    mode
        How the runs share the device, for the report.
    """
    folder.mkdir(parents=True)
    signals = Signals(folder)
    command = [sys.executable, "-m", "benchmarks.gpu.share", str(folder)]
    runs = [subprocess.Popen([*command, str(number)]) for number in range(AT_ONCE[-1])]
    for setting in settings(batches=(16,)):
        windows = []
        for number in range(len(runs)):
            signals.wait(f"{setting.network}-ready-{number}")
        for n in AT_ONCE:
            signals.give(f"{setting.network}-phase-{n}")
            time.sleep(0.3)  # until the new runs have reached their speed
            began = time.monotonic()
            time.sleep(PHASE_S)
            windows.append((n, began, time.monotonic()))
        signals.give(f"{setting.network}-over")
        ends = []
        for number in range(len(runs)):
            path = folder / f"{setting.network}-steps-{number}.json"
            while not path.exists() or not path.read_text().endswith("]"):
                time.sleep(0.02)
            ends.append(json.loads(path.read_text()))
        for n, began, over in windows:
            steps = EVERY * sum(bisect_left(each, over) - bisect_left(each, began) for each in ends)
            setting.report(
                "runs at once",
                runs=n,
                mode=mode,
                images_per_s=round(steps * setting.batch / (over - began), 1),
            )
    for run in runs:
        run.wait()


def main() -> None:
    """Let the runs share the device by MPS, and by time slices where it does not start."""
    if not GPU:
        together(SCRATCH / "sliced", "time slices")
        return
    pipes, logs = SCRATCH / "mps", SCRATCH / "mps-log"
    pipes.mkdir()
    logs.mkdir()
    os.environ |= {"CUDA_MPS_PIPE_DIRECTORY": str(pipes), "CUDA_MPS_LOG_DIRECTORY": str(logs)}
    try:
        subprocess.run([MPS, "-d"], check=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        report("MPS does not start", error=str(error))
        together(SCRATCH / "sliced", "time slices")
        return
    try:
        together(SCRATCH / "mps-runs", "MPS")
    finally:
        subprocess.run([MPS], input="quit\n", text=True, timeout=20)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        train_networks(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        main()
