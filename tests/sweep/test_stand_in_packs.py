"""What several runs in a task ask Slurm for, by commands that stand in for it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from mergerexp.files import read_json, write_json
from mergerexp.runs.job_folder import DONE, FAILED, LOST, QUEUED, RUNNING, STOPPED, JobFolder
from mergerexp.runs.run_folder import RunFolder
from mergerexp.sweep import slurm_accounting, slurm_queue
from mergerexp.sweep.arrays import submitted_arrays
from mergerexp.sweep.crew import Crew
from mergerexp.sweep.job import Job
from mergerexp.sweep.pack import Pack
from mergerexp.sweep.slurm import Slurm
from tests.slurm.jobs import options
from tests.sweep.tasks import TARGET, make
from tests.sweep.test_stand_in_slurm import long_ago, seen
from tests.sweep.test_stand_in_slurm import stand_in as stand_in  # the fixture


def asked_for(tmp_path: Path) -> list[str]:
    """Return what the batch script asks Slurm for, of a task's size and of the array."""
    script = next((tmp_path / "sweep" / "slurm").glob("*.sh"))
    lines = [line.removeprefix("#SBATCH --") for line in script.read_text().splitlines()]
    return [line for line in lines if line.startswith(("array", "cpus-per-task", "mem", "gres"))]


@pytest.mark.parametrize(
    ("jobs", "given", "tasks", "asked"),
    [
        (10, {"runs_per_node": 4}, [4, 4, 2], ["array=0-2%2", "cpus-per-task=12", "mem=2000MB"]),
        (2, {"runs_per_node": 4}, [2], ["cpus-per-task=6", "mem=1000MB"]),
        (6, {"gpus": 1, "runs_per_gpu": 2}, [2, 2, 2], ["array=0-2%2", "gres=gpu:1", "cpus-per-task=6"]),
        (5, {"gpus": 2, "runs_per_gpu": 2}, [4, 1], ["array=0-1%2", "gres=gpu:2", "mem=2000MB"]),
        (20, {"gpus": 1, "runs_per_gpu": "auto"}, [8, 8, 4], ["array=0-2%2", "gres=gpu:1", "mem=4000MB"]),
    ],
)
def test_a_task_asks_for_what_its_runs_need(jobs, given, tasks, asked, stand_in, tmp_path):
    folders = [make(tmp_path, f"job{i}", steps=1) for i in range(jobs)]
    stand_in.says("sbatch", "Submitted batch job 4712\n")
    (tmp_path / "sweep").mkdir()
    slurm = Slurm(options(parallel=2, cpus=3, **given), tmp_path / "sweep", None)
    slurm.submit([Job(TARGET, folder.path) for folder in folders])
    (record,) = (tmp_path / "sweep").glob("array-*.json")
    known = read_json(record)
    assert [len(task) for task in known["tasks"]] == tasks
    assert [path for task in known["tasks"] for path in task] == [str(folder.path) for folder in folders]
    assert set(asked) <= set(asked_for(tmp_path))


@pytest.mark.parametrize(("jobs", "said"), [(5, "5 jobs, up to 4 in a task, as"), (1, "1 job as")])
def test_the_line_of_a_submission_tells_what_the_tasks_hold(jobs, said, stand_in, tmp_path, caplog):
    folders = [make(tmp_path, f"job{i}", steps=1) for i in range(jobs)]
    stand_in.says("sbatch", "Submitted batch job 4712\n")
    (tmp_path / "sweep").mkdir()
    slurm = Slurm(options(parallel=2, runs_per_node=4), tmp_path / "sweep", None)
    with caplog.at_level("INFO"):
        slurm.submit([Job(TARGET, folder.path) for folder in folders])
    assert f"submitted {said} Slurm array 4712" in caplog.text


def test_the_limit_of_an_array_counts_tasks(stand_in, tmp_path):
    """A task is over once all of its runs are."""
    folders = [make(tmp_path, f"job{i}", steps=1) for i in range(8)]
    stand_in.says("sbatch", "Submitted batch job 4712\n")
    (tmp_path / "sweep").mkdir()
    jobs = [Job(TARGET, folder.path) for folder in folders]
    Slurm(options(parallel=2, runs_per_node=2), tmp_path / "sweep", None).submit(jobs)
    (array,) = submitted_arrays(tmp_path / "sweep")
    assert (array.limit, array.alive()) == (2, 4)
    for folder in folders[:3]:
        folder.set_state(DONE)
    assert array.alive() == 3


def in_a_pack(tmp_path: Path, names: int = 2) -> tuple[Pack, list]:
    folders = [make(tmp_path, f"job{i}", steps=1) for i in range(names)]
    record = tmp_path / "sweep" / "array-001.json"
    record.parent.mkdir()
    known = {"name": "mergerexp-5weep000-abc", "array": "4711", "clusters": None, "limit": 1}
    write_json(record, {**known, "packed": True, "tasks": [[str(folder.path) for folder in folders]]})
    for folder in folders:
        write_json(folder.submission, {"record": str(record), "index": 0})
        folder.set_state(RUNNING, job="4711")
    return Pack([Job(TARGET, folder.path) for folder in folders], record, names, measured=False), folders


def test_a_run_that_shares_a_task_has_a_log_of_its_own(stand_in, tmp_path):
    """What the others print says neither that it goes on nor how it ended."""
    _, (quiet, loud) = in_a_pack(tmp_path)
    loud.log.write_text("loud goes on\n")
    quiet.log.write_text("a last word\n")
    for each in (quiet, loud):
        long_ago(each)
    os.utime(quiet.log, (0, 0))
    states = {each: seen(each) for each in (quiet, loud)}
    assert states[loud] == (RUNNING, None)
    assert states[quiet][0] == LOST and states[quiet][1].endswith("its log ends with: a last word")


def test_a_task_that_can_look_after_its_runs_no_longer_stops_them(tmp_path, monkeypatch):
    """For example on a full disk: whoever waits for the sweep submits them again."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    pack, (first, second) = in_a_pack(tmp_path)
    monkeypatch.setattr(Crew, "poll", full)
    write = JobFolder.set_state

    def write_second(folder: JobFolder, state: str, **details: object) -> None:
        (full if folder == first else write)(folder, state, **details)

    monkeypatch.setattr(JobFolder, "set_state", write_second)
    with pytest.raises(OSError, match="No space left"):
        pack()
    assert second.status()["state"] == QUEUED
    assert slurm_accounting.ended_by_site(second, None)


def test_runs_that_were_killed_with_their_task_wait_in_its_next_attempt(tmp_path, monkeypatch):
    """A node that dies leaves them as running; a GPU may have room for one of them at a time."""
    pack, (first, second) = in_a_pack(tmp_path)
    seen_states: list[list[str]] = []

    def look(crew: Crew) -> None:
        seen_states.append([folder.status()["state"] for folder in (first, second)])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Crew, "poll", look)
    with pytest.raises(OSError):
        pack()
    assert seen_states == [[QUEUED, QUEUED]]


def test_what_the_task_started_ends_before_it_is_requeued(tmp_path, monkeypatch):
    """The requeue ends the process without an exception, and NVIDIA's service would stay."""
    pack, folders = in_a_pack(tmp_path)
    order: list[str] = []
    monkeypatch.setattr(Crew, "poll", lambda crew: os.kill(os.getpid(), signal.SIGUSR2))
    monkeypatch.setattr(Crew, "stop", lambda crew, patience_s: order.append("stop"))
    monkeypatch.setattr(Crew, "close", lambda crew: order.append("close"))

    def requeue(handler: object, left: list[JobFolder]) -> None:
        assert left == folders
        order.append("requeue")
        raise SystemExit

    monkeypatch.setattr("mergerexp.sweep.pack.requeue_and_exit", requeue)
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGUSR2)]
    try:
        with pytest.raises(SystemExit):
            pack()
    finally:
        for each, handler in zip((signal.SIGTERM, signal.SIGUSR2), before, strict=True):
            signal.signal(each, handler)
    assert order[:3] == ["stop", "close", "requeue"]


def test_a_run_that_failed_before_is_run_and_one_that_failed_in_the_task_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    pack, (here, before) = in_a_pack(tmp_path)
    here.set_state(FAILED)
    before.set_state(FAILED, job="4000")
    assert [job.folder for job in pack._left()] == [before]


def test_runs_of_a_task_that_are_cancelled_are_counted_once(stand_in, tmp_path):
    _, folders = in_a_pack(tmp_path, names=3)
    stand_in.says("squeue", "4711|RUNNING|mergerexp-5weep000-abc\n")
    assert slurm_queue.cancel([RunFolder(folder.path) for folder in folders]) == 3


def test_what_is_cancelled_is_what_was_under_way(stand_in, tmp_path):
    _, (first, done, failed) = in_a_pack(tmp_path, names=3)
    done.set_state(DONE)
    failed.set_state(FAILED)
    stand_in.says("squeue", "4711|RUNNING|mergerexp-5weep000-abc\n")
    assert slurm_queue.cancel([first, done, failed]) == 1
    assert [slurm_queue.is_cancelled(folder) for folder in (first, done, failed)] == [True, False, False]


def test_a_run_that_waits_in_a_task_for_others_is_queued(stand_in, tmp_path):
    _, (running, waiting, stopped) = in_a_pack(tmp_path, names=3)
    waiting.set_state(QUEUED)
    stopped.set_state(STOPPED)
    stand_in.says("squeue", "4711|RUNNING|mergerexp-5weep000-abc\n")
    states = {each: seen(each)[0] for each in (running, waiting, stopped)}
    assert states == {running: RUNNING, waiting: QUEUED, stopped: RUNNING}  # the last is about to be taken up
    stand_in.says("squeue", "4711|PENDING|mergerexp-5weep000-abc\n")
    assert seen(running)[0] == QUEUED
