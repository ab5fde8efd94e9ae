"""Time the parts of a run from the start of its process to its first training step.

python benchmarks/run_overhead.py data=simulated_small init=random
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


class FirstStep(BaseException):
    """The run has come to its first training step; this ends it."""


def child(folder: str) -> None:
    """Start the run in this process, time its parts up to the first step, and print them as JSON.

    Parameters
    ----------
    folder
        The folder of the planned run.
    """
    spent: dict[str, float] = defaultdict(float)

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[part] += time.perf_counter() - started

        return wrapper

    started = time.time()
    from mergerexp.garbage import collect_rarely

    collect_rarely()  # as a job does
    from mergerexp.tracking.pending import Record
    from mergerexp.training import job, protocol, run, stage

    spent["imports"] = time.time() - started
    Record.begin = timed("MLflow", Record.begin)  # type: ignore[method-assign]
    protocol.create_classifier = timed("network", protocol.create_classifier)
    job.Dataset.open = timed("data set and split", job.Dataset.open)  # type: ignore[method-assign]
    run.make_split = timed("data set and split", run.make_split)

    reached: list[float] = []

    def first_step(self: Any, batch: Any, batch_idx: int) -> None:
        reached.append(time.perf_counter())
        raise FirstStep

    stage.Stage.training_step = first_step  # type: ignore[method-assign]
    began = time.perf_counter()
    with contextlib.suppress(FirstStep):
        job.train_run(Path(folder))
    total = reached[0] - began  # what comes later belongs to no start
    parts = {part: spent[part] for part in ("imports", "data set and split", "network", "MLflow")}
    parts["everything else"] = total - sum(parts.values()) + parts["imports"]
    print(json.dumps({**parts, "began": started}))


@contextlib.contextmanager
def planned_run(overrides: list[str]) -> Iterator[str]:
    """Yield the folder of a run that could start now; its data set is made first."""
    from mergerexp.config.call import Cell
    from mergerexp.config.compose import compose_cell
    from mergerexp.config.schema import TrainConfig
    from mergerexp.environment import environment
    from mergerexp.study.plan import Planner

    with tempfile.TemporaryDirectory() as name, environment({"MERGEREXP_ROOT": name}):
        cfg = compose_cell("train", overrides, TrainConfig)
        (run,) = Planner(None).plan([Cell(tuple(overrides), cfg)])
        run.write()
        yield str(run.folder.path)


def parts_of_start(folder: str) -> dict[str, float]:
    """Return the seconds of each part of a run's start, in a process of its own."""
    started = time.time()
    command = [sys.executable, __file__, "--child", folder]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    parts = json.loads(done.stdout.splitlines()[-1])
    began = parts.pop("began")
    return {"Python": began - started, **parts}


def time_to_first_step(folder: str) -> float:
    """Return the seconds from the start of a run's process to its first training step."""
    return sum(parts_of_start(folder).values())


def main() -> None:
    """Print median and extremes of each part."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--repeat", type=int, default=5, help="number of runs (%(default)s)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", help="as for mergerexp.train")
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child)
        return
    with planned_run(arguments.overrides) as folder:
        rows = [parts_of_start(folder) for _ in range(arguments.repeat)]
    print(f"{arguments.repeat} runs, seconds: median (lowest to highest)")
    for part in rows[0]:
        values = sorted(row[part] for row in rows)
        print(f"{part:20} {statistics.median(values):6.2f} ({values[0]:.2f} to {values[-1]:.2f})")
    totals = sorted(sum(row.values()) for row in rows)
    print(f"{'to the first step':20} {statistics.median(totals):6.2f} ({totals[0]:.2f} to {totals[-1]:.2f})")


if __name__ == "__main__":
    main()
