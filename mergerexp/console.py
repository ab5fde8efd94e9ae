"""The terminal: one console on standard error for progress, log and tables."""

from __future__ import annotations

import logging
import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

console = Console(stderr=True, highlight=False)
if not console.is_terminal:
    console = Console(stderr=True, highlight=False, width=160)  # a log file: tables need no room to spare
STYLES = {logging.WARNING: "yellow", logging.ERROR: "red"}


class ConsoleHandler(logging.Handler):
    """Print log records below the progress bars, each on one line whatever the terminal's width."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        stamp = time.strftime("%H:%M:%S", time.localtime(record.created))
        text = f"{stamp} {self.format(record)}"
        console.print(text, style=STYLES.get(record.levelno), soft_wrap=True, markup=False)


def progress_bar(enabled: bool = True) -> Progress:
    """Return a progress display with count, rate-limited refresh, elapsed and remaining time."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        refresh_per_second=4,
        disable=not enabled or not console.is_terminal,
    )
