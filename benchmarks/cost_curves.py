"""How the cost of training, of a sweep and of a survey grows.

    python -m benchmarks.cost_curves [--only step makespan predict] [--objects 10000 100000 1000000]

step
    Images a second of fine-tuning, ours and a bare loop turn about, by the size of mini-batches and images.
makespan
    The time of a sweep by local processes, one for each core, over the sum of its runs' times divided by the
    number of processes. A run lasts from when its process has it until it is done.
    The ratio is 1 if processes never wait, and if planning, starts and the last table take no time.
predict
    The whole command for a list of objects, each of which names one of a thousand files again and again.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench.peers import SCRIPTS, run_json
from benchmarks.bench.results import spread
from benchmarks.gpu.timm import write_jpegs
from benchmarks.timed_command import timed_command
from mergerexp.cores import usable_cores
from mergerexp.environment import environment
from mergerexp.files import read_json

NETWORK, SECONDS = "tf_efficientnet_lite0", 6.0
SIZES, BATCHES = (32, 64, 128, 192), (8, 16, 32, 64)
SIZE, BATCH = 64, 16  # of the other curve
DATA = ["data=simulated_small", "data.simulator.n_mergers=100", "data.simulator.n_noninteracting=150"]
RUNS = ["init=random", "subset=0.5,1.0", "fold=0,1,2,3", "trainer.patience=100"]
FILES, SIDE = 1000, 64
FOLDS = 4
STUDY = ["model.backbone=test_resnet", "init=random", "trainer.max_epochs=1"]


def verb(root: Path, name: str, *words: str) -> float:
    """Run a verb below a root, and return how long it took, in seconds."""
    started = time.perf_counter()
    with environment({"MERGEREXP_ROOT": str(root), "MERGEREXP_LAUNCHER": "local"}):
        line = [sys.executable, "-m", f"mergerexp.{name}", *words]
        done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed: {done.stderr[-600:]}")
    return time.perf_counter() - started


def step(rounds: int) -> None:
    """Print images a second for each size of images, and for each size of mini-batches."""
    threads = usable_cores()
    for size, batch in dict.fromkeys(
        [(size, BATCH) for size in SIZES] + [(SIZE, batch) for batch in BATCHES]
    ):
        rates: dict[str, list[float]] = {"ours": [], "bare": []}
        for _ in range(rounds):
            given = (NETWORK, size, batch, threads, SECONDS, "32")
            rates["ours"].append(run_json(sys.executable, "-m", "benchmarks.bench.training", *given)["rate"])
            rates["bare"].append(run_json(sys.executable, SCRIPTS / "bare_training.py", *given)["rate"])
        ratio = statistics.median(a / b for a, b in zip(rates["ours"], rates["bare"], strict=True))
        print(
            f"{size} px, mini-batches of {batch}: {spread(rates['ours'])} images/s, "
            f"bare loop {spread(rates['bare'])}, ratio {ratio:.2f}",
            flush=True,
        )


def makespan(rounds: int, epochs: int, seeds: int) -> None:
    """Print the time of a sweep, those of its runs, and the ratio."""
    workers = usable_cores()
    with tempfile.TemporaryDirectory() as name:
        for number in range(rounds):
            root = Path(name) / str(number)
            given = [*DATA, *RUNS, f"trainer.max_epochs={epochs}", "trainer.threads=1"]
            given += [f"seed={','.join(map(str, range(seeds)))}"]
            # All rounds share this folder, so that the network is tried out in the first alone.
            given += [f"hydra.launcher.n_jobs={workers}", f"paths.weights={Path(name) / 'weights'}"]
            verb(root, "prepare", *DATA)
            took = verb(root, "train", "-m", *given)
            states = [read_json(path) for path in root.glob("runs/*/status.json")]
        spent = [state["updated"] - state["job_started"] for state in states]
        print(
            f"round {number + 1}: {len(spent)} runs of {spread(spent)} s, {workers} processes: {took:.1f} s, "
            f"{took * workers / sum(spent):.3f} times the runs' own",
            flush=True,
        )


def predict(objects: Sequence[int], networks: int) -> None:
    """Print the time and the peak memory for each number of objects, by so many networks."""
    with tempfile.TemporaryDirectory() as name:
        root, images = Path(name), Path(name) / "images"
        verb(root, "train", "-m", *DATA, *STUDY, f"fold={','.join(map(str, range(networks)))}")
        verb(root, "export", *(["allow_partial=true"] if networks < FOLDS else []))
        (model,) = (root / "models").iterdir()
        write_jpegs(images, FILES, SIDE)
        files = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.jpg"))
        for number in objects:
            survey = root / f"survey{number}.csv"
            with survey.open("w", newline="") as lines:
                rows = csv.writer(lines)
                rows.writerow(["objid", "file"])
                rows.writerows([index, files[index % FILES]] for index in range(number))
            given = [f"model_folder={model}", f"images={survey}", f"root={images}", f"name=of{number}"]
            given += ["any_size=true", "prevalence=0.1", "id_system=benchmark", "device=cpu"]
            seconds, memory = timed_command(
                ["-m", "mergerexp.predict", *given], {"MERGEREXP_ROOT": str(root)}
            )
            print(
                f"{number} objects: {seconds:.1f} s, {1e3 * seconds / number:.3f} ms each, "
                f"{number / seconds:.0f} a second, peak memory {memory:.2f} GB",
                flush=True,
            )


def main() -> None:
    """Measure the curves that are asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cost_curves",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    curves = ("step", "makespan", "predict")
    parser.add_argument("--only", nargs="+", choices=curves, default=curves, help="these curves alone")
    parser.add_argument("--rounds", type=int, default=3, help="turns of step and makespan (%(default)s)")
    parser.add_argument("--epochs", type=int, default=12, help="of the runs of the sweep (%(default)s)")
    parser.add_argument("--seeds", type=int, default=1, help="of the sweep: eight runs each (%(default)s)")
    parser.add_argument(
        "--objects",
        type=int,
        nargs="+",
        default=[10_000, 100_000, 1_000_000],
        help="numbers of objects to rate",
    )
    parser.add_argument(
        "--networks",
        type=int,
        choices=range(1, FOLDS + 1),
        default=FOLDS,
        help="that rate them (%(default)s)",
    )
    given = parser.parse_args()
    if "step" in given.only:
        step(given.rounds)
    if "makespan" in given.only:
        makespan(given.rounds, given.epochs, given.seeds)
    if "predict" in given.only:
        predict(given.objects, given.networks)


if __name__ == "__main__":
    main()
