"""From the start of a run's process to its first training step, beside importing torch and timm alone."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks.bench.results import OURS, Comparison
from benchmarks.bench.turns import take_turns
from benchmarks.run_overhead import planned_run, time_to_first_step

BARE = "import torch, timm"
MOST_ABOVE_S = 1.5


def measure(rounds: int) -> list[Comparison]:
    """Compare the start of a run with the bare import."""
    found = Comparison("start of a run, to its first training step", "s", {})
    with planned_run(["data=simulated_small", "init=random"]) as folder:
        take_turns(found, {OURS: lambda: time_to_first_step(folder), BARE: bare_import}, rounds)
    above = [ours - bare for ours, bare in zip(found.turns[OURS], found.turns[BARE], strict=True)]
    found.notes.append(
        f"Above the bare import: {statistics.median(above):.2f} s ({min(above):.2f} to {max(above):.2f}); "
        f"the goal is at most {MOST_ABOVE_S} s."
    )
    return [found]


def bare_import() -> float:
    """Return the seconds from the start of a process until it has imported torch and timm alone."""
    started, code = time.time(), "import torch, timm, time; print(time.time())"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout) - started
