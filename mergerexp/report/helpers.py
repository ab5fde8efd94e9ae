"""Processes beside this one, which compute and draw parts of a study."""

from __future__ import annotations

import importlib
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

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


@dataclass(frozen=True)
class Later:
    """A task whose module is imported where the task is done, and only there.

    Attributes
    ----------
    target
        The function, as ``module:function``.
    arguments
        Its arguments.
    """

    target: str
    arguments: tuple[Any, ...]

    def __call__(self) -> Any:
        """Call the function, and return its result."""
        module, _, function = self.target.partition(":")
        return getattr(importlib.import_module(module), function)(*self.arguments)


@contextmanager
def begun(pool: Helpers | None, tasks: Sequence[Callable[[], T]]) -> Iterator[Callable[[], list[T]]]:
    """Do tasks in other processes while this one goes on with the block, or in this one without any.

    Each process takes the next task as soon as it is free, so the longest should come first. It claims a
    task by making its file; tasks are sent once to each process, since they take their data along.

    Yields
    ------
    callable
        A function that waits for the results, and returns them in the order of the tasks.
    """
    if pool is None or len(tasks) < 2:
        yield lambda: [task() for task in tasks]
        return
    with tempfile.TemporaryDirectory(prefix="mergerexp-tasks-", ignore_cleanup_errors=True) as claims:
        parts = range(min(pool.number, len(tasks)))
        futures = [pool.pool.submit(_do_unclaimed, tasks, Path(claims)) for _ in parts]

        def finish() -> list[T]:
            wait(futures)
            done = {at: result for future in futures for at, result in future.result().items()}
            return [done[at] for at in range(len(tasks))]

        try:
            yield finish
        except Exception:
            for at in range(len(tasks)):
                (Path(claims) / str(at)).touch()  # nobody begins another task
            wait(futures)  # and nobody writes any more when the error is passed on
            raise


def _do_unclaimed(tasks: Sequence[Callable[[], T]], claims: Path) -> dict[int, T]:
    done = {}
    for at, task in enumerate(tasks):
        try:
            (claims / str(at)).touch(exist_ok=False)
        except FileExistsError:
            continue
        done[at] = task()
    return done
