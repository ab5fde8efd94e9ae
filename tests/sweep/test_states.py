"""The states of jobs as ``status`` tells them, of jobs whose processes cannot be seen from here."""

from __future__ import annotations

import io
import platform
import time
from pathlib import Path

import pytest
from rich.console import Console

from mergerexp.files import write_json
from mergerexp.runs.job_folder import LOST, QUEUED, RUNNING, JobFolder
from mergerexp.sweep.progress import Forecast
from mergerexp.sweep.states import JobState, collect
from mergerexp.sweep.view import state_table


def states_of(path: Path, host: str, state: str = RUNNING) -> list[JobState]:
    """Return the states of a job that last wrote three hours ago on a host, after 90 s of training."""
    folder = JobFolder(path)
    folder.set_state(state, job_started=1.0, seconds=90.0, stage="finetune", epoch=3)
    written = {"host": host, "updated": time.time() - 3 * 3600}
    write_json(folder.status_file, {**folder.status(), **written})
    return collect([folder], ["fold=0"])


def test_a_run_of_another_host_does_not_count_on_and_tells_its_silence(tmp_path):
    states = states_of(tmp_path / "run", "former-name")
    assert [(each.state, each.seconds, each.host) for each in states] == [(RUNNING, 90.0, "former-name")]
    assert states[0].silent_s == pytest.approx(3 * 3600, abs=60)
    console = Console(file=io.StringIO(), width=200)
    console.print(state_table(states, "sweep", Forecast({}), console.width))
    shown = console.file.getvalue()
    assert "on former-name, silent for 3 h" in shown
    assert "1:30" in shown


def test_a_run_of_this_host_whose_process_is_gone_is_lost(tmp_path):
    (state,) = states_of(tmp_path / "run", platform.node())
    assert (state.state, state.silent_s) == (LOST, None)


def test_a_job_that_waits_elsewhere_is_not_silent(tmp_path):
    (state,) = states_of(tmp_path / "run", "elsewhere", QUEUED)
    assert (state.state, state.silent_s) == (QUEUED, None)
