"""Jobs in child processes of this one, as many at once as there are places for."""

from __future__ import annotations

import contextlib
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

from mergerexp.cores import wait_without_spinning
from mergerexp.environment import environment
from mergerexp.garbage import collect_rarely
from mergerexp.runs.job_folder import FAILED, STOPPED, JobFolder
from mergerexp.sweep.arrays import Task, task_of
from mergerexp.sweep.job import HELD, Job, run_here, run_in_slurm
from mergerexp.sweep.mps import Mps
from mergerexp.sweep.places import Places
from mergerexp.workers import import_first, on_end_of_parent, without

# They may come before a child has its own handlers, and their default is to end it.
SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR2}


class Crew:
    """Runs jobs in child processes, which are forked from a server that has imported what they need.

    Parameters
    ----------
    places
        The places for jobs.
    threads
        The number of threads of each job.
    code
        The copy of the code that the jobs run; it comes first on their ``PYTHONPATH``. None for what this
        process runs.
    in_slurm
        Whether this process is a job of Slurm, which sends its signals to the children too. They then stop at
        SIGUSR2, and write a checkpoint at SIGTERM. Otherwise they stop at SIGTERM.
    """

    def __init__(self, places: Places, threads: int, code: Path | None, in_slurm: bool = False) -> None:
        self.places, self.threads, self.code, self.in_slurm = places, threads, code, in_slurm
        self._waiting: deque[Job] = deque()
        # With the places of the jobs, and the Slurm tasks that they were submitted with.
        self._running: dict[BaseProcess, tuple[Job, int, Task]] = {}
        self._run_by_others: list[Job] = []
        self._fork_server = multiprocessing.get_context("forkserver")
        self._mps: Mps | None = None  # it is started with the first job

    def add(self, jobs: Sequence[Job]) -> None:
        """Append jobs to those that wait for a place."""
        modules = {module for job in jobs for module in (job.target.partition(":")[0], *job.modules)}
        import_first(sorted(modules))
        self._waiting.extend(jobs)

    def watch(self, jobs: Sequence[Job]) -> None:
        """Watch jobs that another process is working on, and take them over if it dies."""
        self._run_by_others.extend(jobs)

    def poll(self) -> None:
        """Find out which jobs have ended, and start the next ones."""
        for process in list(self._running):
            if process.exitcode is not None:
                process.join()
                job, place, task = self._running.pop(process)
                self.places.leave(place)
                if process.exitcode == HELD:
                    self._run_by_others.append(job)
                elif task_of(job.folder) == task:  # else it has failed and was submitted again meanwhile
                    _record_sudden_end(job.folder, process.exitcode)
        for job in [job for job in self._run_by_others if not job.folder.is_held()]:
            self._run_by_others.remove(job)
            if not job.folder.is_over():
                self._waiting.append(job)
        if self._waiting:
            self.places.look({place: job.folder for job, place, _ in self._running.values()})
            if self._mps is None:
                with without(SIGNALS):  # whose default would end the service and so all runs that it serves
                    self._mps = Mps(self.places.gpus if self.places.n > len(self.places.gpus) else [])
        while self._waiting and (free := self.places.take()) is not None:
            self._start(self._waiting.popleft(), free)

    def _start(self, job: Job, place: int) -> None:
        variables = dict.fromkeys(("OMP_NUM_THREADS", "LOKY_MAX_CPU_COUNT"), str(self.threads))
        if (gpu := self.places.gpu(place)) is not None and self._mps is not None:
            variables |= self._mps.variables(gpu)
        if not self.in_slurm:
            job.folder.submission.unlink(missing_ok=True)  # it is no Slurm job any more
        arguments = (job.target, job.path, variables, self.in_slurm)
        process = self._fork_server.Process(target=_run_child, args=arguments, name=job.folder.name)
        with _environment_of_jobs(self.code), without(SIGNALS):
            forkserver.ensure_running()  # the server finds its modules by its environment
            process.start()
        self._running[process] = (job, place, task_of(job.folder))

    def is_idle(self) -> bool:
        """Tell whether none of our jobs is running or waiting."""
        return not (self._running or self._waiting)

    def held_elsewhere(self) -> list[JobFolder]:
        """Return the folders of the jobs that other processes are working on."""
        return [job.folder for job in self._run_by_others]

    def running(self) -> int:
        """Return the number of jobs that are running."""
        return len(self._running)

    def stop(self, patience_s: float) -> None:
        """Stop the jobs between two training steps, after a checkpoint, and forget those that wait.

        Those that take longer, and all at Ctrl-C, are killed.

        Parameters
        ----------
        patience_s
            How long to wait, in seconds.
        """
        deadline = time.monotonic() + patience_s
        with contextlib.suppress(KeyboardInterrupt):
            for process in self._running:
                self._ask_to_stop(process)
            for process in self._running:
                process.join(max(0.0, deadline - time.monotonic()))
        with _undisturbed():
            for process in self._running:
                if process.is_alive():
                    process.kill()
                    process.join()
            running = (job for job, _, _ in self._running.values())
            for folder in [job.folder for job in (*running, *self._waiting)]:
                with contextlib.suppress(OSError):  # the disk may be full
                    if not folder.is_over():  # also one that had not begun to write its state
                        folder.set_state_of_idle(STOPPED)
            self._waiting.clear()

    def _ask_to_stop(self, process: BaseProcess) -> None:
        if not self.in_slurm:
            process.terminate()
        elif process.pid is not None and process.exitcode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGUSR2)

    def close(self) -> None:
        """End what was started besides the jobs."""
        if self._mps is not None:
            self._mps.stop()


def _run_child(target: str, folder: str, variables: dict[str, str], in_slurm: bool) -> None:
    """Run a job in this child process, whose output goes to the log of the job.

    Outside of Slurm the process has a session of its own, so that Ctrl-C reaches the parent alone, which
    then ends it. Slurm may find the processes of its jobs by their session.
    """
    if not in_slurm:
        os.setsid()
    log = JobFolder(Path(folder)).log
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.environ.update(variables)
    collect_rarely()
    run, stop = (run_in_slurm, signal.SIGUSR2) if in_slurm else (run_here, signal.SIGTERM)
    on_end_of_parent(lambda: os.kill(os.getpid(), stop))
    sys.exit(run(target, folder))


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
    folder.set_state(FAILED, error=f"{reason} (see {folder.log})")
