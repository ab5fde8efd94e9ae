"""Submission to a real Slurm: what is adopted, what is submitted anew, and whose settings count."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest

from mergerexp.files import read_json, write_json
from mergerexp.runs.job_folder import DONE, QUEUED, RUNNING, JobFolder
from mergerexp.sweep import slurm_accounting, slurm_queue
from mergerexp.sweep.job import Job
from mergerexp.sweep.slurm import Slurm, outside_of_any_job
from mergerexp.sweep.states import collect
from tests.slurm.conftest import sandbox_environment
from tests.slurm.jobs import command, meanwhile, options, run, starts, sweep_of
from tests.sweep.tasks import TARGET, make

pytestmark = pytest.mark.usefixtures("clean_queue")


def in_queue(folders: list[JobFolder]) -> bool:
    return bool(slurm_queue.require_queue(folders).states)


@pytest.mark.parametrize(("n", "looked_at"), [(1, False), (2, False), (2, True)])
def test_the_submitting_process_died_inside_sbatch(n, looked_at, tmp_path):
    """Its jobs would wait for submitit's files in vain: they are cancelled and submitted anew."""
    folders = [make(tmp_path, f"job{i}", steps=3) for i in range(n)]
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "sbatch").write_text(f'#!/bin/sh\n{shutil.which("sbatch")} "$@"\nexec sleep 5\n')
    (fake / "sbatch").chmod(0o755)
    submit = (
        "import sys; from pathlib import Path; from mergerexp.runs.job_folder import JobFolder; "
        "from tests.slurm.jobs import run; run([JobFolder(Path(path)) for path in sys.argv[1:]])"
    )
    environment = {**os.environ, "PATH": f"{fake}:{os.environ['PATH']}"}
    line = [sys.executable, "-c", submit, *(str(folder.path) for folder in folders)]
    process = subprocess.Popen(line, env=environment)
    while not (all(folder.submission.is_file() for folder in folders) and in_queue(folders)):
        assert process.poll() is None
        time.sleep(0.1)
    process.kill()
    process.wait()
    (interrupted,) = sweep_of(folders).glob("array-*.json")
    assert read_json(interrupted)["array"] is None
    if looked_at:  # which notes the array's id
        collect(folders, ["a", "b"])
        assert read_json(interrupted)["array"] is not None
    run(folders)
    assert {folder.status()["state"] for folder in folders} == {DONE}
    assert all(len(starts(folder)) == 1 for folder in folders)
    assert len(list(sweep_of(folders).glob("array-*.json"))) == 2
    assert not list((sweep_of(folders) / "slurm").glob("*_log.err"))


def test_cancelled_and_given_again_at_once(tmp_path):
    folder = make(tmp_path, "job", steps=100)  # more than it could finish while it is being killed
    run([folder], wait=False)
    meanwhile(lambda: slurm_queue.cancel([folder]), folder).join()
    assert in_queue([folder])  # it is still completing
    run([folder])
    assert folder.status()["state"] == DONE
    assert len(starts(folder)) == 2


def test_cancelled_jobs_that_do_not_leave(tmp_path, monkeypatch):
    folder = make(tmp_path, "job", steps=600)
    run([folder], wait=False)
    write_json(folder.submission, {**read_json(folder.submission), "cancelled": True})
    monkeypatch.setattr("mergerexp.sweep.slurm.LEAVE_S", 1.0)
    with pytest.raises(slurm_queue.UserError, match="Slurm's queue still has 1 job that is over"):
        run([folder])


@pytest.mark.parametrize("state", [QUEUED, RUNNING, DONE, None])
def test_cancelling_leaves_the_jobs_own_word_alone(state, tmp_path, monkeypatch):
    """Even if the job says it between squeue and the end of scancel."""
    folder = make(tmp_path, "job", steps=2)
    run([folder], wait=False, extra={"hold": True})
    ask = slurm_queue.slurm_answer

    def and_meanwhile(*words: str) -> str | None:
        if words[0] == "scancel":
            folder.set_state(state) if state else (folder.path / "status.json").write_text("")
        return ask(*words)

    monkeypatch.setattr(slurm_queue, "slurm_answer", and_meanwhile)
    status = folder.status()
    assert slurm_queue.cancel([folder]) == 1
    assert folder.status().get("state") == state
    assert folder.status().get("error") is None
    assert slurm_accounting.final_state(folder, None) == ("stopped", "cancelled")
    assert status["state"] == QUEUED


def test_a_users_filters_do_not_hide_jobs(tmp_path, monkeypatch):
    folder = make(tmp_path, "job", steps=2)
    run([folder], wait=False, extra={"hold": True})
    monkeypatch.setenv("SQUEUE_STATES", "RUNNING")
    monkeypatch.setenv("SQUEUE_USERS", "nobody")
    monkeypatch.setenv("SCANCEL_STATE", "RUNNING")
    monkeypatch.setenv("SACCT_FORMAT", "User")
    assert Slurm(options(), sweep_of([folder]), code=None).active([folder]) == {folder}
    assert slurm_queue.cancel([folder]) == 1
    monkeypatch.delenv("SQUEUE_STATES")
    monkeypatch.delenv("SQUEUE_USERS")
    assert not command("squeue", "-h", "-t", "PENDING")


def test_a_users_own_settings_count(tmp_path, monkeypatch):
    """Outside of any job, where the launcher says nothing."""
    monkeypatch.setenv("SBATCH_PARTITION", "urgent")
    monkeypatch.setenv("SBATCH_JOB_NAME", "mine")
    theirs, ours = make(tmp_path, "theirs", steps=2), make(tmp_path, "ours", steps=2)
    run([theirs], wait=False, extra={"hold": True})
    run([ours], wait=False, partition="main", extra={"hold": True})
    ids = slurm_queue.job_ids([theirs, ours])
    said = [command("squeue", "-h", "-j", ids[folder], "-o", "%P %j") for folder in (theirs, ours)]
    assert [line.split(" mergerexp-")[0] for line in said] == ["urgent", "main"]


def test_what_is_hidden_from_sbatch(monkeypatch):
    site = {"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_CLUSTERS"}
    given = {*site, "SLURM_MEM_PER_NODE", "SBATCH_ACCOUNT"}
    with monkeypatch.context() as patch:
        for key in (*given, "SUBMITIT_LOCAL_JOB_ID"):
            patch.setenv(key, "1")
        with outside_of_any_job():
            assert given <= os.environ.keys()
            assert "SUBMITIT_LOCAL_JOB_ID" not in os.environ
        patch.setenv("SLURM_JOB_ID", "1")
        with outside_of_any_job():
            assert given & os.environ.keys() == site
        assert os.environ["SBATCH_ACCOUNT"] == "1"


def test_no_record_is_written_over(tmp_path):
    folder = make(tmp_path, "job", steps=2)
    sweep = sweep_of([folder])
    write_json(sweep / "array-002.json", "the first one was deleted")
    Slurm(options(), sweep, code=None).submit([Job(TARGET, folder.path)])
    assert read_json(sweep / "array-002.json") == "the first one was deleted"
    assert (sweep / "array-003.json").is_file()


def test_the_sandbox_is_the_tests_own(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_SANDBOX_DIR", "/tmp/somebody's")
    monkeypatch.setenv("SLURM_SANDBOX_NODES", "1")
    assert sandbox_environment(tmp_path)["SLURM_SANDBOX_DIR"] == str(tmp_path)
    assert "SLURM_SANDBOX_NODES" not in sandbox_environment(tmp_path)
    assert cluster["SLURM_SANDBOX_DIR"].startswith("/tmp/mergerexp-slurm-")
