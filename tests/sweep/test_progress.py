"""How long a sweep will still take: closed cases."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from mergerexp.console import duration, make_console
from mergerexp.runs.job_folder import DONE, FAILED, LOST, QUEUED, RUNNING
from mergerexp.sweep import view as view_module
from mergerexp.sweep.progress import Forecast
from mergerexp.sweep.states import JobState
from mergerexp.sweep.view import state_table


def job(name: str, state: str, seconds: float | None = None, epoch: int | None = None, epochs=None):
    where = {"stage": "finetune", "epoch": epoch, "epochs": epochs, "is_last_stage": True}
    return JobState(name, name, state, seconds=seconds, **where)


def queued(number: int) -> list[JobState]:
    return [job(f"queued {i}", QUEUED) for i in range(number)]


def test_finished_jobs_say_how_long_the_others_take():
    states = [job("a", DONE, 600.0), job("b", RUNNING, 60.0), job("c", RUNNING, 300.0), *queued(4)]
    # 540 s + 300 s + 4 x 600 s, two at once
    assert Forecast({}).left(states) == "about 27 min left"
    # one more takes as long as two others
    assert Forecast({"long": 2.0}).left([*states, job("long", QUEUED)]) == "about 37 min left"


def test_a_job_that_waits_for_its_turn_changes_nothing():
    forecast = Forecast({})
    states = [job("a", DONE, 600.0), job("b", RUNNING, 0.0), job("c", RUNNING, 0.0), *queued(2)]
    assert forecast.left(states) == "about 20 min left"
    assert forecast.left([*states[:2], job("c", DONE, 600.0), *queued(2)]) == "about 15 min left"


def test_no_sooner_than_the_longest_job():
    states = [job("short", DONE, 100.0), job("long", RUNNING, 10.0), job("other", RUNNING, 95.0)]
    assert Forecast({"long": 12.0}).left(states) == "about 20 min left"


def test_before_the_first_job_ends_its_epochs_give_a_bound():
    states = [job("a", RUNNING, 30.0, epoch=4, epochs=50), *queued(1)]  # 6 s an epoch
    assert Forecast({}).left(states) == "at most 10 min left"  # 270 s + 300 s
    assert Forecast({}).left([job("a", RUNNING, 30.0, epoch=4)]) == ""  # its last stage has not begun
    assert Forecast({}).left([job("a", RUNNING), *queued(3)]) == ""


def test_epochs_of_an_earlier_stage_give_no_bound():
    head = replace(job("a", RUNNING, 30.0, epoch=4, epochs=50), stage="head", is_last_stage=False)
    assert Forecast({}).left([head, *queued(1)]) == ""


def shown(states: list[JobState], width: int) -> list[str]:
    """Return the lines of the table of a sweep on a terminal of that width."""
    console = make_console(stderr=False)
    console.width, console.file = width, io.StringIO()
    console.print(state_table(states, "sweep 3c7bb957", Forecast({}), console.width))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return lines


def test_a_sweep_fits_80_columns():
    label = "init=imagenet,subset=0.17,fold=0"
    far = replace(job("a", RUNNING, 3000.0, epoch=39, epochs=500), label=label, best_accuracy=0.876)
    done = replace(far, name="b", state=DONE, epoch=499)
    lines = shown([far, done], 80)
    for row in ("finetune 40/500", "finetune 500/500"):
        assert any(label in line and row in line and "0.876" in line and "50:00" in line for line in lines)


KILLED = "killed by SIGKILL: out of memory? (see /scratch/me/mergers/runs/random-3f2a/log.txt)"


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize("node", ["gpu07", "worker-gpu-a100-0012"])
@pytest.mark.parametrize("reason", ["NODE_FAIL", KILLED])
def test_runs_and_reasons_are_readable_whatever_slurm_tells(width, node, reason):
    where = {"node": node, "restarts": 1, "best_accuracy": 0.941}
    runs = [f"init={init} subset=1.0 fold=0" for init in ("imagenet", "random")]
    on = replace(job("a", RUNNING, 1510.0, 39, 500), label=runs[0], job="4711_0", **where)
    lost = replace(on, name="b", label=runs[1], job="4711_39", state=LOST, error=reason)
    title, header, _, *lines = shown([on, lost], width)
    assert "1 running, 1 lost" in title
    assert {"run", "state", "epoch", "time", "reason"} <= set(header.split())
    assert ("node" in header, "restarts" in header) == (width == 140, width == 140)
    assert len(lines) <= (2 if reason == "NODE_FAIL" else 5) + 2
    first, at = header.index("state"), header.index("reason")
    assert " ".join(" ".join(line[:first] for line in lines).split()) == " ".join(runs)
    assert "".join("".join(line[at:] for line in lines).split()) == "".join(reason.split())


def test_a_terminal_of_50_columns_still_tells_what_failed_and_why():
    lost = replace(job("a", LOST, 1510.0, 39, 500), label="init=random fold=0", node="gpu07", error=KILLED)
    _, header, *_ = shown([lost], 50)
    assert header.split() == ["run", "state", "reason"]


def test_nothing_is_said_where_nothing_runs():
    assert Forecast({}).left([job("a", DONE, 600.0), *queued(2)]) == ""
    assert Forecast({}).left([job("a", DONE, 600.0), job("b", FAILED, 6.0)]) == ""
    assert Forecast({}).left([]) == ""
    assert Forecast({}, at_once=1).left([job("a", DONE, 600.0)]) == ""


def test_the_log_tells_how_far_running_jobs_are(caplog, monkeypatch):
    clock = iter([100.0, 110.0, 150.0, 215.0, 216.0])
    monkeypatch.setattr(view_module.time, "monotonic", lambda: next(clock))
    states = [job("a", DONE, 600.0, epoch=8, epochs=50), job("b", RUNNING, 60.0, epoch=4, epochs=50)]
    with caplog.at_level("INFO"), view_module.view("sweep", Forecast({})) as show:
        show(states)  # at once
        show(states)  # nothing new
        show(states)
        show(states)  # after a minute
        show([job("a", DONE, 600.0), job("b", DONE, 500.0)])  # the end is told at once
    assert [record.message for record in caplog.records] == [
        "sweep: 1 running, 1 done, about 9 min left; b at finetune 5/50",
        "sweep: 1 running, 1 done, about 9 min left; b at finetune 5/50",
        "sweep: 2 done",
    ]


def test_runs_one_after_the_other():
    assert Forecast({}, at_once=1).left([job("a", DONE, 600.0), *queued(2)]) == "about 20 min left"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2, "10 s"),
        (26, "30 s"),
        (50, "1 min"),
        (3590, "1 h"),
        (11400, "3 h 10 min"),
        (260000, "3 days"),
    ],
)
def test_times_have_at_most_two_units(seconds, text):
    assert duration(seconds) == text
