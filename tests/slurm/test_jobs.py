"""Jobs on a real Slurm: what ends them, what takes them up again, and what is said about them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time

import pytest

from mergerexp.errors import UserError
from mergerexp.files import read_json, write_json
from mergerexp.runs.job_folder import DONE, FAILED, LOST, QUEUED, RUNNING, STOPPED
from mergerexp.sweep import slurm_accounting
from mergerexp.sweep.slurm_queue import cancel, queue
from mergerexp.sweep.states import collect
from tests.slurm.jobs import command, job_id, meanwhile, run, starts, sweep_of
from tests.sweep.tasks import make

pytestmark = pytest.mark.usefixtures("clean_queue")


def test_one_array(tmp_path):
    folders = [make(tmp_path, f"job{i}", steps=2) for i in range(5)]
    run(folders, gpus=1, extra={"comment": "a word"}, setup=["export SAID=hello"])
    assert {folder.status()["state"] for folder in folders} == {DONE}
    (array,) = {job_id(folder).split("_")[0] for folder in folders}
    said = command("scontrol", "show", "job", f"{array}_0")
    assert "Comment=a_word" in said or "Comment=a word" in said
    assert "gres:gpu:1" in said or "gpu:1" in said


@pytest.mark.parametrize(
    ("how", "state", "reason"),
    [
        ("raise", FAILED, "ValueError: bad seed"),
        ("exit", LOST, "Slurm: FAILED (exit code 3:0); its log ends with: seven more steps"),
        ("memory", LOST, "killed for memory"),
    ],
)
def test_one_dies_and_the_others_go_on(how, state, reason, tmp_path):
    folders = [make(tmp_path, f"job{i}", steps=3) for i in range(2)]
    bad = make(tmp_path, "bad", steps=3, fails_at=2, how=how)
    run([folders[0], bad, folders[1]], mem="150MB")
    assert [folder.status()["state"] for folder in folders] == [DONE] * 2
    assert bad.status()["state"] == state
    assert reason in bad.status()["error"]
    (tmp_path / "mended").touch()
    run([bad])
    assert bad.status()["state"] == DONE


def fake_sacct(tmp_path, monkeypatch, script: str) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "sacct").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "sacct").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_site_without_accounting(tmp_path, monkeypatch):
    fake_sacct(tmp_path, monkeypatch, "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    monkeypatch.setattr(slurm_accounting, "ACCOUNTING_DELAY_S", 5.0)
    bad = make(tmp_path, "bad", steps=3, fails_at=2, how="exit")
    run([bad])
    unexplained = "Slurm: the job left the queue, and the accounting does not say why"
    assert bad.status()["error"] == f"{unexplained}; its log ends with: seven more steps"


def test_a_named_cluster(tmp_path):
    (line,) = [line for line in command("scontrol", "show", "config").splitlines() if "ClusterName" in line]
    name = line.split("=")[1].strip()
    folders = [make(tmp_path, "job", steps=2), make(tmp_path, "bad", steps=3, fails_at=2, how="exit")]
    run(folders, extra={"clusters": name})
    assert folders[0].status()["state"] == DONE
    assert folders[1].status()["error"].startswith("Slurm: FAILED (exit code 3:0)")
    (record,) = sweep_of(folders).glob("array-*.json")
    assert read_json(record)["clusters"] == name


def test_accounting_lags_behind(tmp_path, monkeypatch):
    """It says nothing at first, then that the job is running, and only then how it ended."""
    real, asked = shutil.which("sacct"), tmp_path / "asked"
    script = f"""
echo >>{asked}
case $(wc -l <{asked}) in
    1) exit 0 ;;
    2 | 3) {real} "$@" | sed 's/FAILED|3:0/RUNNING|0:0/' ;;
    *) exec {real} "$@" ;;
esac"""
    fake_sacct(tmp_path, monkeypatch, script)
    bad = make(tmp_path, "bad", steps=3, fails_at=2, how="exit")
    run([bad])
    assert len(asked.read_text().splitlines()) > 3
    assert bad.status()["error"].startswith("Slurm: FAILED (exit code 3:0)")


def preempt() -> None:
    command("sbatch", "-p", "urgent", "-N4", "--exclusive", "--wrap", "sleep 2", "-o", "/dev/null")


def test_preempted_by_an_urgent_job(tmp_path):
    folder = make(tmp_path, "job", steps=40)
    meanwhile(preempt, folder)
    run([folder])
    assert folder.status()["state"] == DONE
    first, second = starts(folder)
    assert (first, second > 4) == (0, True)  # it went on from the step that it was at


def test_site_that_cancels_what_it_preempts(tmp_path, site):
    """Whoever waits submits the job again; nobody does, and it is named with the reason."""
    site(" PreemptMode=REQUEUE GraceTime=10", " PreemptMode=CANCEL GraceTime=10")
    folder = make(tmp_path, "job", steps=40)
    meanwhile(preempt, folder)
    run([folder])
    assert folder.status()["state"] == DONE
    assert (starts(folder)[0], starts(folder)[-1] > 4) == (0, True)


def test_site_that_does_not_requeue_unless_told(tmp_path, site):
    site("JobRequeue=1", "JobRequeue=0")
    folder = make(tmp_path, "job", steps=40)
    meanwhile(preempt, folder)
    run([folder])
    assert folder.status()["state"] == DONE
    first, second = starts(folder)
    assert (first, second > 4) == (0, True)
    assert len(list(sweep_of([folder]).glob("array-*.json"))) == 1


def test_a_colleague_looks(tmp_path):
    """Another user's status finds the jobs, and where the site hides them believes what they wrote."""
    folder = make(tmp_path, "job", steps=60)
    run([folder], wait=False)
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:-2]:  # all of pytest's own below /tmp
        parent.chmod(0o755)
    look = (
        "import os, pathlib; from mergerexp.sweep.states import collect; "
        "from mergerexp.runs.job_folder import JobFolder; os.setuid(65534); "
        f"state, = collect([JobFolder(pathlib.Path({str(folder.path)!r}))], ['job']); print(state.state)"
    )

    def seen() -> str:
        done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    while folder.status()["state"] != RUNNING:
        time.sleep(0.1)
    assert seen() == RUNNING
    (record,) = sweep_of([folder]).glob("array-*.json")
    write_json(record, {**read_json(record), "name": "hidden", "array": "999999"})
    assert seen() == RUNNING


def test_site_that_refuses_to_requeue(tmp_path, monkeypatch):
    fake = tmp_path / "bin"
    fake.mkdir()
    real = shutil.which("scontrol")
    (fake / "scontrol").write_text(f'#!/bin/sh\n[ "$1" = requeue ] && exit 1\nexec {real} "$@"\n')
    (fake / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", str(fake), prepend=":")
    folder = make(tmp_path, "job", steps=40)
    meanwhile(lambda: command("scancel", "--signal=USR2", job_id(folder)), folder)
    run([folder])
    assert folder.status()["state"] == DONE
    first, second = starts(folder)
    assert (first, second > 4) == (0, True)
    assert len(list(sweep_of([folder]).glob("array-*.json"))) == 2


# Slurm looks every 30 s whose time is nearly up, so that a signal may come half a minute early. With a longer
# lead it might come before Python is there.
LEAD_S = 20


def test_out_of_time_is_requeued_and_goes_on(tmp_path):
    folder = make(tmp_path, "job", steps=560)
    run([folder], timeout=1, signal_lead=LEAD_S)
    assert folder.status()["state"] == DONE
    assert len(starts(folder)) > 1
    assert starts(folder)[1] > 0


def test_out_of_time_too_often(tmp_path):
    folder = make(tmp_path, "job", steps=10_000)
    run([folder], timeout=1, signal_lead=LEAD_S, max_requeues=0)
    assert folder.status()["state"] == FAILED
    assert "max_requeues" in folder.status()["error"]


@pytest.mark.parametrize("event", ["requeue", "node down"])
def test_taken_away_and_given_back(event, tmp_path):
    folder = make(tmp_path, "job", steps=100, every_step=True)

    def strike() -> None:
        if event == "requeue":
            command("scontrol", "requeue", job_id(folder))
        else:
            node = folder.status()["node"]
            command("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
            time.sleep(5)
            # by then it may have come back by itself
            subprocess.run(["scontrol", "update", f"NodeName={node}", "State=RESUME"], capture_output=True)

    thread = meanwhile(strike, folder)
    run([folder])
    thread.join()
    assert folder.status()["state"] == DONE
    assert starts(folder)[-1] > 4


def test_cancelled_and_taken_up_again(tmp_path):
    folder = make(tmp_path, "job", steps=100)
    meanwhile(lambda: cancel([folder]), folder)
    run([folder])
    assert folder.status()["state"] == STOPPED
    (state,) = collect([folder], ["job"])
    assert (state.state, state.error) == (STOPPED, "cancelled")
    run([folder])
    assert folder.status()["state"] == DONE
    assert starts(folder)[-1] > 4  # a checkpoint was written when SIGTERM came


def test_submitted_and_left_then_looked_at_again(tmp_path):
    folders = [make(tmp_path, f"job{i}", steps=30) for i in range(2)]
    run(folders, wait=False)
    assert {state.state for state in collect(folders, ["a", "b"])} <= {QUEUED, RUNNING}
    run(folders)  # nothing is submitted twice
    assert {folder.status()["state"] for folder in folders} == {DONE}
    assert all(len(starts(folder)) == 1 for folder in folders)


def test_the_submitting_process_died_before_it_knew_the_array(tmp_path):
    folder = make(tmp_path, "job", steps=30)
    run([folder], wait=False)
    (record,) = sweep_of([folder]).glob("array-*.json")
    write_json(record, {**read_json(record), "array": None})
    run([folder])
    assert folder.status()["state"] == DONE
    assert len(starts(folder)) == 1
    assert read_json(record)["array"] is not None


def test_nothing_is_submitted_while_slurm_does_not_answer(tmp_path, monkeypatch):
    folder = make(tmp_path, "job", steps=20)
    run([folder], wait=False)
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "squeue").write_text("#!/bin/sh\nexit 1\n")
    (fake / "squeue").chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(fake), prepend=":")
        with pytest.raises(UserError, match="squeue does not answer"):
            run([folder])
        with pytest.raises(UserError, match="squeue does not answer"):
            cancel([folder])
    run([folder])
    assert len(starts(folder)) == 1


def test_other_jobs_do_not_matter(tmp_path, monkeypatch):
    """Nameless ones, and those of an array of the same sweep below another root."""
    command("sbatch", "-J", "", "--wrap", "sleep 20", "-o", "/dev/null")
    monkeypatch.setenv("LOGNAME", "nobody")
    there, here = make(tmp_path / "a", "job", steps=600), make(tmp_path / "b", "job", steps=2)
    run([there], wait=False)
    run([here])
    assert here.status()["state"] == DONE
    assert there.status()["state"] in (QUEUED, RUNNING)


def test_squeue_that_names_the_cluster(tmp_path, monkeypatch):
    folder = make(tmp_path, "job", steps=40)
    run([folder], wait=False)
    expected = queue([folder])
    assert expected is not None and expected.states
    fake, real = tmp_path / "bin", shutil.which("squeue")
    fake.mkdir()
    (fake / "squeue").write_text(f'#!/bin/sh\necho "CLUSTER: physics"\nexec {real} "$@"\n')
    (fake / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(fake), prepend=":")
    named = queue([folder])
    assert named is not None and named.states.keys() == expected.states.keys()
    assert cancel([folder]) == 1


def test_refused_submission_leaves_nothing(tmp_path, capfd):
    folder = make(tmp_path, "job", steps=2)
    with pytest.raises(UserError, match="Slurm refuses the jobs"):
        run([folder], partition="nowhere")
    assert "partition" not in capfd.readouterr().err  # the error says it, once
    assert not folder.submission.exists()
    assert not list(sweep_of([folder]).glob("array-*.json"))


def test_launched_from_inside_a_job(tmp_path, monkeypatch):
    for key, value in {"SLURM_JOB_ID": "1", "SLURM_CPUS_PER_TASK": "99", "SBATCH_PARTITION": "none"}.items():
        monkeypatch.setenv(key, value)
    folder = make(tmp_path, "job", steps=2)
    run([folder])
    assert folder.status()["state"] == DONE
