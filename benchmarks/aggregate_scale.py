"""Time and memory of `mergerexp.aggregate` for studies of the paper's size and larger ones.

    python -m benchmarks.aggregate_scale [--seeds 1 10] [--small]

Each study has 2 initialisations, 5 subsets, 4 folds and some seeds, 40 runs for each seed, of 13,003
galaxies. The runs were not trained: their ratings are made up, and lie in run folders and an MLflow database
as training leaves them. The bare limit is a process that imports pandas, scipy, matplotlib and MLflow's
client, and reads all predictions from the files.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path

from benchmarks.timed_command import timed_command
from tests.studies import add_run

SIZES = (0.1, 0.17, 0.3, 0.5, 1.0)
PAPER = (3003, 10_000)
BARE = """
import sys
from pathlib import Path
import matplotlib.pyplot, pandas, scipy.stats
from mlflow import MlflowClient
for path in Path(sys.argv[1]).glob("runs/*/predictions.parquet"):
    pandas.read_parquet(path)
"""


def make_study(root: Path, seeds: int, objects: tuple[int, int] | None = PAPER) -> int:
    """Make up the runs of a study, and return their number."""
    for init, subset, fold, seed in itertools.product(("imagenet", "random"), SIZES, range(4), range(seeds)):
        cell = (f"init={init}", f"subset={subset}", f"fold={fold}", f"seed={seed}")
        add_run(root, *cell, objects=objects)
    return len(list(root.glob("runs/*")))


def bare_limit(root: Path) -> float:
    """Return the seconds of a process that imports the libraries and reads the predictions alone."""
    return timed_command(["-c", BARE, str(root)])[0]


def aggregated(root: Path) -> tuple[float, float]:
    """Aggregate a study; return the seconds and the peak memory of the main process in GB."""
    return timed_command(["-m", "mergerexp.aggregate"], {"MERGEREXP_ROOT": str(root)})


def report_mb(root: Path) -> float:
    """Return the size of a study's report."""
    return next(root.glob("studies/*/report.html")).stat().st_size / 1e6


def main() -> None:
    """Print the figures of each study."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 10])
    parser.add_argument("--small", action="store_true", help="with 200 galaxies")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for seeds in arguments.seeds:
            root = Path(name) / str(seeds)
            runs = make_study(root, seeds, None if arguments.small else PAPER)
            bare, (took, memory) = bare_limit(root), aggregated(root)
            print(
                f"{runs} runs: {took:.1f} s, {took / bare:.1f} times the bare limit; {memory:.2f} GB; "
                f"report of {report_mb(root):.1f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
