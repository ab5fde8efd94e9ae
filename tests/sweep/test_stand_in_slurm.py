"""What is made of answers that a real Slurm can hardly be brought to give: commands that stand in for it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mergerexp.errors import UserError
from mergerexp.files import read_json, write_json
from mergerexp.runs.job_folder import DONE, FAILED, LOST, QUEUED, RUNNING, STOPPED, JobFolder
from mergerexp.runs.sweep_folder import find_sweeps
from mergerexp.sweep import slurm as scheduler
from mergerexp.sweep import slurm_accounting, slurm_queue
from mergerexp.sweep.job import HELD, Job
from mergerexp.sweep.runner import submit_jobs
from mergerexp.sweep.slurm import Slurm
from mergerexp.sweep.states import collect
from tests.slurm.jobs import options
from tests.sweep.tasks import TARGET, make


class StandIn:
    """Commands that print what they are told to, and note what they were asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("squeue", "sacct", "scancel", "sbatch", "srun", "scontrol"):
            self.says(name, "")

    def says(self, name: str, text: str, code: int = 0, then: str = "") -> None:
        (self.folder / f"{name}.out").write_text(text)
        script = f'#!/bin/sh\necho "$@" >>{self.folder}/{name}.asked\ncat {self.folder}/{name}.out\n{then}\n'
        (self.folder / name).write_text(f"{script}exit {code}\n")
        (self.folder / name).chmod(0o755)

    def asked(self, name: str) -> list[str]:
        path = self.folder / f"{name}.asked"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def stand_in(tmp_path, monkeypatch) -> StandIn:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    for key in ("SLURM_CLUSTERS", "SBATCH_CLUSTERS", "SLURM_JOB_ID"):
        monkeypatch.delenv(key, raising=False)
    for key in ("QUEUE_EVERY_S", "GRACE_S"):
        monkeypatch.setattr(scheduler, key, -1.0)  # at once
    monkeypatch.setattr(scheduler.time, "sleep", lambda seconds: None)
    return StandIn(folder)


def submitted(tmp_path: Path, jobs: int = 1, clusters: str | None = None) -> list[JobFolder]:
    """Return jobs of array 4711."""
    folders = [make(tmp_path, f"job{index}", steps=1) for index in range(jobs)]
    record = tmp_path / "sweep" / "array-001.json"
    record.parent.mkdir()
    known = {"name": "mergerexp-5weep000-abc", "array": "4711", "clusters": clusters, "limit": jobs}
    write_json(record, {**known, "tasks": [[str(folder.path)] for folder in folders]})
    for index, folder in enumerate(folders):
        write_json(folder.submission, {"record": str(record), "index": index})
        folder.set_state(RUNNING)
    return folders


def long_ago(folder: JobFolder) -> None:
    write_json(folder.path / "status.json", {**folder.status(), "updated": time.time() - 3600})


def seen(folder: JobFolder, looked_after: bool = True) -> tuple[str, str | None]:
    (state,) = collect([folder], ["job"], looked_after)
    return state.state, state.error


def test_accounts_of_tasks_that_never_ran(stand_in, tmp_path):
    """They share a line, as long as it takes; a line of another form is passed over."""
    folders = submitted(tmp_path, 12)
    lines = ["4711_0|COMPLETED|0:0", "4711_[1-3,5,7-11:2%8]|CANCELLED by 0|0:0", "slurm_load_jobs", ""]
    stand_in.says("sacct", "\n".join(lines))
    told = slurm_accounting.accounting(folders)
    cancelled = {folder.name for folder in folders if str(told.get(folder)).startswith("CANCELLED")}
    assert cancelled == {f"job{index}" for index in (1, 2, 3, 5, 7, 9, 11)}
    assert told[folders[0]] == "COMPLETED (exit code 0:0)"
    assert folders[4] not in told
    long_ago(folders[1])
    assert seen(folders[1]) == (STOPPED, "cancelled")


def test_each_cluster_is_asked_for_its_own_jobs(stand_in, tmp_path):
    near = submitted(tmp_path / "near")
    far = submitted(tmp_path / "far", clusters="physics")
    stand_in.says("squeue", "CLUSTER: physics\n4711|RUNNING|mergerexp-5weep000-abc\n")
    assert slurm_queue.cancel([*near, *far]) == 2
    slurm_accounting.accounting([*near, *far])
    for name in ("squeue", "scancel", "sacct"):
        assert sum(words.startswith("-M physics ") for words in stand_in.asked(name)) == 1
        assert sum(not words.startswith("-M") for words in stand_in.asked(name)) == 1


def test_an_array_whose_answer_is_lost_is_cancelled(stand_in, tmp_path, monkeypatch):
    """Its number is known to nobody if the disk fills up after Slurm has accepted it."""

    def full(slurm: Slurm, name: str, *_: object) -> str:
        stand_in.says("squeue", f"4711|PENDING|{name}\n")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Slurm, "_sbatch", full)
    folder = make(tmp_path, "job", steps=1)
    (tmp_path / "sweep").mkdir()
    with pytest.raises(OSError, match="No space"):
        Slurm(options(), tmp_path / "sweep", None).submit([Job(TARGET, folder.path)])
    assert any("4711" in words or "mergerexp-" in words for words in stand_in.asked("scancel"))
    assert not folder.submission.exists()
    assert not list((tmp_path / "sweep").glob("array-*.json"))


@pytest.mark.parametrize(
    ("answer", "said"), [("", "Could not make sense of sbatch output"), (None, "Could not detect")]
)
def test_what_submitit_cannot_work_with_is_told_in_a_line(answer, said, stand_in, tmp_path, monkeypatch):
    if answer is None:
        (stand_in.folder / "srun").unlink()
        monkeypatch.setenv("PATH", str(stand_in.folder))
    folder = make(tmp_path, "job", steps=1)
    folder.set_state(STOPPED)
    (tmp_path / "sweep").mkdir()
    with pytest.raises(UserError, match=said):
        submit_jobs(Slurm(options(), tmp_path / "sweep", None), [Job(TARGET, folder.path)], [])
    assert folder.status()["state"] == STOPPED
    assert not folder.submission.exists()
    assert not list((tmp_path / "sweep").glob("array-*.json"))


@pytest.mark.parametrize(
    ("extra", "variables", "clusters"),
    [
        ({}, {}, None),
        ({}, {"SLURM_CLUSTERS": "a,b"}, "a,b"),
        ({}, {"SLURM_CLUSTERS": "a", "SBATCH_CLUSTERS": "b"}, "b"),
        ({"clusters": "c"}, {"SBATCH_CLUSTERS": "b"}, "c"),
    ],
)
def test_where_an_array_went_is_noted(extra, variables, clusters, stand_in, tmp_path, monkeypatch):
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    stand_in.says("sbatch", "Submitted batch job 99 on cluster c\n")
    folder = make(tmp_path, "job", steps=1)
    (tmp_path / "sweep").mkdir()
    Slurm(options(extra=extra), tmp_path / "sweep", None).submit([Job(TARGET, folder.path)])
    record = read_json(tmp_path / "sweep" / "array-001.json")
    assert (record["array"], record["clusters"]) == ("99", clusters)


def test_the_accounts_lag_behind_what_status_sees(stand_in, tmp_path):
    (folder,) = submitted(tmp_path)
    assert seen(folder) == (RUNNING, None)  # has just said something
    long_ago(folder)
    unexplained = "Slurm: the job left the queue, and the accounting does not say why"
    assert seen(folder) == (LOST, unexplained)
    stand_in.says("sacct", "4711|RUNNING|0:0\n")
    assert seen(folder) == (RUNNING, None)
    stand_in.says("sacct", "")
    log = slurm_accounting.log_path(folder, "4711")
    log.parent.mkdir()
    log.write_text("a last word\n")
    assert seen(folder) == (RUNNING, None)
    os.utime(log, (0, 0))
    assert seen(folder)[1] == f"{unexplained}; its log ends with: a last word"


@pytest.mark.parametrize("reason", ["PREEMPTED", "TIMEOUT", "NODE_FAIL"])
def test_what_will_be_submitted_again_is_not_lost(reason, stand_in, tmp_path):
    (folder,) = submitted(tmp_path)
    stand_in.says("sacct", f"4711|{reason}|0:0\n")
    assert seen(folder)[0] == QUEUED
    assert seen(folder, looked_after=False) == (LOST, f"Slurm: {reason} (exit code 0:0)")


def test_a_refused_requeue_keeps_its_reason(stand_in, tmp_path):
    (folder,) = submitted(tmp_path)
    folder.set_state(QUEUED, error="the site refuses to requeue (ten times)", requeue_refused=True)
    stand_in.says("sacct", "4711|FAILED|255:0\n")
    assert seen(folder, looked_after=False) == (LOST, "the site refuses to requeue (ten times)")


@pytest.mark.parametrize(("reason", "again"), [("PREEMPTED", True), ("FAILED", False), ("TIMEOUT", False)])
def test_preemption_does_not_count(reason, again, stand_in, tmp_path):
    (folder,) = submitted(tmp_path)
    stand_in.says("sacct", f"4711|{reason}|{0 if again else 1}:0\n")
    stand_in.says("sbatch", "Submitted batch job 4712\n")
    slurm = Slurm(options(max_requeues=0), tmp_path / "sweep", None)
    slurm.watch([Job(TARGET, folder.path)])
    slurm.poll()
    assert (folder.status()["state"] == QUEUED) == again
    assert len(stand_in.asked("sbatch")) == again


def test_locked_out_by_a_node_that_died(stand_in, tmp_path):
    """The job waits for the lock, says that it could not have it, and is submitted again."""
    (folder,) = submitted(tmp_path)
    code = (
        "from pathlib import Path; from mergerexp.sweep import job; job.LEASE_S = 0.3; "
        f"job.Job({TARGET!r}, Path({str(folder.path)!r}))()"
    )
    with folder.lock():
        assert subprocess.run([sys.executable, "-c", code]).returncode == HELD
    assert folder.status()["state"] == RUNNING
    stand_in.says("sacct", f"4711|FAILED|{HELD}:0\n")
    stand_in.says("sbatch", "Submitted batch job 4712\n")
    slurm = Slurm(options(), tmp_path / "sweep", None)
    slurm.watch([Job(TARGET, folder.path)])
    slurm.poll()
    assert read_json(Path(read_json(folder.submission)["record"]))["array"] == "4712"


def test_sbatch_that_fails_for_a_moment(stand_in, tmp_path):
    """What it may have submitted is cancelled, and what was preempted is tried again."""
    (folder,) = submitted(tmp_path)
    note = read_json(folder.submission)
    stand_in.says("sacct", "4711|PREEMPTED|0:0\n")
    stand_in.says("sbatch", "", code=1, then="echo 'Socket timed out on send/recv operation' >&2")
    slurm = Slurm(options(), tmp_path / "sweep", None)
    slurm.watch([Job(TARGET, folder.path)])
    slurm.poll()
    assert folder.status()["state"] == RUNNING
    assert read_json(folder.submission) == note
    (cancelled,) = stand_in.asked("scancel")
    assert cancelled.startswith("--name mergerexp-sweep-")
    stand_in.says("sbatch", "Submitted batch job 4712\n")
    slurm.poll()
    assert folder.status()["state"] == QUEUED
    assert read_json(Path(read_json(folder.submission)["record"]))["array"] == "4712"


def test_arrays_of_a_sweep_share_its_limit(stand_in, tmp_path):
    """Slurm has a limit for each array alone; the first one may be another process's."""
    before, new = submitted(tmp_path, 3), [make(tmp_path, f"new{i}", steps=1) for i in range(5)]
    stand_in.says("squeue", "".join(f"4711_{i}|RUNNING|mergerexp-5weep000-abc\n" for i in range(3)))
    stand_in.says("sbatch", "Submitted batch job 4712\n")
    slurm = Slurm(options(parallel=4), tmp_path / "sweep", None)
    slurm.watch([Job(TARGET, folder.path) for folder in before])
    slurm.submit([Job(TARGET, folder.path) for folder in new])
    assert "--array=0-4%1" in next((tmp_path / "sweep" / "slurm").glob("*.sh")).read_text()
    slurm.poll()
    assert not limits_set(stand_in)
    for folder in before[:2]:
        folder.set_state(DONE)
    stand_in.says("scontrol", "", code=1)
    slurm.poll()
    stand_in.says("scontrol", "")
    slurm.poll()  # what Slurm did not do is tried again
    before[2].set_state(FAILED)
    slurm.poll()
    slurm.poll()
    assert limits_set(stand_in) == ["4712: 3", "4712: 3", "4712: 4"]


def test_a_later_process_may_raise_the_limit(stand_in, tmp_path):
    """The one that submitted the jobs may have left (wait=false), or the limit may have been too small."""
    folders = [make(tmp_path, f"job{i}", steps=1) for i in range(6)]
    stand_in.says("sbatch", "Submitted batch job 4712\n")
    (tmp_path / "sweep").mkdir()
    jobs = [Job(TARGET, folder.path) for folder in folders]
    Slurm(options(parallel=2), tmp_path / "sweep", None).submit(jobs)
    later = Slurm(options(parallel=4), tmp_path / "sweep", None)
    later.watch(jobs)
    stand_in.says("squeue", "".join(f"4712_{i}|RUNNING|mergerexp-sweep-abc\n" for i in range(6)))
    later.poll()
    later.poll()
    assert limits_set(stand_in) == ["4712: 4"]


def test_fewer_jobs_at_once_than_arrays_are_refused(stand_in, tmp_path):
    folders = [make(tmp_path, f"job{i}", steps=1) for i in range(5)]
    stand_in.says("scontrol", "MaxArraySize            = 2\n")
    with pytest.raises(UserError, match=r"at most 2 jobs here, and each of the 3 arrays .* use 3 or more"):
        Slurm(options(parallel=2), tmp_path, None).submit([Job(TARGET, folder.path) for folder in folders])
    assert not stand_in.asked("sbatch")


def limits_set(stand_in) -> list[str]:
    updates = [line.split() for line in stand_in.asked("scontrol") if line.startswith("update")]
    return [f"{job.removeprefix('JobId=')}: {limit.split('=')[1]}" for _, job, limit in updates]


def test_more_jobs_than_an_array_may_have(stand_in, tmp_path):
    """They become several arrays, which share the sweep's limit."""
    folders = [make(tmp_path, f"job{index}", steps=1) for index in range(8)]
    stand_in.says("scontrol", "MaxArraySize            = 3\n")
    count = f"$(wc -l <{stand_in.folder}/sbatch.asked)"
    stand_in.says("sbatch", "", then=f'echo "Submitted batch job 50{count}"')
    (tmp_path / "sweep").mkdir()
    slurm = Slurm(options(parallel=5), tmp_path / "sweep", None)
    slurm.submit([Job(TARGET, folder.path) for folder in folders])
    records = [read_json(path) for path in sorted((tmp_path / "sweep").glob("array-*.json"))]
    assert [len(record["tasks"]) for record in records] == [3, 3, 2]
    named = [job for record in records for (job,) in record["tasks"]]
    assert named == [str(folder.path) for folder in folders]
    assert [read_json(folder.submission)["index"] for folder in folders] == [0, 1, 2, 0, 1, 2, 0, 1]
    scripts = [path.read_text() for path in (tmp_path / "sweep" / "slurm").glob("*.sh")]
    arrays = {line for script in scripts for line in script.splitlines() if "--array" in line}
    assert arrays == {f"#SBATCH --array={tasks}" for tasks in ("0-2%2", "0-2%2", "0-1%1")}
    queued = "".join(
        f"{record['array']}_{at}|RUNNING|{record['name']}\n"
        for record in records
        for at in range(len(record["tasks"]))
    )
    stand_in.says("squeue", queued)
    slurm.poll()
    second, third = (record["array"] for record in records[1:])
    for folder in folders[:2]:
        folder.set_state(DONE)
    slurm.poll()
    assert limits_set(stand_in) == [f"{second}: 3"]
    for folder in folders[:6]:
        folder.set_state(DONE)
    slurm.poll()
    assert limits_set(stand_in)[-1] == f"{third}: 2"


def test_arrays_of_which_one_is_refused_are_none(stand_in, tmp_path):
    folders = [make(tmp_path, f"job{index}", steps=1) for index in range(4)]
    stand_in.says("scontrol", "MaxArraySize            = 3\n")
    refuse = f'[ $(wc -l <{stand_in.folder}/sbatch.asked) -gt 1 ] && exit 1; echo "Submitted batch job 77"'
    stand_in.says("sbatch", "", then=refuse)
    (tmp_path / "sweep").mkdir()
    slurm = Slurm(options(), tmp_path / "sweep", None)
    with pytest.raises(UserError, match="Slurm refuses the jobs"):
        slurm.submit([Job(TARGET, folder.path) for folder in folders])
    assert len(set(stand_in.asked("scancel"))) == 2
    assert not list((tmp_path / "sweep").glob("array-*.json"))
    assert not any(folder.submission.exists() for folder in folders)


def test_a_sweep_that_slurm_refuses_is_none(stand_in, run_train, tmp_path, capsys):
    """Otherwise the status verb would show it as the most recent one."""
    sweep = ("-m", "fold=0,1", "hydra/launcher=slurm", "hydra.launcher.gpus=0", "tracking=none")
    stand_in.says("sbatch", "", code=1, then="echo 'Invalid qos specification' >&2")
    assert run_train(*sweep) == 2
    assert "Invalid qos specification" in capsys.readouterr().err
    assert find_sweeps(tmp_path / "sweeps") == []
    stand_in.says("sbatch", "Submitted batch job 4711\n")
    assert run_train(*sweep, "hydra.launcher.wait=false") == 0
    (sweep_folder,) = find_sweeps(tmp_path / "sweeps")
    known = sweep_folder.file.read_bytes()
    stand_in.says("squeue", "slurm_load_jobs error", code=1)
    assert run_train(*sweep) == 2
    assert sweep_folder.file.read_bytes() == known


def test_a_failed_job_that_has_not_left_yet_is_no_job_under_way(stand_in, tmp_path):
    (folder,) = submitted(tmp_path)
    folder.set_state(FAILED, error="ValueError: bad seed")
    stand_in.says("squeue", "4711|RUNNING|mergerexp-5weep000-abc\n", then=f": >{stand_in.folder}/squeue.out")
    slurm = Slurm(options(), tmp_path / "sweep", None)
    assert slurm.active([folder]) == set()
    assert len(stand_in.asked("squeue")) > 2  # it was waited for
    stand_in.says("squeue", "4711|PENDING|mergerexp-5weep000-abc\n")  # a site's RequeueExit
    ticket = slurm_accounting.log_path(folder, "4711").with_name("4711_submitted.pkl")
    ticket.parent.mkdir()
    ticket.touch()
    assert slurm.active([folder]) == {folder}


def test_local_processes_do_not_start_what_may_be_in_a_silent_queue(stand_in, tmp_path):
    folders = submitted(tmp_path)
    stand_in.says("squeue", "", code=1)
    with pytest.raises(UserError, match="squeue does not answer"):
        slurm_queue.refuse_jobs_in_slurm(folders)


def test_a_late_signal_does_not_undo_what_is_done(tmp_path):
    folder = make(tmp_path, "job", steps=1)
    for state, then in ((RUNNING, QUEUED), (STOPPED, QUEUED), (DONE, DONE)):
        folder.set_state(state)
        Job(TARGET, folder.path).checkpoint()
        assert folder.status()["state"] == then
