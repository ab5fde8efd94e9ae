"""The states of the jobs of a sweep, from what they wrote themselves and what Slurm knows of them."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mergerexp.runs.job_folder import DONE, FAILED, LOST, OVER, QUEUED, RUNNING, STOPPED, JobFolder
from mergerexp.sweep import slurm_accounting, slurm_queue

FROM_STATUS = (
    "node",
    "stage",
    "epoch",
    "epochs",
    "is_last_stage",
    "best_accuracy",
    "rate",
    "restarts",
    "error",
)
ORDER = (RUNNING, QUEUED, STOPPED, FAILED, LOST, DONE, "new")


@dataclass(frozen=True)
class JobState:
    """The state of a job, and how far it has come.

    Attributes
    ----------
    name
        The name of its folder.
    label
        What distinguishes it from the other jobs of the sweep.
    state
        One of queued, running, stopped, done, failed, lost (its process ended without writing a state) and
        new (it was never started).
    job, node
        Its id in Slurm, and the node that it runs on.
    stage, epoch, best_accuracy
        The stage and the epoch (from 0) of the training, and the best validation accuracy so far.
    epochs, is_last_stage
        The largest number of epochs in this stage, and whether the training ends with it.
    rate
        The objects that it rates in a second, of a survey's shard.
    restarts
        How often it was resumed after a stop.
    seconds
        The time that it has trained for, in all attempts together.
    error
        Why it is not done.
    host, silent_s
        If it runs on another machine, and neither Slurm nor a lock tells whether it still does: the name of
        that machine, and the time since it last wrote its status. The machine may also be this one under
        another name.
    """

    name: str
    label: str
    state: str
    job: str | None = None
    node: str | None = None
    stage: str | None = None
    epoch: int | None = None
    epochs: int | None = None
    is_last_stage: bool | None = None
    best_accuracy: float | None = None
    rate: float | None = None
    restarts: int | None = None
    seconds: float | None = None
    error: str | None = None
    host: str | None = None
    silent_s: float | None = None


def job_state(folder: JobFolder, label: str, job: str | None = None, in_queue: str | None = None) -> JobState:
    """Return the state of a job by its folder and Slurm's queue.

    Parameters
    ----------
    folder
        The folder of the job.
    label
        What distinguishes it from the other jobs of the sweep.
    job
        Its id in Slurm, if it has one.
    in_queue
        Its state in Slurm's queue; None if it is not there.
    """
    status = folder.status()
    state = status.get("state", "new")
    if in_queue is not None and state not in (DONE, FAILED):
        # A job that is requeued may have written that it stopped.
        state = QUEUED if in_queue in ("PENDING", "REQUEUED", "REQUEUE_HOLD") else RUNNING
    seconds = status.get("seconds")
    if state == RUNNING and "job_started" in status:
        seconds = (seconds or 0.0) + max(0.0, time.time() - status.get("updated", 0.0))
    known = {key: status.get(key) for key in FROM_STATUS}
    return JobState(folder.name, label, state, job or status.get("job"), seconds=seconds, **known)


def collect(folders: Sequence[JobFolder], labels: Sequence[str], looked_after: bool = True) -> list[JobState]:
    """Return the states of jobs; a job that neither Slurm nor a process of this machine works on is lost.

    Parameters
    ----------
    folders, labels
        The folders of the jobs, and what distinguishes each from the others.
    looked_after
        Whether a process is there that starts waiting jobs and submits jobs again.
    """
    # The queue is asked first, since a job writes its final state before it leaves the queue.
    queued = slurm_queue.queue(folders)
    in_queue, ids = slurm_queue.find_jobs(folders, queued), slurm_queue.job_ids(folders)
    states = {
        folder: job_state(folder, label, ids.get(folder), in_queue.get(folder))
        for folder, label in zip(folders, labels, strict=True)
    }
    unclear = [
        folder
        for folder, state in states.items()
        if state.state in (QUEUED, RUNNING, "new") and folder not in in_queue and not folder.is_held()
    ]
    reasons = slurm_accounting.accounting(unclear)
    for folder in unclear:
        state = states[folder]
        if folder in ids:
            reason = reasons.get(folder)
            if queued is None or (reason is None and not folder.is_ours()):
                continue  # Slurm does not answer, or hides the jobs of others: what the job wrote is believed
            if looked_after and slurm_accounting.ended_by_site(folder, reason):
                states[folder] = replace(state, state=QUEUED)  # it will be submitted again
                continue
            if reason is None and not slurm_queue.is_cancelled(folder):
                silence_s = time.time() - slurm_accounting.last_activity(folder, ids[folder])
                if silence_s < slurm_accounting.ACCOUNTING_DELAY_S or folder in reasons:
                    continue  # the accounting is late
            final, error = slurm_accounting.final_state(folder, reason)
        elif not folder.is_ours() or folder.status().get("host", platform.node()) != platform.node():
            if state.state == RUNNING:  # its process can't be seen from here, so what it wrote is believed
                states[folder] = _unseen(state, folder.status())
            continue
        elif state.state in (QUEUED, "new"):
            if looked_after:
                continue  # it waits to be started
            final, error = STOPPED, "was waiting for its turn when the sweep was stopped"
        else:
            final, error = LOST, "its process is gone"
        states[folder] = replace(state, state=final, error=error)
    return list(states.values())


def _unseen(state: JobState, status: Mapping[str, Any]) -> JobState:
    """Return the state of a job as of when it last wrote its status, and say how long ago that was."""
    silent_s = max(0.0, time.time() - status.get("updated", 0.0))
    return replace(state, seconds=status.get("seconds"), host=status.get("host"), silent_s=round(silent_s))


def counts(states: Sequence[JobState]) -> str:
    """Return the number of jobs in each state as text, such as "2 running, 13 done"."""
    number = Counter(state.state for state in states)
    return ", ".join(f"{number[name]} {name}" for name in ORDER if number[name])


def all_over(states: Sequence[JobState]) -> bool:
    """Tell whether no job will change its state unless somebody starts it again."""
    return all(state.state in OVER for state in states)
