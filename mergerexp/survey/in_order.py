"""Work on several threads whose results come in the order of the work, with little of it waiting."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def in_order(
    make: Callable[[Given], Made],
    work: Iterable[Given],
    workers: int,
    begin: Callable[[], None] = lambda: None,
) -> Iterator[Made]:
    """Yield what is made of each piece of work, in its order.

    Parameters
    ----------
    make
        The function, which several threads call at once.
    work
        The pieces of work.
    workers
        The number of threads. At most one piece more than that has been made and waits to be yielded.
    begin
        What each thread calls first.
    """
    with ThreadPoolExecutor(workers, initializer=begin) as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for piece in work:
                waiting.append(pool.submit(make, piece))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
