"""Jobs on this machine: as many at once as it can take, each in a process of its own."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

from mergerexp.config.launcher import LocalOptions
from mergerexp.console import amount
from mergerexp.cores import memory_gb, usable_cores, visible_gpus, wait_without_spinning
from mergerexp.environment import environment
from mergerexp.runs.job_folder import FAILED, STOPPED, JobFolder
from mergerexp.sweep.job import HELD, PATIENCE_S, Job, run_here
from mergerexp.workers import on_end_of_parent, without_ctrl_c

log = logging.getLogger(__name__)
RUN_GB = 4.0  # the memory that a run of the default study takes


class Local:
    """Runs the jobs of one sweep in processes of this machine.

    Parameters
    ----------
    options
        The options of the launcher.
    code
        The copy of the code that the jobs run; it comes first on their ``PYTHONPATH``. None for the installed
        code.
    """

    interval_s = 0.2
    waits = True

    def __init__(self, options: LocalOptions, code: Path | None) -> None:
        self.code = code
        self.gpus = visible_gpus()
        cores = usable_cores()
        # More runs use the cores better than more threads of a run: two runs are 1.3 times as fast on two.
        self.n_jobs = options.n_jobs or len(self.gpus) or max(1, min(cores, int(memory_gb() / RUN_GB)))
        # This depends on the machine alone, not on how many runs are left, since it influences rounding.
        self.threads = max(1, cores // self.n_jobs)
        self._slots = deque(range(self.n_jobs))
        self._waiting: deque[Job] = deque()
        self._running: dict[BaseProcess, tuple[Job, int]] = {}  # with the slots of the jobs
        # Processes are forked from a server that has imported everything, which saves seconds for each run.
        self._fork_server = multiprocessing.get_context("forkserver")
        self._run_by_others: list[Job] = []

    def active(self, folders: Sequence[JobFolder]) -> set[JobFolder]:
        """Return the folders that another process is working on."""
        return {folder for folder in folders if folder.is_held()}

    def submit(self, jobs: Sequence[Job]) -> None:
        """Append jobs to those that wait to be started."""
        self._fork_server.set_forkserver_preload(sorted({job.target.partition(":")[0] for job in jobs}))
        self._waiting.extend(jobs)
        number, threads = amount(len(jobs), "job"), amount(self.threads, "thread")
        log.info("%s, %d at a time with %s each", number, self.n_jobs, threads)

    def watch(self, jobs: Sequence[Job]) -> None:
        """Watch jobs that another process is working on, and take them over if it dies."""
        self._run_by_others.extend(jobs)

    def poll(self) -> None:
        """Find out which jobs have ended, and start the next ones."""
        for process in list(self._running):
            if process.exitcode is not None:
                process.join()
                job, slot = self._running.pop(process)
                self._slots.append(slot)
                if process.exitcode == HELD:
                    self._run_by_others.append(job)
                else:
                    _record_sudden_end(job.folder, process.exitcode)
        for job in [job for job in self._run_by_others if not job.folder.is_held()]:
            self._run_by_others.remove(job)
            if not job.folder.is_over():
                self._waiting.append(job)
        while self._waiting and self._slots:
            self._start(self._waiting.popleft(), self._slots.popleft())

    def _start(self, job: Job, slot: int) -> None:
        variables = dict.fromkeys(("OMP_NUM_THREADS", "LOKY_MAX_CPU_COUNT"), str(self.threads))
        if self.gpus:
            variables["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        arguments = (job.target, job.path, variables)
        process = self._fork_server.Process(target=_run_child, args=arguments, name=job.folder.name)
        job.folder.submission.unlink(missing_ok=True)  # it is no Slurm job any more
        with _environment_of_jobs(self.code), without_ctrl_c():
            forkserver.ensure_running()  # the server finds its modules by its environment
            process.start()
        self._running[process] = (job, slot)

    def in_queue(self, folder: JobFolder) -> str | None:
        """Return None, since these jobs are in the queue of no other program."""
        return None

    def idle(self) -> bool:
        """Tell whether none of our jobs is running or waiting."""
        return not (self._running or self._waiting)

    def interrupt(self) -> str:
        """Stop the jobs between two training steps, after a checkpoint; return a message for the user."""
        deadline = time.monotonic() + PATIENCE_S + 5
        with contextlib.suppress(KeyboardInterrupt):  # after a second Ctrl-C, they are killed at once
            if self._running:
                jobs = amount(len(self._running), "job")
                log.info(
                    "stopping %s, which takes some seconds, since each comes to a safe point first; "
                    "another Ctrl-C kills at once what still goes on",
                    jobs,
                )
            for process in self._running:
                process.terminate()
            for process in self._running:
                process.join(max(0.0, deadline - time.monotonic()))
        with _undisturbed():
            for process in self._running:
                if process.is_alive():
                    process.kill()
                    process.join()
            for job in [*(job for job, _ in self._running.values()), *self._waiting]:
                with contextlib.suppress(OSError):  # the disk may be full
                    if not job.folder.is_over():  # also one that had not begun to write its state
                        job.folder.set_state_of_idle(STOPPED)
        self._waiting.clear()
        return "Stopped: the same command goes on where this one stopped."


def _run_child(target: str, folder: str, variables: dict[str, str]) -> None:
    """Run a job in this child process, whose output goes to the log of the job.

    The process has a session of its own, so that Ctrl-C reaches the parent alone, which then ends it.
    """
    os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # which the server of the forks had blocked
    output = os.open(Path(folder) / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.environ.update(variables)
    on_end_of_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
    sys.exit(run_here(target, folder))


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep Ctrl-C and SIGTERM from interrupting what is done in this block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _environment_of_jobs(code: Path | None) -> Iterator[None]:
    """Let processes that are started in this block import the sweep's copy of the code.

    Their threads sleep while they wait, so that they share the cores with the other jobs.
    """
    path = list(sys.path)
    wait_without_spinning()  # here, since torch is loaded before a job sets its own environment
    changes: dict[str, str | None] = {}
    if code is not None:
        sys.path.insert(0, str(code))
        others = filter(None, [os.environ.get("PYTHONPATH")])
        changes["PYTHONPATH"] = os.pathsep.join([str(code), *others])
        changes["PYTHONSAFEPATH"] = "1"  # the working directory may be a checkout with other code
        changes["PYTHONDONTWRITEBYTECODE"] = "1"  # the copy has to stay as it was made
    try:
        with environment(changes):
            yield
    finally:
        sys.path[:] = path


def _record_sudden_end(folder: JobFolder, code: int) -> None:
    """Write the state of a job whose process ended before it could do so itself."""
    if folder.is_over():
        return
    if code < 0:
        name = signal.Signals(-code).name
        hint = ": out of memory?" if name == "SIGKILL" else ""
        reason = f"killed by {name}{hint}"
    else:
        reason = f"ended without a message, exit code {code}"
    folder.set_state(FAILED, error=f"{reason} (see {folder.path / 'log.txt'})")
