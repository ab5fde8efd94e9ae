"""Processes beside this one, which compute and draw parts of a study."""

from __future__ import annotations

import importlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, wait
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from mergerexp.cores import usable_cores
from mergerexp.workers import worker_pool

T = TypeVar("T")
MOST = 4  # processes; a study has few parts that take long
NEEDED = "mergerexp.report.preloaded"


class Helpers(NamedTuple):
    """Processes, and how many there are."""

    pool: Executor
    number: int


@contextmanager
def helpers() -> Iterator[Helpers | None]:
    """Yield as many processes as there are cores, which get ready while this one reads; None for one core."""
    number = min(usable_cores(), MOST)
    if number == 1:
        yield None
        return
    with worker_pool(number, "cores (SLURM_CPUS_PER_TASK)", keeps=False, preload=NEEDED) as pool:
        pool.submit(importlib.import_module, NEEDED)  # starts the first process
        try:
            yield Helpers(pool, number)
        except KeyboardInterrupt:
            for process in multiprocessing.active_children():  # which do not hear of Ctrl-C
                process.terminate()
            raise


def shared(pool: Helpers | None, tasks: Sequence[Callable[[], T]]) -> list[T]:
    """Do tasks in other processes, or here without any, and return their results in order.

    Tasks are sent in as few parts as there are processes, since each part takes its data along.
    """
    if pool is None or len(tasks) < 2:
        return [task() for task in tasks]
    number = min(pool.number, len(tasks))
    futures = [pool.pool.submit(_do, tasks[start::number]) for start in range(number)]
    wait(futures)  # nobody writes any more when an exception is raised
    done = [future.result() for future in futures]
    return [done[at % number][at // number] for at in range(len(tasks))]


def _do(tasks: Sequence[Callable[[], T]]) -> list[T]:
    return [task() for task in tasks]
