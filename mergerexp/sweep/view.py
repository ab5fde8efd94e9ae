"""Showing a sweep on the terminal as a live table, and elsewhere as log lines."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.live import Live
from rich.table import Table

from mergerexp.console import LOG_EVERY_S, console, duration, make_table
from mergerexp.runs.job_folder import DONE, FAILED, LOST, QUEUED, RUNNING, STOPPED
from mergerexp.sweep.progress import Forecast
from mergerexp.sweep.states import JobState, all_over, counts

log = logging.getLogger(__name__)
STYLES = {DONE: "green", RUNNING: "cyan", FAILED: "red", LOST: "red", STOPPED: "yellow", QUEUED: "dim"}
WATCH_EVERY_S = 2.0
PROGRESS_EVERY_S = 60.0  # between two log lines about a sweep whose jobs all go on
SHOWN = 4  # jobs whose epochs a log line tells
COLUMNS = ("run", "state", "job", "node", "epoch", "best acc.", "objects/s", "restarts", "time", "reason")
RIGHT = ("best acc.", "objects/s", "restarts", "time")  # columns of numbers
LEFT_OUT = (
    "node",
    "restarts",
    "job",
    "best acc.",
    "objects/s",
    "time",
    "epoch",
)  # in this order, where the room is short
FOLDED = {"run": 24, "reason": 20}  # columns that may be folded, to no less than so many characters
GAP = 2  # between two columns of `make_table`


def state_table(states: Sequence[JobState], title: str, forecast: Forecast, width: int) -> Table:
    """Return a table with a row for each job.

    Columns that are empty in all rows are left out. Where the room is short, others are too: what a run is,
    and why it is not done, has to be readable on any terminal, however long the names of nodes are.

    Parameters
    ----------
    states
        The states of the jobs.
    title
        The title of the table; the number of jobs in each state and the time that is left are added to it.
    forecast
        What says how long the sweep will still take.
    width
        The number of characters in a line.
    """
    rows = [dict(zip(COLUMNS, _cells(state), strict=True)) for state in states]
    widths = _widths(rows, width)
    table = make_table(f"{title}: {_summary(states, forecast)}")
    for name, wide in widths.items():
        justify: JustifyMethod = "right" if name in RIGHT else "left"
        table.add_column(name, justify=justify, no_wrap=name not in FOLDED, overflow="fold", width=wide)
    for state, row in zip(states, rows, strict=True):
        table.add_row(*(row[name] for name in widths), style=STYLES.get(state.state))
    return table


def _widths(rows: Sequence[Mapping[str, str]], width: int) -> dict[str, int]:
    """Return the columns of a table that is no wider than a line, with their widths."""
    full = {name: max([cell_len(row[name]) for row in rows], default=0) for name in COLUMNS}
    full = {name: max(n, len(name)) for name, n in full.items() if n or name in ("run", "state")}
    least = {name: min(n, FOLDED.get(name, n)) for name, n in full.items()}
    for name in LEFT_OUT:
        if _total(least) > width:
            least.pop(name, None)
    found = dict(least)
    for name in (name for name in FOLDED if name in found):  # the run first, which is read in every row
        found[name] = min(full[name], max(least[name], least[name] + width - _total(found)))
    return found


def _total(widths: Mapping[str, int]) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1)


def watch(
    console: Console,
    title: str,
    read_states: Callable[[], Sequence[JobState]],
    forecast: Forecast,
) -> Sequence[JobState]:
    """Keep a table up to date until every job is over or the user presses Ctrl-C.

    Parameters
    ----------
    console
        Where the table is shown.
    title
        The title of the table.
    read_states
        Returns the present states of the jobs.
    forecast
        What says how long the sweep will still take.

    Returns
    -------
    sequence of JobState
        The states that were shown last.
    """
    states = read_states()
    with contextlib.suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(state_table(states, title, forecast, console.width), refresh=True)
            if all_over(states):
                break
            time.sleep(WATCH_EVERY_S)
            states = read_states()
    return states


def failure_table(states: Sequence[JobState]) -> Table | None:
    """Return a table of the jobs that are not done, with the reasons; None if all are done."""
    rest = [state for state in states if state.state != DONE]
    if not rest:
        return None
    table = make_table(f"not done: {counts(rest)}")
    for column in ("run", "state", "job", "reason"):
        table.add_column(column, overflow="fold")
    for state in rest:
        table.add_row(state.label or state.name, state.state, state.job or "", state.error or "")
    return table


@contextlib.contextmanager
def view(title: str, forecast: Forecast) -> Iterator[Callable[[Sequence[JobState]], None]]:
    """Show the states of jobs while a sweep goes on, as a table on a terminal and elsewhere as log lines.

    Parameters
    ----------
    title
        The title of the table or the beginning of each log line.
    forecast
        What says how long the sweep will still take.

    Yields
    ------
    callable
        The function that brings what is shown up to date.
    """
    if not console.is_terminal:
        yield _Log(title, forecast).show
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:

        def show(states: Sequence[JobState]) -> None:
            # Running jobs come first, since the table of a long sweep is taller than the screen.
            ordered = sorted(states, key=lambda each: (each.state != RUNNING, each.state in (QUEUED, DONE)))
            live.update(state_table(ordered, title, forecast, console.width), refresh=True)

        yield show


class _Log:
    """Logs each failure once, and from time to time how many jobs are in each state and how far they are."""

    def __init__(self, title: str, forecast: Forecast) -> None:
        self.title, self.forecast = title, forecast
        self._counts, self._reported, self._logged = "", set[str](), -math.inf

    def show(self, states: Sequence[JobState]) -> None:
        for state in states:
            if state.state in (FAILED, LOST) and state.name not in self._reported:
                self._reported.add(state.name)
                log.error("%s %s: %s", state.label or state.name, state.state, state.error)
        now = time.monotonic()
        silence = now - self._logged
        is_news = counts(states) != self._counts
        is_over = is_news and all_over(states)
        if is_over or silence >= PROGRESS_EVERY_S or (is_news and silence >= LOG_EVERY_S):
            self._counts, self._logged = counts(states), now
            running = [state for state in states if state.state == RUNNING and _epoch(state)]
            far = [f"{state.label or state.name} at {_epoch(state)}" for state in running[:SHOWN]]
            log.info("%s: %s", self.title, "; ".join([_summary(states, self.forecast), *far]))


def _summary(states: Sequence[JobState], forecast: Forecast) -> str:
    return ", ".join(filter(None, [counts(states), forecast.left(states)]))


def _epoch(state: JobState) -> str:
    """Return the stage and epoch of a job, such as "finetune 13/50"; empty if it has not completed one."""
    if state.epoch is None:
        return ""
    return f"{state.stage} {state.epoch + 1}" + (f"/{state.epochs}" if state.epochs else "")


def _cells(state: JobState) -> tuple[str, ...]:
    accuracy = "" if state.best_accuracy is None else f"{state.best_accuracy:.3f}"
    minutes, seconds = divmod(round(state.seconds or 0), 60)
    took = "" if state.seconds is None else f"{minutes}:{seconds:02d}"
    reason = state.error or ""
    if state.silent_s is not None:
        reason = f"on {state.host}, silent for {duration(state.silent_s)}"
    return (
        state.label or state.name,
        state.state,
        state.job or "",
        state.node or "",
        _epoch(state),
        accuracy,
        "" if state.rate is None else f"{state.rate:.0f}",
        str(state.restarts or ""),
        took,
        reason if len(reason) <= 90 else f"{reason[:89]}…",
    )
