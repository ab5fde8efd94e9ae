"""Asking Slurm about the jobs of a sweep: ``squeue``, ``scancel`` and, where a site has it, ``sacct``."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergerexp.console import amount
from mergerexp.errors import UserError
from mergerexp.files import read_json, write_json
from mergerexp.runs.job_folder import FAILED, LOST, STOPPED, JobFolder
from mergerexp.sweep.job import HELD
from mergerexp.sweep.slurm_commands import on_clusters, slurm_answer

# Jobs that ended like this through no fault of their own are submitted again, if the site has not requeued
# them. With the exit code HELD, the job could not have its lock, since a network file system may keep the
# lock of a node that died for some time.
NO_FAULT = ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL", f"FAILED (exit code {HELD}:")
TIMEOUT = "TIMEOUT"
ACCOUNTING_DELAY_S = 60.0  # the accounting may learn of the end of a job so much later
# In these states by the accounting, a job is not over. If it is not in the queue, the accounting is late.
NOT_OVER = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "RESIZING")
Reasons = dict[JobFolder, str | None]  # how jobs ended by the accounting, by their folders; None if not over


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
    for known in _submissions(folders).values():
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
    """Return Slurm's states of the jobs that are in the queue, by their folders."""
    if queued is None:
        return {}
    return {folder: queued.states[job] for folder, job in ids_in_queue(folders, queued).items()}


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
    for folder, known in _submissions(folders, queued).items():
        if array := known.get("array"):
            is_array = len(known["tasks"]) > 1  # to Slurm, a single task is no array
            ids[folder] = f"{array}_{known['index']}" if is_array else array
    return ids


def _submissions(
    folders: Iterable[JobFolder], queued: Queue | None = None
) -> dict[JobFolder, dict[str, Any]]:
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


def accounting(folders: Sequence[JobFolder]) -> Reasons:
    """Return how jobs ended: state and exit code by the accounting, and what the end of the log adds.

    Parameters
    ----------
    folders
        The folders of the jobs.

    Returns
    -------
    dict
        The reason of each job that the accounting knows, by its folder; None for a job that is not over by
        the accounting, which may be late.
    """
    ids = job_ids(folders)
    ends: Reasons = {}
    for clusters, jobs in _by_clusters(ids).items():
        arrays = ",".join(sorted({job.split("_")[0] for job in jobs.values()}))
        ask = (
            "sacct",
            *on_clusters(clusters),
            "-a",
            "-X",
            "-n",
            "-P",
            "-j",
            arrays,
            "-o",
            "JobID,State,ExitCode",
        )
        for line in (slurm_answer(*ask) or "").splitlines():
            job, state, code = [*line.split("|"), "", ""][:3]
            end = None if state.startswith(NOT_OVER) else f"{state} (exit code {code})"
            tasks = set(_tasks(job))
            ends.update({folder: end for folder, job in jobs.items() if job in tasks})
    return {
        folder: reason and f"{reason}{_end_of_log(folder, ids[folder])}" for folder, reason in ends.items()
    }


def _tasks(job: str) -> list[str]:
    """Return the job ids that a line of sacct is about; tasks that never ran share one, as 4711_[1-3,7%8]."""
    array, bracket, inside = job.partition("_[")
    if not bracket:
        return [job]
    spans = re.findall(r"(\d+)(?:-(\d+))?(?::(\d+))?", inside.partition("%")[0])
    return [
        f"{array}_{task}"
        for first, last, step in spans
        for task in range(int(first), int(last or first) + 1, int(step or 1))
    ]


def _by_clusters(ids: dict[JobFolder, str]) -> dict[str | None, dict[JobFolder, str]]:
    """Return jobs by the clusters that they were submitted to, since an id means another job elsewhere."""
    found: dict[str | None, dict[JobFolder, str]] = {}
    for folder, known in _submissions(ids).items():
        found.setdefault(known.get("clusters"), {})[folder] = ids[folder]
    return found


def final_state(folder: JobFolder, reason: str | None) -> tuple[str, str]:
    """Return the state of a job that left the queue without writing one, and the reason for the user.

    Parameters
    ----------
    folder
        The folder of the job.
    reason
        How it ended by the accounting; None if that is not known.

    Returns
    -------
    tuple
        The state, stopped or lost, and the reason.
    """
    if is_cancelled(folder) or (reason or "").startswith("CANCELLED"):
        return STOPPED, "cancelled"
    status = folder.status()
    if status.get("requeue_refused"):
        return LOST, str(status["error"])
    if reason is None:
        job = job_ids([folder]).get(folder)
        log = _end_of_log(folder, job) if job else ""
        reason = f"the job left the queue, and the accounting does not say why{log}"
    return LOST, f"Slurm: {reason}"


def ended_by_site(folder: JobFolder, reason: str | None) -> bool:
    """Tell whether the site ended a job, which then is to be submitted again by whoever looks after it.

    Parameters
    ----------
    folder
        The folder of a job that left the queue without writing a final state.
    reason
        How it ended by the accounting; None if that is not known.
    """
    if is_cancelled(folder):
        return False
    by_site = (reason or "").startswith((*NO_FAULT, TIMEOUT))
    return by_site or bool(folder.status().get("requeue_refused"))


def last_activity(folder: JobFolder, job: str) -> float:
    """Return when a job last wrote its state or printed something, in seconds since 1970."""
    written = [float(folder.status().get("updated", 0.0))]
    for log in _logs(folder, job):
        with contextlib.suppress(OSError):
            written.append(log.stat().st_mtime)
    return max(written)


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
    left = {folder for folder, known in _submissions(failed).items() if known.get("packed")}
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


def log_path(folder: JobFolder, job: str) -> Path:
    """Return the file that the output of a job of Slurm goes to."""
    return submitted_by(folder) / "slurm" / f"{job}_0_log.out"


def _logs(folder: JobFolder, job: str) -> list[Path]:
    """Return the files that have a job's output, of which the second is its own if it shares a task."""
    return [log_path(folder, job), *([folder.log] if _submissions([folder])[folder].get("packed") else [])]


def submitted_by(folder: JobFolder) -> Path:
    """Return the folder of the sweep that a job was last submitted with."""
    return Path(read_json(folder.submission)["record"]).parent


def _end_of_log(folder: JobFolder, job: str) -> str:
    """Return what the end of the log of a job adds to the accounting, as the end of a sentence.

    Without cgroups, the accounting does not know that a job was killed for its memory.
    """
    lines = list[str]()
    for log in _logs(folder, job):
        with contextlib.suppress(OSError), log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4000))
            lines += file.read().decode(errors="replace").splitlines()
    if any(re.search(r"exceeded (job )?memory|oom.kill", line, re.IGNORECASE) for line in lines):
        return ", killed for memory: see hydra.launcher.mem"
    others = ("srun:", "slurmstepd", "submitit")
    own_lines = [line.strip() for line in lines if line.strip() and not line.startswith(others)]
    return f"; its log ends with: {own_lines[-1][:200]}" if own_lines else ""


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
    for clusters, jobs in _by_clusters(ids).items():
        if slurm_answer("scancel", *on_clusters(clusters), *sorted(set(jobs.values()))) is None:
            raise UserError("scancel does not answer; try again")
    packed = {folder for folder, known in _submissions(ids).items() if known.get("packed")}
    own = [folder for folder in ids if folder not in packed or not folder.is_over()]
    ended = own + [mate for mate in _with_mates(ids) if mate not in ids and not mate.is_over()]
    for folder in ended:
        # Not in status.json, which the job itself may be writing at this moment.
        write_json(folder.submission, {**read_json(folder.submission), "cancelled": True})
    return len(ended)


def _with_mates(folders: Iterable[JobFolder]) -> list[JobFolder]:
    """Return jobs and those that share a task with them, less what was submitted again since."""
    found: dict[JobFolder, None] = {}
    for folder, known in _submissions(folders).items():
        found[folder] = None
        for mate in (JobFolder(Path(path)) for path in known["tasks"][known["index"]]):
            if _read(mate.submission).get("record") == known["record"]:
                found[mate] = None
    return list(found)
