"""Jobs on this machine: so many at once as fit, each in a process of its own."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

from mergerexp.config.launcher import LocalOptions
from mergerexp.cores import memory_gb, usable_cores, visible_gpus, wait_without_spinning
from mergerexp.runs.job_folder import FAILED, OVER, STOPPED, JobFolder
from mergerexp.sweep.job import HELD, PATIENCE_S, Job, run_here

log = logging.getLogger(__name__)
RUN_GB = 4.0  # what a run of the default study takes


class Local:
    """The jobs of one sweep in processes of this machine.

    Parameters
    ----------
    options
        What ``hydra.launcher`` says.
    code
        Put first on the jobs' ``PYTHONPATH``.
    """

    interval_s = 0.2
    waits = True

    def __init__(self, options: LocalOptions, code: Path | None) -> None:
        self.code = code
        self.gpus = visible_gpus()
        cores = usable_cores()
        # Cores are better used by more runs than by more threads of one: 1.3 times quicker on two.
        self.n_jobs = options.n_jobs or len(self.gpus) or max(1, min(cores, int(memory_gb() / RUN_GB)))
        # Of the machine alone, not of how many runs are left: rounding depends on it.
        self.threads = max(1, cores // self.n_jobs)
        self._slots = deque(range(self.n_jobs))
        self._waiting: deque[Job] = deque()
        self._running: dict[Path, tuple[Job, BaseProcess, int]] = {}
        # Processes are forked from one that has loaded everything: that is seconds of each short run.
        self._nursery = multiprocessing.get_context("forkserver")
        self._others: dict[Path, Job] = {}

    def active(self, folders: Sequence[JobFolder]) -> set[Path]:
        """Return the folders that another process is at work on."""
        return {folder.path for folder in folders if folder.is_held()}

    def submit(self, jobs: Sequence[Job]) -> None:
        """Put jobs in line."""
        self._nursery.set_forkserver_preload(sorted({job.target.partition(":")[0] for job in jobs}))
        self._waiting.extend(jobs)
        log.info("%d runs, %d at a time with %d threads each", len(jobs), self.n_jobs, self.threads)

    def watch(self, jobs: Sequence[Job]) -> None:
        """Look after jobs that another process is at work on, and take them over if it dies."""
        self._others.update({Path(job.folder): job for job in jobs})

    def poll(self) -> None:
        """See which jobs have ended, and start the next ones."""
        for path, (job, process, slot) in list(self._running.items()):
            if process.exitcode is not None:
                process.join()
                del self._running[path]
                self._slots.append(slot)
                if process.exitcode == HELD:
                    self._others[path] = job
                else:
                    _note_sudden_end(JobFolder(path), process.exitcode)
        for path, job in list(self._others.items()):
            folder = JobFolder(path)
            if not folder.is_held():
                del self._others[path]
                if folder.status().get("state") not in OVER:
                    self._waiting.append(job)
        while self._waiting and self._slots:
            self._start(self._waiting.popleft(), self._slots.popleft())

    def _start(self, job: Job, slot: int) -> None:
        environment = dict.fromkeys(("OMP_NUM_THREADS", "LOKY_MAX_CPU_COUNT"), str(self.threads))
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        arguments = (job.target, job.folder, environment)
        process = self._nursery.Process(target=_child, args=arguments, name=Path(job.folder).name)
        JobFolder(Path(job.folder)).submission.unlink(missing_ok=True)  # no Slurm job any more
        with _for_jobs(self.code):
            forkserver.ensure_running()  # it knows its modules from the environment alone
            process.start()
        self._running[Path(job.folder)] = (job, process, slot)

    def in_queue(self, folder: Path) -> str | None:
        """No queue but ours."""
        return None

    def idle(self) -> bool:
        """Tell whether no process of ours is left, nor a job in line."""
        return not (self._running or self._waiting)

    def interrupt(self) -> str:
        """Stop the jobs between two steps, with their checkpoints; return what to tell the user."""
        with contextlib.suppress(OSError):  # of a full disk; the processes have to be stopped all the same
            for job in self._waiting:
                JobFolder(Path(job.folder)).set_state_of_idle(STOPPED)
        self._waiting.clear()
        processes = {path: process for path, (_, process, _) in self._running.items()}
        for process in processes.values():
            process.terminate()
        deadline = time.monotonic() + PATIENCE_S + 5
        try:
            while any(process.is_alive() for process in processes.values()):
                if time.monotonic() > deadline:
                    break
                time.sleep(0.05)
        except KeyboardInterrupt:
            pass  # asked twice: at once
        for path, process in processes.items():
            if process.is_alive():
                process.kill()
                process.join()
                with contextlib.suppress(OSError):
                    JobFolder(path).set_state_of_idle(STOPPED)
        return "Stopped: the same command goes on where this one stopped."


def _child(target: str, folder: str, environment: dict[str, str]) -> None:
    """Be the process of a job, with its log for output; Ctrl-C is for our parent, which tells us."""
    os.setsid()
    log_file = Path(folder) / "log.txt"
    output = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.environ.update(environment)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    sys.exit(run_here(target, folder))


def _stop_with_parent() -> None:
    """Ask this process to stop when the one that runs the sweep has been killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def _for_jobs(code: Path | None) -> Iterator[None]:
    """Let processes that start now import the sweep's copy of the code, and share their cores with others."""
    path, environment = list(sys.path), dict(os.environ)
    if code is not None:
        sys.path.insert(0, str(code))
        others = filter(None, [os.environ.get("PYTHONPATH")])
        os.environ["PYTHONPATH"] = os.pathsep.join([str(code), *others])
        os.environ["PYTHONSAFEPATH"] = "1"  # not the working directory
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # the copy stays as it was made
    wait_without_spinning()  # they load torch before a job's own environment is set
    try:
        yield
    finally:
        sys.path[:] = path
        for key in os.environ.keys() - environment.keys():
            del os.environ[key]
        os.environ.update(environment)


def _note_sudden_end(folder: JobFolder, code: int) -> None:
    """Say how a process ended that could not say it itself."""
    if folder.status().get("state") in OVER:
        return
    if code < 0:
        name = signal.Signals(-code).name
        hint = ": out of memory?" if name == "SIGKILL" else ""
        reason = f"killed by {name}{hint}"
    else:
        reason = f"ended without a word, exit code {code}"
    folder.set_state(FAILED, error=f"{reason} (see {folder.path / 'log.txt'})")
