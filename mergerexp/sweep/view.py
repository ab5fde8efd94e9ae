"""Showing a sweep on the terminal as a live table, and elsewhere as log lines."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table

from mergerexp.console import LOG_EVERY_S, console
from mergerexp.runs.job_folder import DONE, FAILED, LOST, QUEUED, RUNNING, STOPPED
from mergerexp.sweep.states import JobState, all_over, counts

log = logging.getLogger(__name__)
STYLES = {DONE: "green", RUNNING: "cyan", FAILED: "red", LOST: "red", STOPPED: "yellow", QUEUED: "dim"}
WATCH_EVERY_S = 2.0
COLUMNS = ("run", "state", "job", "node", "epoch", "best acc.", "restarts", "time", "reason")


def state_table(states: Sequence[JobState], title: str) -> Table:
    """Return a table with a row for each job; columns that are empty in all rows are left out.

    Parameters
    ----------
    states
        The states of the jobs.
    title
        The title of the table; the number of jobs in each state is added to it.
    """
    rows = [_cells(state) for state in states]
    used = [i for i, name in enumerate(COLUMNS) if name in ("run", "state") or any(row[i] for row in rows)]
    table = Table(title=f"{title}: {counts(states)}", title_justify="left")
    for i in used:
        right = COLUMNS[i] in ("best acc.", "restarts", "time")
        table.add_column(COLUMNS[i], justify="right" if right else "left", overflow="fold")
    for state, row in zip(states, rows, strict=True):
        table.add_row(*(row[i] for i in used), style=STYLES.get(state.state))
    return table


def watch(console: Console, title: str, read_states: Callable[[], Sequence[JobState]]) -> Sequence[JobState]:
    """Keep a table up to date until every job is over or the user presses Ctrl-C.

    Parameters
    ----------
    console
        Where the table is shown.
    title
        The title of the table.
    read_states
        Returns the present states of the jobs.

    Returns
    -------
    sequence of JobState
        The states that were shown last.
    """
    states = read_states()
    with contextlib.suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(state_table(states, title), refresh=True)
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
    table = Table(title=f"not done: {counts(rest)}", title_justify="left")
    for column in ("run", "state", "job", "reason"):
        table.add_column(column, overflow="fold")
    for state in rest:
        table.add_row(state.label or state.name, state.state, state.job or "", state.error or "")
    return table


@contextlib.contextmanager
def view(title: str) -> Iterator[Callable[[Sequence[JobState]], None]]:
    """Show the states of jobs while a sweep goes on, as a table on a terminal and elsewhere as log lines.

    Parameters
    ----------
    title
        The title of the table or the beginning of each log line.

    Yields
    ------
    callable
        The function that brings what is shown up to date.
    """
    if not console.is_terminal:
        yield _Log(title).show
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:

        def show(states: Sequence[JobState]) -> None:
            # Running jobs come first, since the table of a long sweep is taller than the screen.
            ordered = sorted(states, key=lambda each: (each.state != RUNNING, each.state in (QUEUED, DONE)))
            live.update(state_table(ordered, title), refresh=True)

        yield show


class _Log:
    """Logs each failure once, and from time to time how many jobs are in each state."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._last_line, self._reported, self._next = "", set[str](), 0.0

    def show(self, states: Sequence[JobState]) -> None:
        for state in states:
            if state.state in (FAILED, LOST) and state.name not in self._reported:
                self._reported.add(state.name)
                log.error("%s %s: %s", state.label or state.name, state.state, state.error)
        line = counts(states)
        if line != self._last_line and time.monotonic() >= self._next:
            self._last_line, self._next = line, time.monotonic() + LOG_EVERY_S
            log.info("%s: %s", self.title, line)


def _cells(state: JobState) -> tuple[str, ...]:
    epoch = "" if state.epoch is None else f"{state.stage} {state.epoch + 1}"
    accuracy = "" if state.best_accuracy is None else f"{state.best_accuracy:.3f}"
    minutes, seconds = divmod(round(state.seconds or 0), 60)
    took = "" if state.seconds is None else f"{minutes}:{seconds:02d}"
    reason = state.error or ""
    return (
        state.label or state.name,
        state.state,
        state.job or "",
        state.node or "",
        epoch,
        accuracy,
        str(state.restarts or ""),
        took,
        reason if len(reason) <= 90 else f"{reason[:89]}…",
    )
