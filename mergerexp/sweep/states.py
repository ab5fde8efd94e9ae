"""What every job of a sweep is doing, from what it wrote itself and what Slurm says."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mergerexp.runs.job_folder import DONE, FAILED, LOST, OVER, QUEUED, RUNNING, STOPPED, JobFolder
from mergerexp.sweep import slurm_queue

ORDER = (RUNNING, QUEUED, STOPPED, FAILED, LOST, DONE, "new")


@dataclass(frozen=True)
class JobState:
    """How a job stands.

    Attributes
    ----------
    name
        Of its folder.
    label
        What tells it apart within the sweep.
    state
        queued, running, stopped, done, failed, lost, or new: never started.
    job, node
        Slurm's id and node.
    stage, epoch, best_accuracy
        How far training has come, and the best validation accuracy so far.
    restarts
        How often it has gone on after a stop.
    seconds
        Training time over all attempts.
    error
        Why it is not done.
    """

    name: str
    label: str
    state: str
    job: str | None = None
    node: str | None = None
    stage: str | None = None
    epoch: int | None = None
    best_accuracy: float | None = None
    restarts: int | None = None
    seconds: float | None = None
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        return asdict(self)


def job_state(folder: JobFolder, label: str, job: str | None = None, in_queue: str | None = None) -> JobState:
    """Return how a job stands.

    Parameters
    ----------
    folder
        Where the job writes its own word.
    label
        What tells it apart.
    job
        Its id in Slurm.
    in_queue
        Its state in Slurm's queue; None where it is not there, or not on Slurm.
    """
    status = folder.status()
    state = status.get("state", "new")
    if in_queue is not None and state not in (DONE, FAILED):
        # About to be requeued, or requeued, it may have said that it stopped.
        state = QUEUED if in_queue in ("PENDING", "REQUEUED", "REQUEUE_HOLD") else RUNNING
    seconds = status.get("seconds")
    if state == RUNNING and "job_started" in status:
        seconds = (seconds or 0.0) + max(0.0, time.time() - status.get("updated", 0.0))
    known = {key: status.get(key) for key in ("node", "stage", "epoch", "best_accuracy", "restarts", "error")}
    return JobState(folder.name, label, state, job or status.get("job"), seconds=seconds, **known)


def collect(folders: Sequence[JobFolder], labels: Sequence[str], looked_after: bool = True) -> list[JobState]:
    """Return how jobs stand; those that neither Slurm nor a process of this machine knows are lost.

    Parameters
    ----------
    folders, labels
        The jobs, and what to call them.
    looked_after
        False: no process is there that would start those in line.
    """
    on_slurm = [folder for folder in folders if folder.submission.is_file()]
    queued = slurm_queue.queue(on_slurm)  # asked first: a job writes its last word before it leaves
    there, ids = slurm_queue.find_jobs(on_slurm, queued), slurm_queue.job_ids(on_slurm)
    states = [
        job_state(folder, label, ids.get(folder.path), there.get(folder.path))
        for folder, label in zip(folders, labels, strict=True)
    ]
    unclear = [
        i
        for i, (folder, state) in enumerate(zip(folders, states, strict=True))
        if state.state in (QUEUED, RUNNING, "new") and folder.path not in there and not folder.is_held()
    ]
    reasons = slurm_queue.accounting([folders[i] for i in unclear if folders[i].path in ids])
    for i in unclear:
        folder, state = folders[i], states[i]
        if folder.path in ids:
            told = reasons.get(folder.path)
            if queued is None or (told is None and not folder.is_ours()):
                continue  # Slurm is silent, or keeps others' jobs from us: believe what the job wrote
            if looked_after and slurm_queue.ended_by_site(folder, told):
                states[i] = replace(state, state=QUEUED)  # about to be submitted again
                continue
            if told is None and not slurm_queue.is_cancelled(folder):
                fresh = time.time() - slurm_queue.last_sign(folder, ids[folder.path]) < slurm_queue.ACCOUNTS_S
                if fresh or folder.path in reasons:
                    continue  # the accounts lag behind
            verdict, reason = slurm_queue.verdict(folder, told)
        elif not folder.is_ours() or folder.status().get("host", platform.node()) != platform.node():
            continue  # whether it is at work can't be told from here: believe what it wrote
        elif state.state in (QUEUED, "new"):
            if looked_after:
                continue  # in line
            verdict, reason = STOPPED, "not started"
        else:
            verdict, reason = LOST, "its process is gone"
        states[i] = replace(state, state=verdict, error=reason)
    return states


def counts(states: Sequence[JobState]) -> str:
    """Return the number of jobs in each state, in words."""
    number = Counter(state.state for state in states)
    return ", ".join(f"{number[name]} {name}" for name in ORDER if number[name])


def all_over(states: Sequence[JobState]) -> bool:
    """Tell whether nothing will happen any more."""
    return all(state.state in OVER for state in states)
