"""`mergerexp.aggregate` for studies of the paper's size and ten times as many runs."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.aggregate_scale import aggregated, bare_limit, make_study, report_mb
from benchmarks.bench.results import OURS, Comparison
from benchmarks.bench.turns import take_turns

BARE = "imports and reading alone"
MOST_S = {1: 10.0, 10: 60.0}  # by the number of seeds


def measure(rounds: int) -> list[Comparison]:
    """Time the aggregation of 40 runs, and of 400 once."""
    found = []
    for seeds, most in MOST_S.items():
        with tempfile.TemporaryDirectory() as name:
            root, memory = Path(name), list[float]()
            runs = make_study(root, seeds)

            def ours(root: Path = root, memory: list[float] = memory) -> float:
                seconds, gb = aggregated(root)
                memory.append(gb)
                return seconds

            each = Comparison(f"aggregation of {runs} runs", "s", {}, most=most)
            bare = {BARE: lambda root=root: bare_limit(root)}
            take_turns(each, {OURS: ours, **bare}, rounds if seeds == 1 else 1)
            each.notes.append(
                f"Peak memory of the main process: {max(memory):.2f} GB; report: {report_mb(root):.1f} MB."
            )
            found.append(each)
    return found
