"""Time the submission of a sweep to Slurm and the status verb, in comparison with a bare import of libraries.

python benchmarks/submission.py              # the 40 runs of the paper
python benchmarks/submission.py --seeds 10   # 400 runs
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DATA = ["data=simulated_small", "data.simulator.n_mergers=40", "data.simulator.n_noninteracting=60"]
SWEEP = ["init=imagenet,random", "subset=0.1,0.17,0.3,0.5,1.0", "fold=0,1,2,3"]
HELD = ["hydra/launcher=slurm", "hydra.launcher.gpus=0", "hydra.launcher.wait=false"]
HELD.append("hydra.launcher.extra={hold: true}")  # so that no job starts while others are submitted


def seconds(*command: str) -> float:
    """Return how long Python takes with some arguments, in seconds."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Print the times in seconds, and their ratios to the bare import."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds, with 40 runs for each")
    parser.add_argument("--repeats", type=int, default=5, help="number of measurements (%(default)s)")
    arguments = parser.parse_args()
    seeds = f"seed={','.join(map(str, range(arguments.seeds)))}"
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        datasets = f"paths.datasets={Path(name) / 'datasets'}"
        weights = f"paths.weights={Path(name) / 'weights'}"  # shared, so that networks are tried only once
        os.environ["MERGEREXP_ROOT"] = name
        seconds("-m", "mergerexp.prepare", *DATA, datasets)
        for repeat in range(arguments.repeats):
            os.environ["MERGEREXP_ROOT"] = str(Path(name) / str(repeat))
            commands = {
                "import hydra, submitit": ["-c", "import hydra, submitit"],
                f"submit {40 * arguments.seeds} runs": [
                    *("-m", "mergerexp.train", "-m", *DATA, *SWEEP, seeds, *HELD, datasets, weights)
                ],
                f"status of {40 * arguments.seeds} runs": ["-m", "mergerexp.status"],
            }
            for what, command in commands.items():
                times.setdefault(what, []).append(seconds(*command))
            seconds("-m", "mergerexp.status", "--cancel")
    bare = statistics.median(next(iter(times.values())))
    print(f"{arguments.repeats} times, seconds: median (lowest to highest), times the bare import")
    for what, taken in times.items():
        median = statistics.median(taken)
        print(f"{what:24} {median:5.2f} ({min(taken):.2f} to {max(taken):.2f})  {median / bare:5.1f}")


if __name__ == "__main__":
    main()
