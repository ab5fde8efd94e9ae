"""Python's search for unreachable objects, made rare: libraries of a million objects make it slow."""

from __future__ import annotations

import atexit
import gc

# So many new objects, and so many searches among these and among those that have lasted, until the next.
# Python's own numbers are 700, 10 and 10, for which the searches take a fifth of the time of our imports.
RARELY = (20_000, 50, 100)


def collect_rarely() -> None:
    """Search for unreachable objects less often in this process, and not at all when it ends.

    Only objects that refer to each other in a circle have to be searched for; all others are freed at once.
    The three searches at the end of a process take up to a second, only for its memory to be returned
    anyway. What has been imported by now is left out of all later searches, so that a child process that was
    forked from this one goes on sharing its memory.
    """
    gc.freeze()
    gc.set_threshold(*RARELY)
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
