"""Kill a run at random moments until it is done, and compare its bits with those of an undisturbed one.

python benchmarks/kill_and_resume.py --kills 10 data=simulated_small subset=0.3
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from mergerexp.files import read_json


def command(overrides: list[str], root: Path) -> tuple[list[str], dict[str, str]]:
    """Return the command line and the environment of the run.

    Parameters
    ----------
    overrides
        The overrides of its config.
    root
        The root for its files.
    """
    line = [sys.executable, "-m", "mergerexp.train", *overrides, "trainer.progress=false", "tracking=none"]
    return line, {**os.environ, "MERGEREXP_ROOT": str(root)}


def progress(root: Path) -> str:
    """Return how far the run below a root has come, as text."""
    for path in (root / "runs").glob("*/status.json"):
        status = read_json(path)
        if "stage" in status:
            return f"{status['stage']}, after epoch {status['epoch']}"
    return "before the first epoch"


def epochs_of(root: Path) -> list[dict[str, float]]:
    """Return the history of the run below a root, with a row for each epoch so far."""
    for path in (root / "runs").glob("*/history.json"):
        return list(read_json(path))
    return []


def wait_for_epoch(process: subprocess.Popen[bytes], root: Path, epoch: int) -> None:
    """Wait until the run has finished some epochs, or its process has ended."""
    while process.poll() is None and len(epochs_of(root)) < epoch:
        time.sleep(0.01)


def main() -> None:
    """Print how far the run had come at each kill, and whether the predictions are identical."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--kills", type=int, default=10, help="number of kills (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (%(default)s)")
    parser.add_argument("overrides", nargs="*", help="as for mergerexp.train")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        calm, rough = Path(name, "calm"), Path(name, "rough")
        started = time.perf_counter()
        line, environment = command(arguments.overrides, calm)
        subprocess.run(line, env=environment, check=True, capture_output=True)
        seconds = time.perf_counter() - started
        history = epochs_of(calm)
        print(f"undisturbed: {seconds:.0f} s, {len(history)} epochs")
        line, environment = command(arguments.overrides, rough)
        for kill, epoch in enumerate(sorted(rng.sample(range(len(history)), arguments.kills))):
            process = subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL)
            wait_for_epoch(process, rough, epoch)
            time.sleep(rng.uniform(0.0, history[epoch]["seconds"]))
            process.send_signal(signal.SIGKILL)
            code = process.wait()
            print(f"kill {kill + 1}: {'done already' if code == 0 else progress(rough)}", flush=True)
        subprocess.run(line, env=environment, check=True, capture_output=True)
        files = [next((root / "runs").glob("*/predictions.parquet")) for root in (calm, rough)]
        results = [pd.read_parquet(file) for file in files]
    pd.testing.assert_frame_equal(results[0], results[1], check_exact=True)
    print(f"the {len(results[0])} predictions are identical")


if __name__ == "__main__":
    main()
