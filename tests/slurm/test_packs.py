"""Several runs in one job of a real Slurm: they share its GPU or cores, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mergerexp.errors import UserError
from mergerexp.files import read_json
from mergerexp.runs.job_folder import DONE, FAILED, RUNNING, STOPPED, JobFolder
from mergerexp.sweep.slurm_queue import cancel
from mergerexp.sweep.states import collect
from tests.slurm.jobs import command, job_id, meanwhile, run, starts, sweep_of
from tests.slurm.test_jobs import preempt
from tests.sweep.tasks import make

pytestmark = pytest.mark.usefixtures("clean_queue")


def made(tmp_path, *steps: int, **plan: object) -> list[JobFolder]:
    return [make(tmp_path, f"job{i}", steps=n, **plan) for i, n in enumerate(steps)]


def states(folders: list[JobFolder]) -> list[str]:
    return [folder.status()["state"] for folder in folders]


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_each_task_has_several_runs_which_run_at_the_same_time(tmp_path):
    folders = made(tmp_path, *[15] * 5)
    run(folders, runs_per_node=2)
    assert states(folders) == [DONE] * 5
    jobs = [job_id(folder) for folder in folders]
    assert jobs[0] == jobs[1] != jobs[2] == jobs[3] != jobs[4]
    assert len({folder.status()["pid"] for folder in folders}) == 5
    (record,) = sweep_of(folders).glob("array-*.json")
    assert [len(task) for task in read_json(record)["tasks"]] == [2, 2, 1]
    said = command("scontrol", "show", "job", jobs[0])
    assert "NumCPUs=2" in said and "mem=1000M" in said.replace("mem=1G", "mem=1000M")
    (first, over), (second, _) = (read_json(folder.path / "interval.json") for folder in folders[:2])
    assert abs(first - second) < over - first
    for folder in folders:  # the threads of a run do not depend on how many there are
        assert (folder.path / "starts.txt").read_text().split()[1] == "1"


def test_a_gpu_is_shared(tmp_path):
    folders = made(tmp_path, 5, 5, 5, 5)
    run(folders, gpus=1, runs_per_gpu=2)
    assert states(folders) == [DONE] * 4
    gpus = [(folder.path / "gpu.txt").read_text() for folder in folders]
    assert all(gpus) and gpus[0] == gpus[1]
    assert len({job_id(folder) for folder in folders}) == 2


def test_one_fails_and_takes_none_along(tmp_path):
    folders, bad = made(tmp_path, 30, 30), make(tmp_path, "bad", steps=9, fails_at=2, how="kill")
    run([bad, *folders], runs_per_node=3)
    assert states(folders) == [DONE] * 2
    assert all(len(starts(folder)) == 1 for folder in folders)
    assert bad.status()["state"] == FAILED
    (tmp_path / "mended").touch()
    run([bad, *folders], runs_per_node=3)
    assert bad.status()["state"] == DONE
    assert all(len(starts(folder)) == 1 for folder in folders)


def test_a_failed_one_is_submitted_anew_while_its_task_goes_on(tmp_path):
    long, bad = make(tmp_path, "long", steps=100), make(tmp_path, "bad", steps=9, fails_at=2, how="raise")
    run([bad, long], runs_per_node=2, wait=False)
    while bad.status()["state"] != FAILED:
        assert long.status().get("state") != DONE
    while "job" not in long.status():
        time.sleep(0.1)
    (tmp_path / "mended").touch()
    before = job_id(long)
    run([bad, long], runs_per_node=2)
    assert states([bad, long]) == [DONE, DONE]
    assert (len(starts(long)), job_id(long)) == (1, before)
    assert job_id(bad) != before


def test_preempted_and_taken_up(tmp_path):
    folders = made(tmp_path, 40, 45)
    meanwhile(preempt, folders[0])
    run(folders, runs_per_node=2)
    assert states(folders) == [DONE] * 2
    assert (starts(folders[0])[0], starts(folders[0])[-1] > 3) == (0, True)  # from the checkpoint


def test_a_requeued_task_goes_on_with_what_is_left(tmp_path):
    """Of four runs one is done by then, one has failed, and two are stopped and go on."""
    folders = made(tmp_path, 5, 40, 45)
    bad = make(tmp_path, "bad", steps=9, fails_at=2, how="raise")
    # The signal that comes when time is almost up.
    meanwhile(lambda: command("scancel", "--signal=USR2", job_id(folders[1])), *folders[1:], epoch=12)
    run([*folders, bad], runs_per_node=4)
    assert states([*folders, bad]) == [DONE, DONE, DONE, FAILED]
    assert [len(starts(folder)) for folder in (folders[0], bad)] == [1, 1]
    for folder in folders[1:]:
        first, second = starts(folder)
        assert (first, second > 9) == (0, True)


def test_a_task_that_dies_leaves_no_run_behind(tmp_path):
    """Its runs stop with a checkpoint, and the next call takes them up."""
    folders = made(tmp_path, 200, 200)

    def kill_the_task() -> None:
        # The parent of a run is the server of forks, and the task is the parent of that.
        os.kill(parent(parent(folders[1].status()["pid"])), signal.SIGKILL)

    meanwhile(kill_the_task, folders[1])
    run(folders, runs_per_node=2)
    assert DONE not in states(folders)
    assert not any(folder.is_held() for folder in folders)
    run(folders, runs_per_node=2)
    assert states(folders) == [DONE] * 2


def test_cancelled_with_its_mates(tmp_path):
    """Slurm cancels a task, so that the other runs of the task are cancelled too, and say so."""
    folders = made(tmp_path, 60, 60)
    meanwhile(lambda: cancel(folders[:1]), *folders)
    run(folders, runs_per_node=2)
    assert states(folders) == [STOPPED] * 2
    assert [state.error for state in collect(folders, ["a", "b"])] == ["cancelled"] * 2
    run(folders, runs_per_node=2)
    assert states(folders) == [DONE] * 2
    assert all(starts(folder)[-1] > 3 for folder in folders)


def test_a_run_that_another_process_works_on_is_waited_for(tmp_path):
    folders = made(tmp_path, 60, 5)
    script = (
        "import sys; from mergerexp.sweep.job import run_here; "
        "sys.exit(run_here('tests.sweep.tasks:work', sys.argv[1]))"
    )
    other = subprocess.Popen([sys.executable, "-c", script, str(folders[0].path)])
    while folders[0].status().get("state") != RUNNING:
        assert other.poll() is None
    run(folders, runs_per_node=2)
    assert other.wait() == 0
    assert states(folders) == [DONE] * 2
    assert len(starts(folders[0])) == 1


def test_a_refusal_says_what_several_runs_ask_for(tmp_path):
    folders = made(tmp_path, 1, 1)
    size = r"each asks for 2 cores and 1000000MB, for 2 runs; hydra\.launcher\.cpus and mem are those of one"
    with pytest.raises(UserError, match=rf"Slurm refuses .* \({size}\)"):
        run(folders, runs_per_node=2, mem="500000MB")
