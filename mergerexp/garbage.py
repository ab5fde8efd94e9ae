"""Python's search for unreachable objects, made rare: libraries of a million objects make it slow."""

from __future__ import annotations

import atexit
import gc
import os

# New objects are searched after so many of them were made, older ones after so many such searches, and all
# after so many of those. With the numbers of Python 3.11, 700, 10 and 10, a fifth of the time of our imports
# went into searches.
RARELY = (20_000, 50, 100)
_done_in: int | None = None  # the process


def collect_rarely() -> None:
    """Search for unreachable objects less often in this process, and not at all when it ends.

    Only objects that refer to each other in a circle have to be searched for; all others are freed at once.
    The three searches at the end of a process take up to a second, only for its memory to be returned
    anyway. What has been imported by the first call in a process is left out of all later searches, so that a
    process goes on sharing the memory of the one that it was forked from. Later calls change nothing.
    """
    global _done_in
    if _done_in == os.getpid():
        return
    gc.freeze()
    gc.set_threshold(*RARELY)
    if _done_in is None:  # a fork inherits what is registered
        atexit.register(gc.freeze)
    _done_in = os.getpid()
