"""How long a sweep will still take, by its finished jobs and by how far the others have come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mergerexp.console import duration
from mergerexp.runs.job_folder import DONE, QUEUED, RUNNING
from mergerexp.sweep.states import JobState


class Forecast:
    """Says how long a sweep will still take, again and again while it goes on.

    A job takes as long as the finished jobs have taken, in proportion to its cost. Before the first one is
    done, it is taken to train for all its epochs, which is the longest that it may take.

    Parameters
    ----------
    costs
        How long each job takes in comparison with the others, by its name; 1 for those that are left out.
    at_once
        The number of jobs that run at once; None for the largest number that was seen to.
    """

    def __init__(self, costs: Mapping[str, float], at_once: int | None = None) -> None:
        self.costs, self.at_once = costs, at_once or 0

    def left(self, states: Sequence[JobState]) -> str:
        """Return how long the jobs that are running or queued will still take, as text.

        Parameters
        ----------
        states
            The present states of the jobs, including those that are done.

        Returns
        -------
        str
            For example "about 25 min left"; empty if nothing runs or waits, or nothing is known yet.
        """
        running = [state for state in states if state.state == RUNNING]
        self.at_once = max(self.at_once, len(running))
        whole = {state.name: state.seconds for state in states if state.state == DONE and state.seconds}
        bound = "about" if whole else "at most"
        if not whole:
            whole = {state.name: longest for state in running if (longest := _longest(state))}
        if not self.at_once or not whole:
            return ""
        per_cost = sum(whole.values()) / sum(self.costs.get(name, 1.0) for name in whole)
        left = [
            max(0.0, self.costs.get(state.name, 1.0) * per_cost - (state.seconds or 0.0))
            for state in states
            if state.state in (RUNNING, QUEUED)
        ]
        return f"{bound} {duration(max(max(left), sum(left) / self.at_once))} left" if left else ""


def _longest(state: JobState) -> float | None:
    """Return the seconds that a job takes if it trains for all its epochs; None if that is not known yet."""
    if state.epoch is None or state.epochs is None or not state.is_last_stage or not state.seconds:
        return None
    return state.seconds * state.epochs / (state.epoch + 1)
