"""Jobs on Slurm: submission through submitit, and what the queue and the accounting say of them.

No single source is trusted: the job writes its own state, ``squeue`` tells whether it is still there,
and ``sacct``, which some sites lack, why it is not. submitit's own waiting is not used: it relies on
``sacct`` alone.
"""

from __future__ import annotations

import io
import logging
import os
import secrets
import shlex
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

from mergerexp.config.launcher import SlurmOptions
from mergerexp.errors import UserError
from mergerexp.files import write_json, write_text
from mergerexp.runs.job_folder import OVER, QUEUED, JobFolder
from mergerexp.runs.sweep_folder import SweepFolder
from mergerexp.sweep.job import Job
from mergerexp.sweep.slurm_queue import (
    ACCOUNTS_S,
    NO_FAULT,
    Reasons,
    accounting,
    can_run,
    cancel,
    cancel_array,
    ended_by_site,
    find_jobs,
    is_cancelled,
    is_leaving,
    job_ids,
    queue,
    submitted_by,
    surely_queue,
    verdict,
)

log = logging.getLogger(__name__)

# Since Slurm 22.05 srun does not take the job's --cpus-per-task for its own.
STEP = ["export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK"]
QUEUE_EVERY_S = 5.0  # a cluster's controller has others to answer too
LEAVE_S = 120.0  # for jobs that are over to be out of the queue
GRACE_S = 10.0  # out of the queue without a last word for so long: the job is lost
MOST_AGAIN = 1000  # submissions after what is not the run's doing
# The environment wins over the batch script: what that says must not be said there too.
IN_SCRIPT = {
    "JOB_NAME",
    "ARRAY_INX",
    "TIMELIMIT",
    "SIGNAL",
    "OUTPUT",
    "ERROR",
    "OPEN_MODE",
    "NO_REQUEUE",
    "WAIT",
}
IN_SCRIPT |= {"MEM_PER_NODE", "MEM_PER_CPU", "MEM_PER_GPU"}
# Not of a job but of the site.
SITE = {"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_CLUSTERS"}


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
        self._again: Counter[tuple[Path, bool]] = Counter()
        self._asked = 0.0
        self._there: dict[Path, str] = {}

    def active(self, folders: Sequence[JobFolder]) -> set[Path]:
        """Return the folders whose jobs are in Slurm's queue already.

        Jobs that are about to leave it, cancelled or failed, are waited for, so that they can be submitted
        anew, and so are those that can't run because the process that submitted them died in the midst of
        it: these are cancelled.

        Raises
        ------
        UserError
            If Slurm does not answer: then nobody knows. If such jobs stay in the queue.
        """
        submitted = [folder for folder in folders if folder.submission.is_file()]
        if orphans := self._orphans(submitted):
            log.warning("%d jobs were submitted by halves; they are cancelled", len(orphans))
            cancel(orphans)
        end = time.monotonic() + LEAVE_S
        while True:
            there = find_jobs(submitted, surely_queue(submitted))
            leaving = sum(is_leaving(folder, there.get(folder.path)) for folder in submitted)
            if not leaving:
                return set(there)
            if time.monotonic() >= end:
                raise UserError(f"{leaving} jobs that are over are still in Slurm's queue; try again later")
            log.info("%d jobs that are over are about to leave Slurm's queue", leaving)
            time.sleep(QUEUE_EVERY_S)

    def _orphans(self, submitted: Sequence[JobFolder]) -> list[JobFolder]:
        queued = surely_queue(submitted)
        ids = {path: job for path, job in job_ids(submitted, queued).items() if job in queued.states}
        found = [
            folder for folder in submitted if folder.path in ids and not can_run(folder, ids[folder.path])
        ]
        # Those of another sweep that is looked after are just being submitted.
        return [
            folder
            for folder in found
            if (sweep := submitted_by(folder)) == self.folder or not SweepFolder(sweep).is_looked_after()
        ]

    def submit(self, jobs: Sequence[Job]) -> None:
        """Submit all jobs as one array.

        Raises
        ------
        UserError
            If Slurm refuses; no job is left behind then.
        """
        self._jobs.update({Path(job.folder): job for job in jobs})
        numbers = [int(path.stem.removeprefix("array-")) for path in self.folder.glob("array-*.json")]
        number = max(numbers, default=0) + 1
        record = self.folder / f"array-{number:03d}.json"
        name = f"mergerexp-{self.folder.name}-{secrets.token_hex(3)}"  # nobody else's
        clusters = self._clusters()
        about = {"name": name, "clusters": clusters, "jobs": [job.folder for job in jobs]}
        # Written before the jobs exist: if this process dies in between, the name finds the array again.
        write_json(record, {**about, "array": None})
        notes = [JobFolder(Path(job.folder)).submission for job in jobs]
        before = [note.read_text(encoding="utf-8") if note.is_file() else None for note in notes]
        for index, note in enumerate(notes):
            write_json(note, {"record": str(record), "index": index})
        try:
            array = self._sbatch(name, jobs)
        except UserError:
            cancel_array(name, clusters)  # Slurm may have taken it, and its answer not arrived
            for note, earlier in zip(notes, before, strict=True):
                if earlier is None:
                    note.unlink()
                else:
                    write_text(note, earlier)
            record.unlink()
            raise
        write_json(record, {**about, "array": array})
        log.info("submitted %d jobs as Slurm array %s (%s)", len(jobs), array, name)

    def _clusters(self) -> str | None:
        """Return which of a site's clusters sbatch will take, where somebody says so."""
        with outside_of_any_job():
            said = os.environ.get("SBATCH_CLUSTERS") or os.environ.get("SLURM_CLUSTERS")
        said = (self.options.extra or {}).get("clusters", said)
        return str(said) if said else None

    def _sbatch(self, name: str, jobs: Sequence[Job]) -> str:
        import submitit

        o = self.options
        code = []
        if self.code is not None:  # ahead of all else, the working directory included
            first = f"export PYTHONPATH={shlex.quote(str(self.code))}${{PYTHONPATH:+:$PYTHONPATH}}"
            # Compiled code would be no part of the copy, and nobody would compare it.
            code = [first, "export PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1"]
        more = o.for_sbatch()
        with outside_of_any_job(IN_SCRIPT | {key.upper() for key in more}):
            executor = submitit.SlurmExecutor(self.folder / "slurm", max_num_timeout=o.max_requeues)
            executor.update_parameters(
                job_name=name,
                time=o.timeout,
                mem=o.mem,
                cpus_per_task=o.cpus,
                array_parallelism=o.parallel,
                signal_delay_s=o.signal_lead,
                stderr_to_stdout=True,
                setup=[*o.setup, *code, *STEP, f"export MERGEREXP_SIGNAL_LEAD={o.signal_lead}"],
                additional_parameters=more,
            )
            try:  # submitit prints the refusal that it raises
                with redirect_stderr(io.StringIO()), executor.batch():  # one array
                    submitted = [executor.submit(job) for job in jobs]
            except submitit.core.utils.FailedJobError as error:
                raise UserError(f"Slurm refuses the jobs: {' '.join(str(error).split())}") from error
        return submitted[0].job_id.split("_")[0]

    def poll(self) -> None:
        """Look for jobs that have left the queue without a last word."""
        if time.monotonic() - self._asked < QUEUE_EVERY_S:
            return
        self._asked = time.monotonic()
        folders = [JobFolder(path) for path in self._jobs]
        known = queue(folders)
        if known is None:
            return  # the controller does not answer: nothing is known
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
            if folder.status().get("state") in OVER:  # its last word came late
                continue
            reason = reasons.get(folder.path)
            sure = reason is not None or folder.status().get("requeue_refused") or is_cancelled(folder)
            if not sure and time.monotonic() - self._gone[folder.path] < ACCOUNTS_S:
                continue  # the accounts may lag behind: they are asked again
            self._gone.pop(folder.path)
            if ended_by_site(folder, reason) and self._may_try_again(folder, reason):
                again.append(folder)
            else:
                state, error = verdict(folder, reason)
                folder.set_state(state, error=error)
        if again:
            self._submit_again(again, reasons)

    def _may_try_again(self, folder: JobFolder, reason: str | None) -> bool:
        """Count the tries, apart from those after what is no doing of the run's."""
        no_fault = (reason or "").startswith(NO_FAULT)
        kind = (folder.path, no_fault)
        self._again[kind] += 1
        return self._again[kind] <= (MOST_AGAIN if no_fault else self.options.max_requeues)

    def _submit_again(self, folders: Sequence[JobFolder], reasons: Reasons) -> None:
        before = [folder.status() for folder in folders]
        for folder, status in zip(folders, before, strict=True):
            why = reasons.get(folder.path) or status.get("error")
            log.warning("%s: %s; submitted again", folder.name, why)
            folder.set_state(QUEUED, error=None, requeue_refused=None)
        try:
            self.submit([self._jobs[folder.path] for folder in folders])
        except UserError as error:
            log.warning("%s; tried again", error)  # they are found out of the queue once more
            for folder, status in zip(folders, before, strict=True):
                folder.restore(status)

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


@contextmanager
def outside_of_any_job(in_script: Collection[str] = ()) -> Iterator[None]:
    """Hide the Slurm job that we may be in: sbatch would take its settings as ours.

    Outside of any job, a user's own ``SBATCH_ACCOUNT`` and the like count, but for what the script says.

    Parameters
    ----------
    in_script
        Names of variables, without ``SBATCH_``, that have no say.
    """
    jobs = ("SLURM_", "SLURMD_", "SRUN_", "SBATCH_", "SUBMITIT_")
    prefixes = jobs if "SLURM_JOB_ID" in os.environ else ("SUBMITIT_",)
    hidden = {
        key: os.environ.pop(key)
        for key in list(os.environ)
        if (key.startswith(prefixes) and key not in SITE)
        or (key.startswith("SBATCH_") and key.removeprefix("SBATCH_") in in_script)
    }
    try:
        yield
    finally:
        os.environ.update(hidden)
