"""Jobs on Slurm: their submission through submitit, and what becomes of them.

No single source is trusted. The job itself writes its state, ``squeue`` tells whether it is still in the
queue, and ``sacct``, which some sites lack, why it is not. How submitit waits for jobs is not used, since it
relies on ``sacct`` alone.
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

from mergerexp.config.commands import status_command
from mergerexp.config.launcher import SlurmOptions
from mergerexp.console import amount
from mergerexp.environment import environment
from mergerexp.errors import UserError
from mergerexp.files import restored_on_error, write_json
from mergerexp.runs.job_folder import QUEUED, JobFolder
from mergerexp.runs.sweep_folder import SweepFolder
from mergerexp.sweep import slurm_accounting, slurm_commands, slurm_queue
from mergerexp.sweep.arrays import Array, records, shared_limits, submitted_arrays, task_of
from mergerexp.sweep.job import Job
from mergerexp.sweep.pack import Pack

log = logging.getLogger(__name__)

# Since Slurm 22.05, srun does not inherit the --cpus-per-task of the job.
STEP = ["export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK"]
QUEUE_EVERY_S = 5.0  # between two calls of squeue, since the controller serves the whole cluster
LEAVE_S = 120.0  # for jobs that are over to leave the queue
GRACE_S = 10.0  # a job that left the queue has so long to write its final state
MAX_RESUBMISSIONS = 1000  # of a job that ended through no fault of its own
# sbatch prefers SBATCH_ variables to what the batch script says. These say something that the script says.
IN_SCRIPT = {"JOB_NAME", "ARRAY_INX", "TIMELIMIT", "SIGNAL", "NO_REQUEUE", "WAIT"}
IN_SCRIPT |= {"OUTPUT", "ERROR", "OPEN_MODE", "MEM_PER_NODE", "MEM_PER_CPU", "MEM_PER_GPU"}
# These variables describe the site, not a job.
SITE = {"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_CLUSTERS"}


class Slurm:
    """Runs the jobs of one sweep on a Slurm cluster.

    Parameters
    ----------
    options
        The options of the launcher.
    folder
        The folder of the sweep. Batch scripts, logs and the files of submitit are written there.
    code
        The copy of the code that the jobs run; it comes first on their ``PYTHONPATH``. None for the installed
        code.
    """

    interval_s = 1.0

    def __init__(self, options: SlurmOptions, folder: Path, code: Path | None) -> None:
        self.options, self.folder, self.code = options, folder, code
        self.waits = options.wait
        self._jobs: dict[JobFolder, Job] = {}
        self._left_at: dict[JobFolder, float] = {}  # when jobs were first not found in the queue
        self._submissions: Counter[tuple[JobFolder, bool]] = Counter()
        self._arrays = submitted_arrays(folder)
        self._asked = 0.0  # when the queue was last asked
        self._states: dict[JobFolder, str] = {}  # Slurm's states of the jobs in the queue

    def active(self, folders: Sequence[JobFolder]) -> set[JobFolder]:
        """Return the folders whose jobs are in Slurm's queue already.

        Jobs that can't run, because the process that submitted them died before it was done, are cancelled.
        These, and other jobs that were cancelled or have failed but are still in the queue, are waited for
        until they have left it, so that they can be submitted anew.

        Raises
        ------
        UserError
            If Slurm does not answer, or if jobs that are over stay in the queue.
        """
        if incomplete := self._incomplete_submissions(folders):
            number, verb = amount(len(incomplete), "job"), "is" if len(incomplete) == 1 else "are"
            log.warning("the submission of %s was interrupted: it %s cancelled", number, verb)
            slurm_queue.cancel(incomplete)
        end = time.monotonic() + LEAVE_S
        while True:
            there = slurm_queue.find_jobs(folders, slurm_queue.require_queue(folders))
            there = slurm_queue.without_failed_in_packs(there)
            leaving = sum(slurm_queue.is_leaving(folder, state) for folder, state in there.items())
            if not leaving:
                return set(there)
            jobs = f"{amount(leaving, 'job')} that {'is' if leaving == 1 else 'are'} over"
            if time.monotonic() >= end:
                raise UserError(f"Slurm's queue still has {jobs}; try again later")
            log.info("waiting for %s to leave Slurm's queue", jobs)
            time.sleep(QUEUE_EVERY_S)

    def _incomplete_submissions(self, folders: Sequence[JobFolder]) -> list[JobFolder]:
        """Return the jobs in the queue that can't run, since the process that submitted them died."""
        ids = slurm_queue.ids_in_queue(folders, slurm_queue.require_queue(folders))
        found = [folder for folder, job in ids.items() if not slurm_queue.is_runnable(folder, job)]
        sweeps = [SweepFolder(slurm_queue.submitted_by(folder)) for folder in found]
        # The jobs of another sweep that is looked after are being submitted at this moment.
        return [
            folder
            for folder, sweep in zip(found, sweeps, strict=True)
            if sweep.path == self.folder or not sweep.is_held()
        ]

    def submit(self, jobs: Sequence[Job]) -> None:
        """Submit all jobs, as one array or as few arrays as the site's limit of their size allows.

        Raises
        ------
        UserError
            If Slurm refuses the jobs, or they need more arrays than jobs may run at once. Then none of them
            is left in the queue.
        """
        self.watch(jobs)
        size, parallel = slurm_commands.max_array_size(self._clusters()), self.options.parallel
        together = self.options.runs_per_job
        tasks = [jobs[start : start + together] for start in range(0, len(jobs), together)]
        parts = [tasks[start : start + size] for start in range(0, len(tasks), size)]
        if len(parts) > parallel:
            raise UserError(
                f"hydra.launcher.parallel={parallel}: an array has at most {amount(size, 'job')} here, and "
                f"each of the {len(parts)} arrays runs one job at least; use {len(parts)} or more"
            )
        again = {job.folder for job in jobs}
        for known in self._arrays:
            known.forget(again)
        new = self._new_arrays([[[job.folder for job in task] for task in part] for part in parts])
        files = [array.record for array in new] + [job.folder.submission for job in jobs]
        with restored_on_error(files):
            try:
                for array, part in zip(new, parts, strict=True):
                    self._submit_array(array, part)
            except (UserError, OSError):
                for array in new:  # Slurm may have accepted one although no answer arrived
                    if array.record.is_file():
                        slurm_commands.cancel_array(array.name, array.clusters)
                raise
        self._arrays += new

    def _new_arrays(self, parts: Sequence[list[list[JobFolder]]]) -> list[Array]:
        """Return arrays that have a name and a limit, but are not submitted yet."""
        known = [int(path.stem.removeprefix("array-")) for path in records(self.folder)]
        first = max(known, default=0) + 1
        new = [
            Array(
                self.folder / f"array-{number:03d}.json",
                f"mergerexp-{self.folder.name}-{secrets.token_hex(3)}",
                self._clusters(),
                part,
            )
            for number, part in enumerate(parts, first)
        ]
        for array, limit in zip(new, self._limits([*self._arrays, *new])[-len(new) :], strict=True):
            array.limit = limit
        return new

    def _submit_array(self, array: Array, tasks: Sequence[Sequence[Job]]) -> None:
        paths = [[job.path for job in task] for task in tasks]
        about = {"name": array.name, "clusters": array.clusters, "limit": array.limit, "array": None}
        # This is written before the jobs exist: the array is found by its name if this process dies.
        write_json(array.record, {**about, "packed": self.options.runs_per_job > 1, "tasks": paths})
        for index, task in enumerate(tasks):
            for job in task:
                write_json(job.folder.submission, {"record": str(array.record), "index": index})
        array.id = self._sbatch(array, tasks)
        array.note(array=array.id)
        number, most = amount(sum(map(len, tasks)), "job"), max(map(len, tasks))
        packed = f", up to {most} in a task," if most > 1 else ""
        log.info("submitted %s%s as Slurm array %s (%s)", number, packed, array.id, array.name)

    def _limits(self, arrays: Sequence[Array]) -> list[int]:
        """Return how many tasks of each array may run, beside jobs that another sweep has submitted."""
        ours = {folder for array in arrays for folder in array.folders}
        alive = [folder for folder in self._jobs.keys() - ours if not folder.is_over()]
        elsewhere = len({task_of(folder) for folder in alive})
        return shared_limits(arrays, self.options.parallel - elsewhere)

    def _raise_limits(self) -> None:
        """Let more jobs of an array run at once, if those of other arrays have ended."""
        most = self.options.parallel
        if all(array.limit >= min(most, sum(map(bool, array.tasks))) for array in self._arrays):
            return  # without a look at the jobs, which are many files
        for array, limit in zip(self._arrays, self._limits(self._arrays), strict=True):
            if limit <= array.limit or array.id is None:
                continue
            if slurm_commands.limit_array(array.id, array.clusters, limit):  # else it is tried again
                array.limit = limit
                array.note(limit=limit)

    def _clusters(self) -> str | None:
        """Return the clusters that the user lets sbatch choose from; None for the one of this machine."""
        with outside_of_any_job():
            clusters = os.environ.get("SBATCH_CLUSTERS") or os.environ.get("SLURM_CLUSTERS")
        clusters = (self.options.extra or {}).get("clusters", clusters)
        return str(clusters) if clusters else None

    def _sbatch(self, array: Array, tasks: Sequence[Sequence[Job]]) -> str:
        import submitit

        options = self.options
        most = max(map(len, tasks))
        code = []
        if self.code is not None:  # the copy comes first, also before the working directory
            first = f"export PYTHONPATH={shlex.quote(str(self.code))}${{PYTHONPATH:+:$PYTHONPATH}}"
            # Compiled modules would be no part of the copy, so nobody would check them.
            code = [first, "export PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1"]
        setup = [*options.setup, *code, *STEP, f"export MERGEREXP_SIGNAL_LEAD={options.signal_lead}"]
        more = options.for_sbatch()
        try:
            with outside_of_any_job(IN_SCRIPT | {key.upper() for key in more}):
                executor = submitit.SlurmExecutor(self.folder / "slurm", max_num_timeout=options.max_requeues)
                executor.update_parameters(
                    job_name=array.name,
                    time=options.timeout,
                    mem=options.memory(most),
                    cpus_per_task=options.cpus * most,
                    array_parallelism=array.limit,
                    signal_delay_s=options.signal_lead,
                    stderr_to_stdout=True,
                    setup=setup,
                    additional_parameters=more,
                )
                # Submitit also prints the refusal that it raises.
                with redirect_stderr(io.StringIO()), executor.batch():
                    submitted = [executor.submit(self._function(array, task, most)) for task in tasks]
        except RuntimeError as error:  # of submitit: sbatch refuses, its answer is none, or there is no srun
            size = f"{amount(options.cpus * most, 'core')} and {options.memory(most)}"
            keys = "hydra.launcher.cpus and mem are those of one"
            hint = f" (each asks for {size}, for {amount(most, 'run')}; {keys})" if most > 1 else ""
            raise UserError(f"Slurm refuses the jobs: {' '.join(str(error).split())}{hint}") from error
        return submitted[0].job_id.split("_")[0]

    def _function(self, array: Array, task: Sequence[Job], most: int) -> Job | Pack:
        """Return what a task calls: its job itself, or what runs its jobs side by side."""
        if self.options.runs_per_job == 1:
            return task[0]
        return Pack(task, array.record, most, measured=isinstance(self.options.runs_per_gpu, str))

    def poll(self) -> None:
        """Find jobs that left the queue without writing a final state."""
        if time.monotonic() - self._asked < QUEUE_EVERY_S:
            return
        self._asked = time.monotonic()
        folders = list(self._jobs)
        known = slurm_queue.queue(folders)
        if known is None:
            return  # the controller does not answer, so nothing is known
        self._states = slurm_queue.find_jobs(folders, known)
        vanished: list[JobFolder] = []
        for folder in folders:
            if folder in self._states or folder.is_over() or folder.is_held():
                self._left_at.pop(folder, None)
            elif time.monotonic() - self._left_at.setdefault(folder, time.monotonic()) >= GRACE_S:
                vanished.append(folder)
        self._resubmit_or_end(vanished)
        self._raise_limits()

    def _resubmit_or_end(self, vanished: Sequence[JobFolder]) -> None:
        """Submit the jobs that the site ended again, and write the final state of the others."""
        reasons = slurm_accounting.accounting(vanished)
        again = []
        for folder in vanished:
            if folder.is_over():  # the job wrote its final state meanwhile
                continue
            reason = reasons.get(folder)
            refused = folder.status().get("requeue_refused")
            sure = reason is not None or refused or slurm_queue.is_cancelled(folder)
            if not sure and time.monotonic() - self._left_at[folder] < slurm_accounting.ACCOUNTING_DELAY_S:
                continue  # the accounting may be late, so it is asked again
            self._left_at.pop(folder)
            if slurm_accounting.ended_by_site(folder, reason) and self._may_submit_again(folder, reason):
                again.append(folder)
            else:
                state, error = slurm_accounting.final_state(folder, reason)
                folder.set_state(state, error=error)
        if again:
            self._submit_again(again, reasons)

    def _may_submit_again(self, folder: JobFolder, reason: str | None) -> bool:
        """Count another submission of a job, and tell whether the limit for its reason allows it."""
        no_fault = (reason or "").startswith(slurm_accounting.NO_FAULT)
        kind = (folder, no_fault)
        self._submissions[kind] += 1
        return self._submissions[kind] <= (MAX_RESUBMISSIONS if no_fault else self.options.max_requeues)

    def _submit_again(self, folders: Sequence[JobFolder], reasons: slurm_accounting.Reasons) -> None:
        try:
            with restored_on_error(folder.status_file for folder in folders):
                for folder in folders:
                    reason = reasons.get(folder) or folder.status().get("error")
                    log.warning("%s: %s; it is submitted again", folder.name, reason)
                    folder.set_state(QUEUED, error=None, requeue_refused=None)
                self.submit([self._jobs[folder] for folder in folders])
        except UserError as error:
            log.warning("%s; this is tried again", error)  # `poll` will not find them in the queue again

    def watch(self, jobs: Sequence[Job]) -> None:
        """Watch jobs that were submitted before."""
        self._jobs.update({job.folder: job for job in jobs})

    def in_queue(self, folder: JobFolder) -> str | None:
        """Return Slurm's state of a job when the queue was last asked; None if it was not in there."""
        return self._states.get(folder)

    def idle(self) -> bool:
        """Return True, since Slurm ends the processes of jobs by itself."""
        return True

    def interrupt(self) -> str:
        """Leave the jobs to Slurm; return a message for the user."""
        return (
            "Detached: the jobs go on in Slurm. The same command looks at them again; "
            f"so does {status_command(self.folder.parent)}"
        )


@contextmanager
def outside_of_any_job(in_script: Collection[str] = ()) -> Iterator[None]:
    """Hide the variables of the Slurm job that this process may run in, which sbatch would take for options.

    Outside of any job, the ``SBATCH_`` variables are the user's own and are left to sbatch, except for those
    that would override the batch script.

    Parameters
    ----------
    in_script
        The names, without ``SBATCH_``, of variables that are always hidden.
    """
    jobs = ("SLURM_", "SLURMD_", "SRUN_", "SBATCH_", "SUBMITIT_")
    prefixes = jobs if "SLURM_JOB_ID" in os.environ else ("SUBMITIT_",)
    hidden = [
        key
        for key in os.environ
        if (key.startswith(prefixes) and key not in SITE)
        or (key.startswith("SBATCH_") and key.removeprefix("SBATCH_") in in_script)
    ]
    with environment(dict.fromkeys(hidden)):
        yield
