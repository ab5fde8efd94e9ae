"""Worker processes: one thread each, deaf to Ctrl-C, and gone when their parent or their pool is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mergerexp.errors import UserError
from mergerexp.workers import THREAD_VARIABLES, worker_pool

# A pool whose worker notes its process id and then sleeps.
PARENT = """
import sys, time
from tests.test_workers import note_and_sleep
from mergerexp.workers import worker_pool

if __name__ == "__main__":
    with worker_pool(1, "data.workers") as pool:
        pool.submit(note_and_sleep, sys.argv[1]).result()
"""


def environment_and_mask() -> tuple[list[str | None], bool]:
    """Return the numbers of threads that a worker sees, and whether it has blocked Ctrl-C."""
    blocked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return [os.environ.get(name) for name in THREAD_VARIABLES], blocked


def note_and_sleep(path: str) -> None:
    """Write the process id to a file, whole, and sleep."""
    Path(f"{path}.new").write_text(str(os.getpid()))
    Path(f"{path}.new").rename(path)
    time.sleep(60)


def is_alive(pid: int) -> bool:
    """Tell whether a process is there that is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_workers_have_one_thread_and_do_not_hear_ctrl_c(monkeypatch):
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "7")
    with worker_pool(1, "data.workers") as pool:
        threads, blocked = pool.submit(environment_and_mask).result()
    assert threads == ["1"] * len(THREAD_VARIABLES)
    assert blocked
    assert environment_and_mask() == (["7"] * len(THREAD_VARIABLES), False)  # this process is as it was


def test_a_worker_that_dies_is_told_with_the_setting(monkeypatch):
    with (
        pytest.raises(UserError, match=r"a worker process died.*fewer data\.workers"),
        worker_pool(1, "data.workers") as pool,
    ):
        pool.submit(os._exit, 9).result()


def test_an_error_of_a_worker_is_the_callers():
    with pytest.raises(ZeroDivisionError), worker_pool(1, "data.workers") as pool:
        pool.submit(divmod, 1, 0).result()


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    noted = tmp_path / "pid"
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    parent = subprocess.Popen([sys.executable, script, noted], env={**os.environ, "PYTHONPATH": paths})
    wait_until(lambda: noted.exists() or parent.poll() is not None)
    worker = int(noted.read_text())
    assert is_alive(worker)
    parent.kill()
    parent.wait()
    wait_until(lambda: not is_alive(worker))


TERMINATED = """
import multiprocessing, signal, time
from multiprocessing import forkserver
from mergerexp.workers import without, worker_pool

if __name__ == "__main__":
    with without({signal.SIGTERM}):  # as a sweep of this process starts it
        forkserver.ensure_running()
    with worker_pool(1, "cores", preload="json") as pool:
        pool.submit(time.sleep, 600)
        (worker,) = multiprocessing.active_children()
        worker.terminate()
        worker.join(30)
        print(worker.exitcode)
        worker.kill()
"""


@pytest.mark.slow
def test_workers_can_be_terminated_whatever_their_server_of_forks_has_blocked(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(TERMINATED)
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    line, environment = [sys.executable, script], {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["-15"], done.stderr
