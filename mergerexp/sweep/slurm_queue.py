"""What Slurm says of the jobs that a sweep has submitted: ``squeue``, and where a site has it ``sacct``."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergerexp.errors import UserError
from mergerexp.files import read_json, write_json
from mergerexp.runs.job_folder import FAILED, LOST, STOPPED, JobFolder
from mergerexp.sweep.job import HELD

ANSWER_S = 30  # for a Slurm command
# What users set for their own looking around: a filter or another format would hide our jobs from us.
TASTES = ("SQUEUE_", "SACCT_", "SCANCEL_", "SLURM_TIME_FORMAT")
# Submitted again by whoever looks after them, where the site has not requeued them. HELD is the job's own
# word: the lock of a node that died may outlast it (a network file system's lease).
NO_FAULT = ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL", f"FAILED (exit code {HELD}:")
TIMEOUT = "TIMEOUT"
ACCOUNTS_S = 60.0  # the accounts may know only so much later that a job has ended
# Of a job that is out of the queue, the accounts say this while they lag behind.
NOT_OVER = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "RESIZING")
Reasons = dict[Path, str | None]  # how jobs ended; None: not at all yet


@dataclass(frozen=True)
class Queue:
    """Those jobs of ours that are in Slurm's queue.

    Attributes
    ----------
    states
        Job id, ``ARRAY_INDEX``, -> Slurm's state.
    arrays
        Job name -> array id.
    """

    states: dict[str, str]
    arrays: dict[str, str]


def queue(folders: Sequence[JobFolder]) -> Queue | None:
    """Ask which of the arrays that jobs were submitted with are in the queue; None where Slurm is silent.

    They are asked for by name, whoever submitted them: a colleague may look at a shared sweep, and a single
    id that Slurm has forgotten would be an error.
    """
    names: dict[str | None, set[str]] = {}
    for record in filter(None, _records(folders).values()):
        names.setdefault(record.get("clusters"), set()).add(record["name"])
    queued = Queue({}, {})
    for clusters, own in names.items():
        wanted = ("-n", ",".join(sorted(own)), "-o", "%i|%T|%j")
        listed = _slurm("squeue", *_on(clusters), "-h", "-r", "-a", *wanted)
        if listed is None:
            return None
        # Where clusters are named, a line names each.
        jobs = [line.split("|", 2) for line in listed.splitlines() if "|" in line]
        queued.states.update({job: state for job, state, _ in jobs})
        queued.arrays.update({name: job.partition("_")[0] for job, _, name in jobs})
    return queued


def surely_queue(folders: Sequence[JobFolder]) -> Queue:
    """Ask as `queue` does.

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
    """Refuse to start jobs on this machine that are in Slurm's queue.

    Raises
    ------
    UserError
        If some are, or might be since Slurm does not answer.
    """
    submitted = [folder for folder in folders if folder.submission.is_file()]
    look = surely_queue if shutil.which("squeue") else queue
    if queued := find_jobs(submitted, look(submitted)):
        raise UserError(
            f"{len(queued)} runs are in Slurm's queue: look after them with hydra/launcher=slurm, or cancel "
            "them with python -m mergerexp.status --cancel"
        )


def find_jobs(folders: Sequence[JobFolder], queued: Queue | None) -> dict[Path, str]:
    """Return the Slurm state of those jobs that are in the queue."""
    if queued is None:
        return {}
    found = {}
    for path, job in job_ids(folders, queued).items():
        if job in queued.states:
            found[path] = queued.states[job]
    return found


def job_ids(folders: Sequence[JobFolder], queued: Queue | None = None) -> dict[Path, str]:
    """Return the ids of the jobs that were submitted, ``ARRAY_INDEX``, or ``ID`` for a single one.

    Where the submitting process died before it could note the array's id, the queue knows it by name.
    """
    records, ids = _records(folders, queued), {}
    for folder in folders:
        mine = _submission(folder)
        record = records[mine["record"]] if mine else {}
        if record.get("array"):  # a single job is no array
            ids[folder.path] = record["array"] + (f"_{mine['index']}" if len(record["jobs"]) > 1 else "")
    return ids


def _records(folders: Sequence[JobFolder], queued: Queue | None = None) -> dict[str, dict[str, Any]]:
    """Return the records of the arrays that jobs were submitted with, by their files' names."""
    paths = {mine["record"] for folder in folders if (mine := _submission(folder))}
    return {path: _record(Path(path), queued) for path in paths}


def _submission(folder: JobFolder) -> dict[str, Any]:
    try:
        return dict(read_json(folder.submission))
    except (FileNotFoundError, ValueError):  # never submitted, or a note that was cut off
        return {}


def _record(path: Path, queued: Queue | None) -> dict[str, Any]:
    try:
        record: dict[str, Any] = read_json(path)
    except (FileNotFoundError, ValueError):
        return {}
    if record["array"] is None and queued is not None and record["name"] in queued.arrays:
        record["array"] = queued.arrays[record["name"]]
        with contextlib.suppress(PermissionError):  # a colleague is looking
            write_json(path, record)
    return record


def accounting(folders: Sequence[JobFolder]) -> Reasons:
    """Return how jobs ended, as far as the site keeps accounts: state and exit code.

    None for those that are not over by the accounts, which may lag behind.
    """
    ids = job_ids(folders)
    told: Reasons = {}
    for clusters, own in _by_clusters(ids).items():
        arrays = ",".join(sorted({job.split("_")[0] for job in own.values()}))
        ask = ("sacct", *_on(clusters), "-a", "-X", "-n", "-P", "-j", arrays, "-o", "JobID,State,ExitCode")
        for line in (_slurm(*ask) or "").splitlines():
            job, state, code = [*line.split("|"), "", ""][:3]
            ended = None if state.startswith(NOT_OVER) else f"{state} (exit code {code})"
            tasks = set(_tasks(job))
            told.update({path: ended for path, mine in own.items() if mine in tasks})
    return {path: reason and f"{reason}{_last_word(path, ids[path])}" for path, reason in told.items()}


def _tasks(job: str) -> list[str]:
    """Return the ids that a line of accounts is about: of tasks that never ran it says 4711_[1-3,7%8]."""
    array, bracket, inside = job.partition("_[")
    if not bracket:
        return [job]
    spans = re.findall(r"(\d+)(?:-(\d+))?(?::(\d+))?", inside.partition("%")[0])
    return [
        f"{array}_{task}"
        for first, last, step in spans
        for task in range(int(first), int(last or first) + 1, int(step or 1))
    ]


def _by_clusters(ids: dict[Path, str]) -> dict[str | None, dict[Path, str]]:
    """Return jobs by the clusters that they were submitted to: elsewhere an id is another job's."""
    found: dict[str | None, dict[Path, str]] = {}
    records = _records([JobFolder(path) for path in ids])
    for path, job in ids.items():
        record = records[_submission(JobFolder(path))["record"]]
        found.setdefault(record.get("clusters"), {})[path] = job
    return found


def _on(clusters: str | None) -> tuple[str, ...]:
    """Return the option that names clusters; sacct, unlike the others, does not know SLURM_CLUSTERS."""
    return () if clusters is None else ("-M", clusters)


def verdict(folder: JobFolder, reason: str | None) -> tuple[str, str]:
    """Return the state of a job that has left the queue without a last word, and what to say of it.

    Parameters
    ----------
    folder
        Where the job writes its own word.
    reason
        What the accounts say; None where they say nothing.
    """
    if is_cancelled(folder) or (reason or "").startswith("CANCELLED"):
        return STOPPED, "cancelled"
    status = folder.status()
    if status.get("requeue_refused"):
        return LOST, str(status["error"])
    if reason is None:
        job = job_ids([folder]).get(folder.path)
        reason = f"left the queue, the accounts do not say why{_last_word(folder.path, job) if job else ''}"
    return LOST, f"Slurm: {reason}"


def ended_by_site(folder: JobFolder, reason: str | None) -> bool:
    """Tell whether a job that has left the queue is to be submitted again by whoever looks after it."""
    if is_cancelled(folder):
        return False
    by_site = (reason or "").startswith((*NO_FAULT, TIMEOUT))
    return by_site or bool(folder.status().get("requeue_refused"))


def last_sign(folder: JobFolder, job: str) -> float:
    """Return when a job last said or printed something, in seconds since 1970."""
    written = float(folder.status().get("updated", 0.0))
    with contextlib.suppress(OSError):
        written = max(written, log_file(folder, job).stat().st_mtime)
    return written


def is_leaving(folder: JobFolder, in_queue: str | None) -> bool:
    """Tell whether a job that is in the queue is over, and will leave it soon.

    A job that has failed says so itself, before its process ends; if it is pending again the site has
    requeued it.
    """
    if in_queue is None:
        return False
    failed = folder.status().get("state") == FAILED and in_queue in ("RUNNING", "COMPLETING")
    return failed or is_cancelled(folder)


def is_cancelled(folder: JobFolder) -> bool:
    """Tell whether somebody has cancelled the job since it was last submitted."""
    return bool(_submission(folder).get("cancelled"))


def can_run(folder: JobFolder, job: str) -> bool:
    """Tell whether a job finds what it is to do.

    submitit writes that under the job's id, which it knows from ``sbatch``: not if it died in there.
    """
    return (submitted_by(folder) / "slurm" / f"{job}_submitted.pkl").is_file()


def log_file(folder: JobFolder, job: str) -> Path:
    """Return where a job's output goes."""
    return submitted_by(folder) / "slurm" / f"{job}_0_log.out"


def submitted_by(folder: JobFolder) -> Path:
    """Return the folder of the sweep that the job was last submitted with."""
    return Path(read_json(folder.submission)["record"]).parent


def _last_word(path: Path, job: str) -> str:
    """Return what the end of a job's log adds to the accounts.

    Without cgroups those do not know that a job was killed for its memory.
    """
    with contextlib.suppress(OSError), log_file(JobFolder(path), job).open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 4000))
        lines = file.read().decode(errors="replace").splitlines()
        if any(re.search(r"exceeded (job )?memory|oom.kill", line, re.IGNORECASE) for line in lines):
            return ", killed for memory: see hydra.launcher.mem"
        said = [
            line
            for line in lines
            if line.strip() and not line.startswith(("srun:", "slurmstepd", "submitit"))
        ]
        return f", its last word: {said[-1].strip()[:200]}" if said else ""
    return ""


def cancel(folders: Sequence[JobFolder]) -> int:
    """Cancel the jobs that are in the queue; return how many there were.

    Raises
    ------
    UserError
        If Slurm does not answer.
    """
    submitted = [folder for folder in folders if folder.submission.is_file()]
    queued = surely_queue(submitted)
    ids = {path: job for path, job in job_ids(submitted, queued).items() if job in queued.states}
    for clusters, own in _by_clusters(ids).items():
        if _slurm("scancel", *_on(clusters), *own.values()) is None:
            raise UserError("scancel does not answer; try again")
    for path in ids:
        # Noted where the job itself writes nothing: it may be saying its last word right now.
        note = JobFolder(path).submission
        write_json(note, {**read_json(note), "cancelled": True})
    return len(ids)


def cancel_array(name: str, clusters: str | None) -> None:
    """Cancel what there may be of an array that Slurm has not confirmed."""
    _slurm("scancel", *_on(clusters), "--name", name)


def _slurm(*command: str) -> str | None:
    """Return what a Slurm command prints; None where it is missing, fails or does not answer."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(TASTES)}
    environment["SLURM_BITSTR_LEN"] = "0"  # lists of array tasks in full
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=ANSWER_S)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None
