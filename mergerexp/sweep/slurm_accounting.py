"""How the jobs of a sweep ended, by Slurm's accounting, where a site has it, and by their logs."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from mergerexp.runs.job_folder import LOST, STOPPED, JobFolder
from mergerexp.sweep.job import HELD
from mergerexp.sweep.slurm_commands import on_clusters, slurm_answer
from mergerexp.sweep.slurm_queue import by_clusters, is_cancelled, job_ids, submissions, submitted_by

# Jobs that ended like this through no fault of their own are submitted again, if the site has not requeued
# them. With the exit code HELD, the job could not have its lock, since a network file system may keep the
# lock of a node that died for some time.
NO_FAULT = ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL", f"FAILED (exit code {HELD}:")
TIMEOUT = "TIMEOUT"
ACCOUNTING_DELAY_S = 60.0  # the accounting may learn of the end of a job so much later
# In these states by the accounting, a job is not over. If it is not in the queue, the accounting is late.
NOT_OVER = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "RESIZING")
Reasons = dict[JobFolder, str | None]  # how jobs ended by the accounting, by their folders; None if not over


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
    for clusters, jobs in by_clusters(ids).items():
        arrays = ",".join(sorted({job.split("_")[0] for job in jobs.values()}))
        chosen = ("-a", "-X", "-n", "-P", "-j", arrays, "-o", "JobID,State,ExitCode")
        ask = ("sacct", *on_clusters(clusters), *chosen)
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


def log_path(folder: JobFolder, job: str) -> Path:
    """Return the file that the output of a job of Slurm goes to."""
    return submitted_by(folder) / "slurm" / f"{job}_0_log.out"


def _logs(folder: JobFolder, job: str) -> list[Path]:
    """Return the files that have a job's output, of which the second is its own if it shares a task."""
    return [log_path(folder, job), *([folder.log] if submissions([folder])[folder].get("packed") else [])]


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
