"""Log lines and progress reports on the terminal, which go to standard error."""

from __future__ import annotations

import logging
import time
import warnings
from types import TracebackType
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from mergerexp.errors import visible, visible_lines

log = logging.getLogger(__name__)


class _VisibleConsole(Console):
    """A console that shows every text, those in tables included, by `mergerexp.errors.visible_lines`."""

    @property
    def is_terminal(self) -> bool:
        """Whether it writes to a terminal, also where Jupyter sets FORCE_COLOR for what it starts."""
        try:
            return super().is_terminal and self.file.isatty()
        except ValueError:  # the file is closed
            return False

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible_lines(text), **options)


def make_console(stderr: bool = True) -> Console:
    """Return a console that shows names with [brackets] as they are, and control characters escaped.

    In a file or a pipe its tables may be wider than a terminal that does not say its width.
    """
    options: dict[str, Any] = {"stderr": stderr, "highlight": False, "markup": False}
    found = _VisibleConsole(**options)
    return found if found.is_terminal else _VisibleConsole(**options, width=160)


console = make_console()
STYLES = {logging.WARNING: "yellow", logging.ERROR: "red"}

INDENT = " " * len("00:00:00 ")  # of further lines, so that no name can pretend to be a log line

BAR_AFTER_S = 1.0  # for work that takes less time, no bar is shown
REFRESH_S = 0.25  # a bar that moves with every step makes the training of a small network 20-35 % slower
LOG_EVERY_S = 10.0  # between two log lines about the same work


class ConsoleHandler(logging.Handler):
    """Prints log records above the progress bars, each on one line whatever the width of the terminal is."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record with the time of day."""
        stamp = time.strftime("%H:%M:%S", time.localtime(record.created))
        text = f"{stamp} {self.format(record)}".replace("\n", f"\n{INDENT}")
        console.print(text, style=STYLES.get(record.levelno), soft_wrap=True)


class ProgressReport:
    """Shows the progress of long work: as a bar on a terminal, elsewhere as a log line every ten seconds.

    Parameters
    ----------
    title
        What is being done.
    total
        The number of units of work.
    done
        The number of units that were done before.
    enabled
        Whether anything is shown.
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
        """Count units of work as done.

        Parameters
        ----------
        units
            Their number.
        note
            What is shown beside the progress.
        """
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
            prefix = f"{note}, " if note else ""
            log.info(
                "%s: %d of %d, %sabout %s left", self.title, self.done, self.total, prefix, duration(left)
            )

    def close(self) -> None:
        """Remove the bar from the terminal."""
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


def amount(number: int, noun: str) -> str:
    """Return a number with its noun, which gets a plural s unless the number is one."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def make_table(title: str, caption: str | None = None) -> Table:
    """Return a table without vertical lines, so that those of a sweep fit 80 columns."""
    return Table(
        title=title,
        caption=caption,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def duration(seconds: float) -> str:
    """Return a time as text with one unit or two, such as "40 s", "25 min" or "3 h 10 min"."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{max(10, round(seconds, -1)):.0f} s"
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{round(hours / 24)} days"
    return " ".join([f"{hours} h"] * (hours > 0) + [f"{minutes} min"] * (minutes > 0))


def set_up_logging() -> None:
    """Send the log of our own modules to the terminal, and suppress Lightning's repeated warnings."""
    logger = logging.getLogger("mergerexp")
    if not logger.handlers:
        logger.addHandler(ConsoleHandler())
        logger.setLevel(logging.INFO)
        logger.propagate = False
    warnings.formatwarning = _format_warning
    warnings.filterwarnings("ignore", module=r"pytorch_lightning\..*|lightning_fabric\..*")


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Return a warning of another package as one line, in which control characters are escaped."""
    text = f"{category.__name__}: {' '.join(str(message).split())} ({filename}:{lineno})"
    return f"{visible(text)}\n"
