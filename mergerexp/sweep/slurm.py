"""Jobs on Slurm: submission through submitit, and what the queue and the accounting say of them.

No single source is trusted: the job writes its own state, ``squeue`` tells whether it is still there,
and ``sacct``, which some sites lack, why it is not. submitit's own waiting is not used: it relies on
``sacct`` alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import shlex
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergerexp.errors import UserError
from mergerexp.files import read_json, write_json
from mergerexp.sweep.job import Job
from mergerexp.sweep.job_folder import LOST, OVER, QUEUED, STOPPED, JobFolder
from mergerexp.sweep.options import SlurmOptions

log = logging.getLogger(__name__)

QUEUE_EVERY_S = 5.0  # a cluster's controller has others to answer too
GRACE_S = 10.0  # out of the queue without a last word for so long: the job is lost
ANSWER_S = 30  # for a Slurm command
# Not the run's fault: submitted again by whoever waits, where the site did not requeue.
SITE_ENDED_IT = ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "TIMEOUT", "REVOKED")


class Slurm:
    """The jobs of one sweep on a Slurm cluster.

    Parameters
    ----------
    options
        What ``hydra.launcher`` says.
    folder
        Of the sweep: batch scripts, logs and submitit's files go there.
    code
        Put first on the jobs' ``PYTHONPATH``.
    """

    interval_s = 1.0

    def __init__(self, options: SlurmOptions, folder: Path, code: Path | None) -> None:
        self.options, self.folder, self.code = options, folder, code
        self.waits = options.wait
        self._jobs: dict[Path, Job] = {}
        self._gone: dict[Path, float] = {}
        self._again: dict[Path, int] = {}
        self._asked = 0.0
        self._there: dict[Path, str] = {}

    def active(self, folders: Sequence[JobFolder]) -> set[Path]:
        """Return the folders whose jobs are in Slurm's queue already.

        Raises
        ------
        UserError
            If Slurm does not answer: then nobody knows.
        """
        submitted = [folder for folder in folders if folder.submission.is_file()]
        return set(find_jobs(submitted, surely_queue())) if submitted else set()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Submit all jobs as one array.

        Raises
        ------
        UserError
            If Slurm refuses; no job is left behind then.
        """
        self._jobs.update({Path(job.folder): job for job in jobs})
        number = len(list(self.folder.glob("array-*.json"))) + 1
        record = self.folder / f"array-{number:03d}.json"
        name = f"mergerexp-{self.folder.name}-{secrets.token_hex(3)}"  # nobody else's
        # Written before the jobs exist: if this process dies in between, the name finds the array again.
        write_json(record, {"name": name, "array": None, "jobs": [job.folder for job in jobs]})
        for index, job in enumerate(jobs):
            write_json(JobFolder(Path(job.folder)).submission, {"record": str(record), "index": index})
        try:
            array = self._sbatch(name, jobs)
        except UserError:  # only then is it sure that there is no array
            for job in jobs:
                JobFolder(Path(job.folder)).submission.unlink(missing_ok=True)
            record.unlink()
            raise
        write_json(record, {"name": name, "array": array, "jobs": [job.folder for job in jobs]})
        log.info("submitted %d jobs as Slurm array %s (%s)", len(jobs), array, name)

    def _sbatch(self, name: str, jobs: Sequence[Job]) -> str:
        import submitit

        o = self.options
        gres = {"gres": f"gpu:{o.gpu_type}:{o.gpus}" if o.gpu_type else f"gpu:{o.gpus}"} if o.gpus else {}
        named = {"partition": o.partition, "account": o.account, "qos": o.qos}
        code = []
        if self.code is not None:  # ahead of all else, the working directory included
            first = f"export PYTHONPATH={shlex.quote(str(self.code))}${{PYTHONPATH:+:$PYTHONPATH}}"
            code = [first, "export PYTHONSAFEPATH=1"]
        with outside_of_any_job():
            executor = submitit.SlurmExecutor(self.folder / "slurm", max_num_timeout=o.max_requeues)
            executor.update_parameters(
                job_name=name,
                time=o.timeout,
                mem=o.mem,
                cpus_per_task=o.cpus,
                array_parallelism=o.parallel,
                signal_delay_s=o.signal_lead,
                stderr_to_stdout=True,
                setup=[*o.setup, *code, f"export MERGEREXP_SIGNAL_LEAD={o.signal_lead}"],
                additional_parameters={
                    **{key: value for key, value in named.items() if value is not None},
                    **gres,
                    "requeue": True,
                    **o.extra,
                },
            )
            try:
                with executor.batch():  # one array
                    submitted = [executor.submit(job) for job in jobs]
            except submitit.core.utils.FailedJobError as error:
                raise UserError(f"Slurm refuses the jobs: {' '.join(str(error).split())}") from error
        return submitted[0].job_id.split("_")[0]

    def poll(self) -> None:
        """Look for jobs that have left the queue without a last word."""
        if time.monotonic() - self._asked < QUEUE_EVERY_S:
            return
        self._asked = time.monotonic()
        known = queue()
        if known is None:
            return  # the controller does not answer: nothing is known
        folders = [JobFolder(path) for path in self._jobs]
        self._there = there = find_jobs(folders, known)
        lost: list[JobFolder] = []
        for folder in folders:
            if folder.path in there or folder.status().get("state") in OVER or folder.is_held():
                self._gone.pop(folder.path, None)
            elif time.monotonic() - self._gone.setdefault(folder.path, time.monotonic()) >= GRACE_S:
                lost.append(folder)
        if lost:
            self._take_up(lost)

    def _take_up(self, lost: Sequence[JobFolder]) -> None:
        """Submit again what the site ended, and note the reason for the others."""
        reasons = accounting(lost)
        again = []
        for folder in lost:
            self._gone.pop(folder.path)
            if folder.status().get("state") in OVER:  # its last word came late
                continue
            reason = reasons.get(folder.path, "left the queue without a word")
            tries = self._again.get(folder.path, 0)
            by_site = reason.startswith(SITE_ENDED_IT) or folder.status().get("requeue_refused")
            if by_site and tries < self.options.max_requeues:
                self._again[folder.path] = tries + 1
                log.warning("%s: %s; submitted again", folder.name, reason)
                folder.set_state(QUEUED, error=None, requeue_refused=None)
                again.append(self._jobs[folder.path])
            else:
                state, error = verdict(folder, reason)
                folder.set_state(state, error=error)
        if not again:
            return
        try:
            self.submit(again)
        except UserError as error:
            for job in again:
                JobFolder(Path(job.folder)).set_state(LOST, error=str(error))

    def watch(self, jobs: Sequence[Job]) -> None:
        """Look after jobs that were submitted before."""
        self._jobs.update({Path(job.folder): job for job in jobs})

    def in_queue(self, folder: Path) -> str | None:
        """Return Slurm's state of a job, as of the last look at the queue."""
        return self._there.get(folder)

    def idle(self) -> bool:
        """Slurm cleans up by itself."""
        return True

    def interrupt(self) -> str:
        """Leave the jobs to Slurm; return what to tell the user."""
        return (
            "Detached: the jobs go on in Slurm. The same command looks at them again; "
            "so does python -m mergerexp.status"
        )


@dataclass(frozen=True)
class Queue:
    """The user's jobs in Slurm's queue.

    Attributes
    ----------
    states
        Job id, ``ARRAY_INDEX``, -> Slurm's state.
    arrays
        Job name -> array id.
    """

    states: dict[str, str]
    arrays: dict[str, str]


def queue() -> Queue | None:
    """Ask for the queue; None where Slurm does not answer."""
    listed = _slurm("squeue", "-h", "-r", "-a", "--me", "-o", "%i|%T|%j")
    if listed is None:
        return None
    jobs = [line.split("|", 2) for line in listed.splitlines()]
    return Queue(
        {job: state for job, state, _ in jobs}, {name: job.partition("_")[0] for job, _, name in jobs}
    )


def surely_queue() -> Queue:
    """Ask for the queue.

    Raises
    ------
    UserError
        If Slurm does not answer.
    """
    queued = queue()
    if queued is None:
        raise UserError("squeue does not answer, so nobody knows which jobs are under way; try again later")
    return queued


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
    records: dict[str, dict[str, Any]] = {}
    ids = {}
    for folder in folders:
        try:
            mine = read_json(folder.submission)
        except (FileNotFoundError, ValueError):  # never submitted, or a note that was cut off
            continue
        if mine["record"] not in records:
            records[mine["record"]] = _record(Path(mine["record"]), queued)
        record = records[mine["record"]]
        if record.get("array"):  # a single job is no array
            ids[folder.path] = record["array"] + (f"_{mine['index']}" if len(record["jobs"]) > 1 else "")
    return ids


def _record(path: Path, queued: Queue | None) -> dict[str, Any]:
    try:
        record: dict[str, Any] = read_json(path)
    except (FileNotFoundError, ValueError):
        return {}
    if record["array"] is None and queued is not None and record["name"] in queued.arrays:
        record["array"] = queued.arrays[record["name"]]
        write_json(path, record)
    return record


def accounting(folders: Sequence[JobFolder]) -> dict[Path, str]:
    """Return how jobs ended, as far as the site keeps accounts: state and exit code."""
    ids = job_ids(folders)
    if not ids:
        return {}
    arrays = ",".join(sorted({job.split("_")[0] for job in ids.values()}))
    listed = _slurm("sacct", "-X", "-n", "-P", "-j", arrays, "-o", "JobID,State,ExitCode")
    ended = {}
    for line in (listed or "").splitlines():
        job, state, code = line.split("|")
        ended[job] = f"{state} (exit code {code})"
    return {path: f"{ended[job]}{_last_word(path, job)}" for path, job in ids.items() if job in ended}


def verdict(folder: JobFolder, reason: str) -> tuple[str, str]:
    """Return the state of a job that has left the queue without a last word, and what to say of it."""
    if folder.status().get("cancelled") or reason.startswith("CANCELLED"):
        return STOPPED, "cancelled"
    return LOST, f"Slurm: {reason}"


def log_file(folder: JobFolder, job: str) -> Path:
    """Return where a job's output goes."""
    return Path(read_json(folder.submission)["record"]).parent / "slurm" / f"{job}_0_log.out"


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
    there = find_jobs(submitted, surely_queue()) if submitted else {}
    ids = {path: job for path, job in job_ids(folders).items() if path in there}
    if ids and _slurm("scancel", *ids.values()) is None:
        raise UserError("scancel does not answer; try again")
    for path in ids:
        folder = JobFolder(path)
        state = folder.status().get("state")
        # A running job may have a word to say yet: what becomes of it is seen when it has left the queue.
        folder.set_state(STOPPED if state == QUEUED else str(state), error="cancelled", cancelled=True)
    return len(ids)


def _slurm(*command: str) -> str | None:
    """Return what a Slurm command prints; None where it is missing, fails or does not answer."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


@contextmanager
def outside_of_any_job() -> Iterator[None]:
    """Hide the Slurm job that we may be in: sbatch would take its settings as ours."""
    hidden = {
        key: os.environ.pop(key)
        for key in list(os.environ)
        if key.startswith(("SLURM_", "SLURMD_", "SRUN_", "SBATCH_", "SUBMITIT_")) and key != "SLURM_CONF"
    }
    try:
        yield
    finally:
        os.environ.update(hidden)
