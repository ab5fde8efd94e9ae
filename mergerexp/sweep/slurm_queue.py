"""The jobs of a sweep that are in Slurm's queue: ``squeue`` and ``scancel``."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergerexp.console import amount
from mergerexp.errors import UserError
from mergerexp.files import read_json, write_json
from mergerexp.runs.job_folder import FAILED, QUEUED, JobFolder
from mergerexp.sweep.slurm_commands import on_clusters, slurm_answer


@dataclass(frozen=True)
class Queue:
    """The jobs of some arrays that are in Slurm's queue.

    Attributes
    ----------
    states
        Slurm's state of each job, by its id, ``ARRAY_INDEX``.
    arrays
        The id of each array, by its name.
    """

    states: dict[str, str]
    arrays: dict[str, str]


def queue(folders: Sequence[JobFolder]) -> Queue | None:
    """Ask Slurm which jobs are in the queue, of the arrays that some jobs were submitted with.

    The arrays are asked for by name, since an id that Slurm has forgotten would be an error, and for all
    users, since a colleague may look at a shared sweep.

    Parameters
    ----------
    folders
        The folders of the jobs.

    Returns
    -------
    Queue or None
        None if Slurm does not answer.
    """
    names: dict[str | None, set[str]] = {}
    for known in submissions(folders).values():
        if "name" in known:
            names.setdefault(known.get("clusters"), set()).add(known["name"])
    queued = Queue({}, {})
    for clusters, arrays in names.items():
        selection = ("-n", ",".join(sorted(arrays)), "-o", "%i|%T|%j")
        answer = slurm_answer("squeue", *on_clusters(clusters), "-h", "-r", "-a", *selection)
        if answer is None:
            return None
        # If clusters are named, the answer has a line with the name of each.
        jobs = [line.split("|", 2) for line in answer.splitlines() if "|" in line]
        queued.states.update({job: state for job, state, _ in jobs})
        queued.arrays.update({name: job.partition("_")[0] for job, _, name in jobs})
    return queued


def require_queue(folders: Sequence[JobFolder]) -> Queue:
    """Ask Slurm as `queue` does, and insist on an answer.

    Raises
    ------
    UserError
        If Slurm does not answer.
    """
    queued = queue(folders)
    if queued is None:
        raise UserError("squeue does not answer, so nobody knows which jobs are under way; try again later")
    return queued


def refuse_jobs_in_slurm(folders: Sequence[JobFolder]) -> None:
    """Check that none of the jobs that are to be started on this machine is in Slurm's queue.

    Raises
    ------
    UserError
        If some jobs are in the queue, or might be, since Slurm does not answer.
    """
    ask = require_queue if shutil.which("squeue") else queue
    if queued := find_jobs(folders, ask(folders)):
        raise UserError(
            f"Slurm's queue has {amount(len(queued), 'run')} of this sweep: look after them with "
            "hydra/launcher=slurm, or cancel them with python -m mergerexp.status --cancel"
        )


def find_jobs(folders: Sequence[JobFolder], queued: Queue | None) -> dict[JobFolder, str]:
    """Return Slurm's states of the jobs that are in the queue, by their folders.

    A job that waits in a running task, for others that share it, is pending like one that waits for its task.
    """
    if queued is None:
        return {}
    states = {folder: queued.states[job] for folder, job in ids_in_queue(folders, queued).items()}
    for folder, known in submissions(states).items():
        if known.get("packed") and states[folder] == "RUNNING" and folder.status().get("state") == QUEUED:
            states[folder] = "PENDING"
    return states


def ids_in_queue(folders: Sequence[JobFolder], queued: Queue) -> dict[JobFolder, str]:
    """Return the ids of the jobs that are in the queue, by their folders."""
    return {folder: job for folder, job in job_ids(folders, queued).items() if job in queued.states}


def job_ids(folders: Sequence[JobFolder], queued: Queue | None = None) -> dict[JobFolder, str]:
    """Return the ids of the jobs that were submitted, by their folders.

    Parameters
    ----------
    folders
        The folders of the jobs.
    queued
        The queue. If the submitting process died before it could record the id of an array, the queue knows
        it by the name of the array.

    Returns
    -------
    dict
        An id is ``ARRAY_INDEX``, or ``ID`` for a task that was submitted alone. Several jobs may share it.
    """
    ids = {}
    for folder, known in submissions(folders, queued).items():
        if array := known.get("array"):
            is_array = len(known["tasks"]) > 1  # to Slurm, a single task is no array
            ids[folder] = f"{array}_{known['index']}" if is_array else array
    return ids


def submissions(folders: Iterable[JobFolder], queued: Queue | None = None) -> dict[JobFolder, dict[str, Any]]:
    """Return ``submission.json`` of each job that was submitted, along with the record of its array."""
    own = {folder: known for folder in folders if (known := _read(folder.submission))}
    records = {path: _record(Path(path), queued) for path in {known["record"] for known in own.values()}}
    return {folder: {**records[known["record"]], **known} for folder, known in own.items()}


def _record(path: Path, queued: Queue | None) -> dict[str, Any]:
    record = _read(path)
    if record and record["array"] is None and queued is not None and record["name"] in queued.arrays:
        record["array"] = queued.arrays[record["name"]]
        with contextlib.suppress(PermissionError):  # the sweep may be a colleague's
            write_json(path, record)
    return record


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file; nothing if there is no such file or it is damaged."""
    try:
        return dict(read_json(path))
    except (FileNotFoundError, ValueError):
        return {}


def by_clusters(ids: dict[JobFolder, str]) -> dict[str | None, dict[JobFolder, str]]:
    """Return jobs by the clusters that they were submitted to, since an id means another job elsewhere."""
    found: dict[str | None, dict[JobFolder, str]] = {}
    for folder, known in submissions(ids).items():
        found.setdefault(known.get("clusters"), {})[folder] = ids[folder]
    return found


def is_leaving(folder: JobFolder, in_queue: str) -> bool:
    """Tell whether a job in the queue is over and will leave it soon.

    A job that failed has written so before its process ended. If it is pending, the site has requeued it.

    Parameters
    ----------
    folder
        The folder of the job.
    in_queue
        Slurm's state of the job.
    """
    failed = folder.status().get("state") == FAILED and in_queue in ("RUNNING", "COMPLETING")
    return failed or is_cancelled(folder)


def without_failed_in_packs(in_queue: dict[JobFolder, str]) -> dict[JobFolder, str]:
    """Leave out failed jobs whose task is in the queue for the sake of others, and does not run them again.

    Parameters
    ----------
    in_queue
        Slurm's states of jobs, by their folders.
    """
    failed = [folder for folder in in_queue if folder.status().get("state") == FAILED]
    left = {folder for folder, known in submissions(failed).items() if known.get("packed")}
    return {folder: state for folder, state in in_queue.items() if folder not in left}


def is_cancelled(folder: JobFolder) -> bool:
    """Tell whether somebody has cancelled a job since it was last submitted."""
    return bool(_read(folder.submission).get("cancelled"))


def is_runnable(folder: JobFolder, job: str) -> bool:
    """Tell whether a job finds the file that says what it is to do.

    submitit names that file after the id of the job, and so writes it once ``sbatch`` has returned the id. It
    is missing if the submitting process died before that.
    """
    return (submitted_by(folder) / "slurm" / f"{job}_submitted.pkl").is_file()


def submitted_by(folder: JobFolder) -> Path:
    """Return the folder of the sweep that a job was last submitted with."""
    return Path(read_json(folder.submission)["record"]).parent


def cancel(folders: Sequence[JobFolder]) -> int:
    """Cancel the jobs that are in the queue.

    Parameters
    ----------
    folders
        The folders of the jobs.

    Returns
    -------
    int
        The number of jobs that were in the queue and not done, along with those that shared a task with them.

    Raises
    ------
    UserError
        If Slurm does not answer.
    """
    ids = ids_in_queue(folders, require_queue(folders))
    for clusters, jobs in by_clusters(ids).items():
        if slurm_answer("scancel", *on_clusters(clusters), *sorted(set(jobs.values()))) is None:
            raise UserError("scancel does not answer; try again")
    packed = {folder for folder, known in submissions(ids).items() if known.get("packed")}
    own = [folder for folder in ids if folder not in packed or not folder.is_over()]
    ended = own + [mate for mate in _with_mates(ids) if mate not in ids and not mate.is_over()]
    for folder in ended:
        # Not in status.json, which the job itself may be writing at this moment.
        write_json(folder.submission, {**read_json(folder.submission), "cancelled": True})
    return len(ended)


def _with_mates(folders: Iterable[JobFolder]) -> list[JobFolder]:
    """Return jobs and those that share a task with them, less what was submitted again since."""
    known = submissions(folders)
    found: dict[Path, JobFolder] = {folder.path: folder for folder in known}  # which may be folders of runs
    for each in known.values():
        for mate in (JobFolder(Path(path)) for path in each["tasks"][each["index"]]):
            if _read(mate.submission).get("record") == each["record"]:
                found.setdefault(mate.path, mate)
    return list(found.values())
