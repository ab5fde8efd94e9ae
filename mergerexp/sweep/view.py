"""Showing a sweep on the terminal as a live table, and elsewhere as log lines."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence

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
COLUMNS = ("run", "state", "job", "node", "epoch", "best acc.", "restarts", "time", "reason")


def state_table(states: Sequence[JobState], title: str, forecast: Forecast) -> Table:
    """Return a table with a row for each job; columns that are empty in all rows are left out.

    Parameters
    ----------
    states
        The states of the jobs.
    title
        The title of the table; the number of jobs in each state and the time that is left are added to it.
    forecast
        What says how long the sweep will still take.
    """
    rows = [_cells(state) for state in states]
    used = [i for i, name in enumerate(COLUMNS) if name in ("run", "state") or any(row[i] for row in rows)]
    table = make_table(f"{title}: {_summary(states, forecast)}")
    for i in used:
        right, is_long = COLUMNS[i] in ("best acc.", "restarts", "time"), COLUMNS[i] in ("run", "reason")
        justify: JustifyMethod = "right" if right else "left"
        table.add_column(COLUMNS[i], justify=justify, no_wrap=not is_long, overflow="fold")
    for state, row in zip(states, rows, strict=True):
        table.add_row(*(row[i] for i in used), style=STYLES.get(state.state))
    return table


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
            live.update(state_table(states, title, forecast), refresh=True)
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
            live.update(state_table(ordered, title, forecast), refresh=True)

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
        str(state.restarts or ""),
        took,
        reason if len(reason) <= 90 else f"{reason[:89]}…",
    )
