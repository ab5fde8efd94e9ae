"""The terminal: log lines and progress on standard error."""

from __future__ import annotations

import logging
import time
import warnings
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)

console = Console(stderr=True, highlight=False, markup=False)  # names of users' may hold [brackets]
if not console.is_terminal:
    # A log file: tables need no room to spare.
    console = Console(stderr=True, highlight=False, markup=False, width=160)
STYLES = {logging.WARNING: "yellow", logging.ERROR: "red"}

BAR_AFTER_S = 1.0  # shorter work shows nothing
REFRESH_S = 0.25  # a bar that moves with every step costs 20-35 % of a small network's training
LOG_EVERY_S = 10.0


class ConsoleHandler(logging.Handler):
    """Print log records below the progress bars, each on one line whatever the terminal's width."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        stamp = time.strftime("%H:%M:%S", time.localtime(record.created))
        text = f"{stamp} {self.format(record)}"
        console.print(text, style=STYLES.get(record.levelno), soft_wrap=True)


class ProgressReport:
    """Progress of long work: a bar on a terminal, a log line every ten seconds elsewhere.

    Parameters
    ----------
    title
        What is being done.
    total, done
        Number of units of work, and how many were there at the start.
    enabled
        False: stay silent.
    """

    def __init__(self, title: str, total: int, done: int = 0, enabled: bool = True) -> None:
        self.title, self.total, self.done = title, total, done
        self.enabled, self._at_start = enabled, done
        self._start = self._refreshed = self._logged = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> ProgressReport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def advance(self, units: int, note: str = "") -> None:
        """Count units of work as done, and say something about them."""
        self.done += units
        now = time.monotonic()
        if not self.enabled or now - self._refreshed < REFRESH_S:
            return
        self._refreshed = now
        if console.is_terminal:
            self._show(note, now)
        elif now - self._logged >= LOG_EVERY_S:
            self._logged = now
            left = (now - self._start) / max(self.done - self._at_start, 1) * (self.total - self.done)
            said = f"{note}, " if note else ""
            log.info("%s: %d of %d, %sabout %.0f s left", self.title, self.done, self.total, said, left)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show(self, note: str, now: float) -> None:
        if self._bar is None and now - self._start >= BAR_AFTER_S:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, TextColumn("{task.fields[note]}"), console=console, transient=True)
            self._task = self._bar.add_task(self.title, total=self.total, completed=self.done, note=note)
            self._bar.start()
        elif self._bar is not None:
            self._bar.update(self._task, completed=self.done, note=note)


def set_up_logging() -> None:
    """Send the log of our own modules to the terminal, and silence what others repeat on every run."""
    logger = logging.getLogger("mergerexp")
    if not logger.handlers:
        logger.addHandler(ConsoleHandler())
        logger.setLevel(logging.INFO)
        logger.propagate = False
    warnings.filterwarnings("ignore", module=r"pytorch_lightning\..*|lightning_fabric\..*")
