"""More jobs than an array of the site may have: each has to be done once, and the limit at once to be kept.

    launchers/slurm_sandbox/start.sh && . /tmp/slurm-sandbox/env.sh
    python -m benchmarks.large_arrays --jobs 2500 --parallel 8

The jobs are stand-ins, which load no torch: each notes when it began and ended. Slurm's MaxArraySize, 1001 by
default, decides how many arrays there are.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

from mergerexp.config.launcher import SlurmOptions, read_options
from mergerexp.files import read_json
from mergerexp.runs.job_folder import DONE, RUNNING, JobFolder
from mergerexp.sweep.arrays import submitted_arrays
from mergerexp.sweep.job import Job
from mergerexp.sweep.runner import submit_jobs, wait_for_jobs
from mergerexp.sweep.slurm import Slurm
from mergerexp.sweep.slurm_commands import max_array_size

TARGET = "benchmarks.large_arrays:stand_in"
TIMES = "times"


def stand_in(path: Path) -> None:
    """Note the time of the beginning and of the end."""
    folder, started = JobFolder(path), time.time()
    folder.set_state(RUNNING, error=None)
    time.sleep(0.05)
    with (path / TIMES).open("a") as file:
        file.write(f"{started} {time.time()}\n")
    folder.set_state(DONE, error=None)


def options(parallel: int) -> SlurmOptions:
    """Return the options of the launcher for small jobs."""
    small = {"gpus": 0, "cpus": 1, "mem": "200MB", "timeout": 5, "signal_lead": 10, "parallel": parallel}
    rest: dict[str, object] = {
        "partition": None,
        "account": None,
        "qos": None,
        "gpu_type": None,
        "setup": [],
        "extra": None,
    }
    found = read_options(
        "SlurmLauncher", {**small, **rest, "max_requeues": 5, "rerun": "failed", "wait": True}
    )
    assert isinstance(found, SlurmOptions)
    return found


def most_at_once(spans: list[tuple[float, float]]) -> int:
    """Return the largest number of spans of time that overlap."""
    ends = sorted([(low, 1) for low, _ in spans] + [(high, -1) for _, high in spans])
    now = most = 0
    for _, step in ends:
        now += step
        most = max(most, now)
    return most


def main() -> int:
    """Print how often each job was done; return 1 if that is not once, or the limit was not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2500)
    parser.add_argument("--parallel", type=int, default=8)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
        folders = [JobFolder(root / "jobs" / f"{number:06d}") for number in range(args.jobs)]
        for folder in folders:
            folder.path.mkdir(parents=True)
        (root / "sweep").mkdir()
        slurm = Slurm(options(args.parallel), root / "sweep", None)
        jobs = [Job(TARGET, folder.path) for folder in folders]
        started = time.perf_counter()
        submit_jobs(slurm, jobs, [])
        submitted = time.perf_counter() - started
        arrays = [len(read_json(array.record)["tasks"]) for array in submitted_arrays(root / "sweep")]
        limits = [array.limit for array in submitted_arrays(root / "sweep")]
        print(
            f"MaxArraySize {max_array_size(None)}: arrays of {arrays} jobs with limits {limits}", flush=True
        )
        wait_for_jobs(slurm, jobs, {folder.path: folder.name for folder in folders}, "stand-ins")
        seconds = time.perf_counter() - started
        lines = [line for folder in folders for line in (folder.path / TIMES).read_text().splitlines()]
        times = Counter(len((folder.path / TIMES).read_text().splitlines()) for folder in folders)
        spans = [(float(low), float(high)) for low, high in (line.split() for line in lines)]
    most = most_at_once(spans)
    print(
        f"{args.jobs} jobs, submitted in {submitted:.1f} s, all over after {seconds:.0f} s; "
        f"how often they were done: {dict(times)}; at most {most} at once, of {args.parallel}"
    )
    return 0 if times == {1: args.jobs} and most <= args.parallel else 1


if __name__ == "__main__":
    raise SystemExit(main())
