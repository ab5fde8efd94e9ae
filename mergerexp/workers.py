"""Worker processes with one thread each, which ignore Ctrl-C and end with their parent process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from typing import ParamSpec, TypeVar

from mergerexp.environment import environment
from mergerexp.errors import UserError
from mergerexp.garbage import collect_rarely

P = ParamSpec("P")
T = TypeVar("T")

VERBS_IMPORT = "mergerexp.config.app"
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


@contextmanager
def worker_pool(
    workers: int, fewer: str, keeps: bool = True, preload: str | None = None
) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of worker processes; tasks that have not begun when the block is left are dropped.

    Parameters
    ----------
    workers
        The number of processes.
    fewer
        The setting that determines this number; the message of a failure names it.
    keeps
        Whether what is done when a worker dies is kept.
    preload
        A module that all workers need and that takes long to import. It is then imported once, in a process
        that the workers are forked from.

    Yields
    ------
    ProcessPoolExecutor
        The pool.

    Raises
    ------
    UserError
        If a worker died, for example for lack of memory.
    """
    with environment(dict.fromkeys(THREAD_VARIABLES, "1")):
        if preload is not None:
            warm_up(preload)
        context = multiprocessing.get_context("spawn" if preload is None else "forkserver")
        pool = _Pool(workers, context, _end_with_parent)
        try:
            yield pool
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process died, perhaps for lack of memory; run again"
                f"{' to continue from what is done' if keeps else ''}, with fewer {fewer} if it happens again"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def warm_up(module: str) -> None:
    """Begin to import a module in the process that workers are forked from, and do not wait for it.

    Parameters
    ----------
    module
        The module that `worker_pool` is to preload.
    """
    with environment(dict.fromkeys(THREAD_VARIABLES, "1")), without({signal.SIGINT}):
        import_first([module])
        forkserver.ensure_running()


def import_first(modules: Sequence[str]) -> None:
    """Name what the process imports that workers are forked from, before it is started.

    Python lets each worker import the verb that this process runs, so what all verbs import is added.

    Parameters
    ----------
    modules
        The names of the modules.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    is_verb = spec is not None and spec.name.startswith("mergerexp.")
    names = ["mergerexp.fork_server", *([VERBS_IMPORT] if is_verb else []), *modules]
    multiprocessing.get_context("forkserver").set_forkserver_preload(names)


class _Pool(ProcessPoolExecutor):
    """A pool whose processes have Ctrl-C blocked from their first instruction; `submit` starts them."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        with without({signal.SIGINT}):
            return super().submit(fn, *args, **kwargs)


@contextmanager
def without(signals: Collection[int]) -> Iterator[None]:
    """Block signals in processes that this block starts; this process gets them when the block ends.

    Parameters
    ----------
    signals
        The numbers of the signals.
    """
    resource_tracker.ensure_running()  # its start ends with unblocking Ctrl-C
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def on_end_of_parent(act: Callable[[], None]) -> None:
    """Call a function when the parent process has ended."""

    def follow() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            act()

    threading.Thread(target=follow, daemon=True).start()


def _end_with_parent() -> None:
    # The process that workers are forked from may be that of a sweep, which has it blocked.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    collect_rarely()
    on_end_of_parent(lambda: os._exit(1))
