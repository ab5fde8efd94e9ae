"""Jobs in processes of this machine: bounded, told apart when they die, stopped and taken up again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess

import pytest

from mergerexp.config.launcher import LocalOptions
from mergerexp.files import read_json
from mergerexp.garbage import RARELY
from mergerexp.runs.job_folder import DONE, FAILED, QUEUED, RUNNING, STOPPED, JobFolder
from mergerexp.sweep.job import Job
from mergerexp.sweep.local import Local
from mergerexp.sweep.runner import Interrupted, submit_jobs, wait_for_jobs
from mergerexp.sweep.snapshot import snapshot
from mergerexp.sweep.states import collect
from tests.conftest import REPOSITORY
from tests.sweep.tasks import TARGET, make

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the jobs' processes find the tests."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))


def run(folders: list[JobFolder], n_jobs: int = 2) -> Local:
    local = Local(LocalOptions(n_jobs=n_jobs, runs_per_gpu=1, rerun="failed"), code=None)
    under_way = local.active(folders)
    new = [Job(TARGET, folder.path) for folder in folders if folder not in under_way]
    active = [Job(TARGET, folder.path) for folder in folders if folder in under_way]
    labels = {folder.path: folder.name for folder in folders}
    submit_jobs(local, new, active)
    wait_for_jobs(local, [*new, *active], labels, "test")
    return local


def test_a_log_follows_the_umask_and_no_link(tmp_path):
    shared, planted = make(tmp_path, "shared", steps=1), make(tmp_path, "planted", steps=1)
    private = tmp_path / "private"
    private.write_text("mine")
    (planted.path / "log.txt").symlink_to(private)
    code = (
        "import os; from pathlib import Path\n"
        "from mergerexp.runs.job_folder import JobFolder\n"
        "from tests.sweep.test_local import run\n"
        "if __name__ == '__main__':\n"  # the jobs' processes read this file too
        "    os.umask(0o002)\n"
        f"    run([JobFolder(Path({str(shared.path)!r})), JobFolder(Path({str(planted.path)!r}))])"
    )
    (tmp_path / "both.py").write_text(code)
    # A process of its own: where jobs of other tests have run, the one that starts them has their umask.
    path = os.pathsep.join([str(REPOSITORY), *sys.path])
    subprocess.run([sys.executable, tmp_path / "both.py"], env={**os.environ, "PYTHONPATH": path}, check=True)
    assert (shared.path / "log.txt").stat().st_mode & 0o777 == 0o664
    assert (shared.path / ".lock").stat().st_mode & 0o777 == 0o664
    assert planted.status()["state"] == FAILED
    assert private.read_text() == "mine"


def alone(folder: JobFolder) -> list[str]:
    """Return the command line of a process that works on a job by itself."""
    code = (
        f"import sys; from mergerexp.sweep.job import run_here; sys.exit(run_here('{TARGET}', sys.argv[1]))"
    )
    return [sys.executable, "-c", code, str(folder.path)]


def starts(folder: JobFolder) -> list[int]:
    return [int(line.split()[0]) for line in (folder.path / "starts.txt").read_text().splitlines()]


def test_so_many_at_once_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr("mergerexp.sweep.local.usable_cores", lambda: 3)
    monkeypatch.delenv("OMP_WAIT_POLICY")
    folders = [make(tmp_path, f"job{i}", steps=5) for i in range(7)]
    run(folders, n_jobs=3)
    moments = []
    for folder in folders:
        assert folder.status()["state"] == DONE
        begin, end = read_json(folder.path / "interval.json")
        moments += [(begin, 1), (end, -1)]
        assert (folder.path / "starts.txt").read_text().split() == ["0", "1", "PASSIVE"]  # 3 cores for 3 jobs
    together, most = 0, 0
    for _, change in sorted(moments):
        together += change
        most = max(most, together)
    assert most == 3


def test_the_copy_of_the_code_is_what_runs(tmp_path, monkeypatch):
    """Also where the launcher is started in the checkout, as most are."""
    monkeypatch.chdir(REPOSITORY)
    folder = make(tmp_path, "job", steps=1)
    code = snapshot(tmp_path / "sweeps")
    script = (
        "from pathlib import Path; from mergerexp.sweep.local import Local; "
        "from mergerexp.sweep.job import Job; from mergerexp.sweep.runner import submit_jobs, wait_for_jobs; "
        "from mergerexp.config.launcher import LocalOptions; "
        f"job = Job('tests.sweep.tasks:where_from', Path({str(folder.path)!r})); "
        f"local = Local(LocalOptions(n_jobs=1, runs_per_gpu=1, rerun='failed'), Path({str(code)!r})); "
        "submit_jobs(local, [job], []); wait_for_jobs(local, [job], {job.folder.path: 'job'}, 'test')"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert read_json(folder.path / "from.json") == str(code / "mergerexp")


def test_jobs_have_from_the_start_what_they_import_later(tmp_path):
    folder = make(tmp_path, "job", steps=1)
    script = (
        "from pathlib import Path; from mergerexp.sweep.local import Local; "
        "from mergerexp.sweep.job import Job; from mergerexp.sweep.runner import submit_jobs, wait_for_jobs; "
        "from mergerexp.config.launcher import LocalOptions; "
        f"job = Job('tests.sweep.tasks:what_is_there', Path({str(folder.path)!r}), ['colorsys']); "
        "local = Local(LocalOptions(n_jobs=1, runs_per_gpu=1, rerun='failed'), None); "
        "submit_jobs(local, [job], []); wait_for_jobs(local, [job], {job.folder.path: 'job'}, 'test')"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert "colorsys" in read_json(folder.path / "modules.json")
    assert tuple(read_json(folder.path / "threshold.json")) == RARELY


def test_ctrl_c_of_a_terminal_before_the_first_job_is_there(tmp_path):
    """It reaches all processes, among them the one that imports what the jobs need."""
    begun = tmp_path / "begun"
    (tmp_path / "slowly.py").write_text(
        f"import pathlib, time; pathlib.Path({str(begun)!r}).touch(); time.sleep(2)\n"
        "def task(folder): raise SystemExit(1)\n"
    )
    folder = make(tmp_path, "job", steps=1)
    script = (
        "from pathlib import Path; from mergerexp.sweep.local import Local; "
        "from mergerexp.sweep.job import Job; from mergerexp.config.launcher import LocalOptions; "
        "from mergerexp.sweep.runner import Interrupted, submit_jobs, wait_for_jobs\n"
        f"job = Job('slowly:task', Path({str(folder.path)!r}))\n"
        "local = Local(LocalOptions(n_jobs=1, runs_per_gpu=1, rerun='failed'), None)\n"
        "submit_jobs(local, [job], [])\n"
        "try: wait_for_jobs(local, [job], {job.folder.path: 'job'}, 'test')\n"
        "except Interrupted as interrupted: print(interrupted)"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(begun.exists)
    os.killpg(process.pid, signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    assert said.startswith("Stopped: the same command goes on")


def test_each_gpu_in_turn(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    local = Local(LocalOptions(n_jobs=None, runs_per_gpu=1, rerun="failed"), code=None)
    assert (local.crew.places.n, local.crew.places.gpus) == (2, ["3", "5"])


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("raise", "ValueError: bad seed"),
        ("exit", "exit code 3"),
        ("kill", "killed by SIGKILL: out of memory?"),
    ],
)
def test_one_dies_and_the_others_go_on(how, reason, tmp_path):
    folders = [make(tmp_path, f"job{i}", steps=3) for i in range(3)]
    bad = make(tmp_path, "bad", steps=3, fails_at=2, how=how)
    run([folders[0], bad, *folders[1:]])
    assert [folder.status()["state"] for folder in folders] == [DONE] * 3
    assert bad.status()["state"] == FAILED
    assert reason in bad.status()["error"]
    (tmp_path / "mended").touch()
    run([bad])
    assert bad.status()["state"] == DONE


def test_interrupted_and_taken_up(tmp_path, monkeypatch):
    folders = [make(tmp_path, f"job{i}", steps=30) for i in range(3)]

    def interrupt_when_running(local: Local) -> None:
        real_poll(local)
        if all(folder.status().get("epoch", 0) > 3 for folder in folders[:2]):
            raise KeyboardInterrupt

    real_poll = Local.poll
    with monkeypatch.context() as patch:
        patch.setattr(Local, "poll", interrupt_when_running)
        with pytest.raises(Interrupted, match="goes on where this one stopped"):
            run(folders)
    assert [folder.status()["state"] for folder in folders] == [STOPPED] * 3
    assert not any(folder.is_held() for folder in folders)
    run(folders)
    assert [folder.status()["state"] for folder in folders] == [DONE] * 3
    for folder in folders[:2]:
        first, second = starts(folder)
        assert first == 0
        assert second > 3  # the checkpoint that was asked for


def test_a_second_ctrl_c_leaves_no_run_without_its_state(tmp_path, monkeypatch):
    """It comes while the processes start, before any of them has written a state of its own."""
    folders = [make(tmp_path, f"job{i}", steps=30) for i in range(4)]

    def interrupt_at_once(local: Local) -> None:
        real_poll(local)
        raise KeyboardInterrupt

    def interrupt_again(self, timeout=None) -> None:
        patch.undo()
        raise KeyboardInterrupt

    real_poll = Local.poll
    with monkeypatch.context() as patch:
        patch.setattr(Local, "poll", interrupt_at_once)
        patch.setattr(BaseProcess, "terminate", interrupt_again)
        with pytest.raises(Interrupted, match="goes on where this one stopped"):
            run(folders)
    assert [folder.status()["state"] for folder in folders] == [STOPPED] * 4
    states = collect(folders, [folder.name for folder in folders], looked_after=False)
    assert [(state.state, state.error) for state in states] == [(STOPPED, None)] * 4


def test_children_stop_when_their_parent_is_killed(tmp_path):
    folder = make(tmp_path, "job", steps=1000)
    code = (
        "from pathlib import Path; from tests.sweep.test_local import run; "
        f"from mergerexp.runs.job_folder import JobFolder; run([JobFolder(Path({str(folder.path)!r}))])"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    wait_for(lambda: folder.status().get("epoch", 0) > 2)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: folder.status()["state"] == STOPPED)
    wait_for(lambda: not folder.is_held())


def test_a_job_of_another_process_is_watched_and_inherited(tmp_path):
    folder = make(tmp_path, "job", steps=40, every_step=True)
    other = subprocess.Popen(alone(folder))
    wait_for(lambda: folder.status().get("state") == RUNNING and folder.status().get("epoch", 0) > 2)
    killer = subprocess.Popen(["sh", "-c", f"sleep 1; kill -9 {other.pid}"])
    run([folder])
    assert killer.wait() == 0
    assert other.wait() == -signal.SIGKILL
    assert folder.status()["state"] == DONE
    assert len(starts(folder)) == 2
    assert starts(folder)[1] > 2


def test_two_processes_never_do_the_same_job(tmp_path):
    folder = make(tmp_path, "job", steps=20)
    first = subprocess.Popen(alone(folder))
    wait_for(lambda: folder.status().get("epoch", 0) > 0)
    second = subprocess.run(alone(folder), timeout=60)
    assert (second.returncode, first.wait()) in ((75, 0), (0, 0))  # the second may find it done
    assert folder.status()["state"] == DONE


def wait_for(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_stopped_sweep_leaves_what_another_has_finished(tmp_path, monkeypatch):
    """A job in line here may have been done, or be under way, in another sweep."""
    first = make(tmp_path, "first", steps=1000)
    waiting = make(tmp_path, "waiting", steps=2)

    def finish_the_other_then_interrupt(local: Local) -> None:
        real_poll(local)
        if first.status().get("epoch", 0) > 0:
            subprocess.run(alone(waiting), check=True)
            raise KeyboardInterrupt

    real_poll = Local.poll
    monkeypatch.setattr(Local, "poll", finish_the_other_then_interrupt)
    with pytest.raises(Interrupted):
        run([first, waiting], n_jobs=1)
    assert first.status()["state"] == STOPPED
    assert waiting.status()["state"] == DONE


def test_states_from_outside_spare_the_done_and_the_held(tmp_path):
    folder = make(tmp_path, "job", steps=1)
    folder.set_state_of_idle(QUEUED)
    assert folder.status()["state"] == QUEUED
    with folder.lock():
        folder.set_state_of_idle(STOPPED)
    assert folder.status()["state"] == QUEUED
    folder.set_state(DONE)
    folder.set_state_of_idle(STOPPED)
    assert folder.status()["state"] == DONE
    folder.again.touch()
    folder.set_state_of_idle(QUEUED)
    assert folder.status()["state"] == QUEUED
