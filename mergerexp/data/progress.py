"""Progress of long work: a bar on a terminal, a log line every ten seconds elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType

import rich.console
import rich.progress

log = logging.getLogger(__name__)

LOG_EVERY_S = 10.0


class Progress:
    """Report parts done, objects a second and the time left; the bar vanishes at the end.

    Parameters
    ----------
    title
        What is being done.
    total, done
        Number of parts, and how many were there at the start.
    enabled
        False: stay silent.
    """

    def __init__(self, title: str, total: int, done: int = 0, enabled: bool = True) -> None:
        self._title = title
        self._enabled = enabled
        self._total, self._done, self._already_done = total, done, done
        self._objects = 0
        self._start = self._last_log = time.monotonic()
        self._bar: rich.progress.Progress | None = None
        if enabled and sys.stderr.isatty():
            self._bar = rich.progress.Progress(
                rich.progress.TextColumn("{task.description}"),
                rich.progress.BarColumn(),
                rich.progress.TaskProgressColumn(),
                rich.progress.TextColumn("{task.fields[rate]:.0f} objects/s"),
                rich.progress.TimeRemainingColumn(),
                console=rich.console.Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(title, total=total, completed=done, rate=0.0)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, objects: int) -> None:
        """Count one more part, of so many objects."""
        self._done += 1
        self._objects += objects
        now = time.monotonic()
        rate = self._objects / max(now - self._start, 1e-9)
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, rate=rate)
        elif self._enabled and now - self._last_log >= LOG_EVERY_S:
            self._last_log = now
            left = (now - self._start) / (self._done - self._already_done) * (self._total - self._done)
            log.info(
                "%s: %d of %d parts, %.0f objects/s, about %.0f s left",
                self._title,
                self._done,
                self._total,
                rate,
                left,
            )
