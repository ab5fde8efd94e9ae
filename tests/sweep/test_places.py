"""How many runs share a GPU: as many as is said, or as many as its memory holds by what one takes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mergerexp.config.launcher import AUTO, LocalOptions
from mergerexp.runs.job_folder import RUNNING, JobFolder
from mergerexp.sweep import mps
from mergerexp.sweep.local import make_places
from mergerexp.sweep.mps import Mps
from mergerexp.sweep.places import MeasuredPlaces, Places


class Tools:
    """Stand-ins for the tools of NVIDIA's driver, which say what they are told to say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def says(self, tool: str, script: str) -> None:
        path = self.folder / tool
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def memory(self, *used: float, total: float = 80_000) -> None:
        lines = [f"{i}, GPU-made-up-{i}, {mb:g}, {total:g}" for i, mb in enumerate(used)]
        listed = [f"GPU {i}: made up" for i in range(len(used))]
        both = [f"echo '{line}';" for line in listed], [f"echo '{line}';" for line in lines]
        self.says(
            "nvidia-smi", f"case $1 in --list-gpus) {' '.join(both[0])} ;; *) {' '.join(both[1])} ;; esac"
        )


@pytest.fixture
def tools(tmp_path, monkeypatch) -> Tools:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return Tools(tmp_path / "bin")


def options(n_jobs: int | None = None, runs_per_gpu: int | str = 1) -> LocalOptions:
    return LocalOptions(n_jobs=n_jobs, runs_per_gpu=runs_per_gpu, rerun="failed")


def take_all(places: Places) -> list[str | None]:
    taken = []
    while (place := places.take()) is not None:
        taken.append(places.gpu(place))
    return taken


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (options(), ["0", "1"]),
        (options(runs_per_gpu=3), ["0", "1"] * 3),
        (options(n_jobs=3), ["0", "1", "0"]),
        (options(runs_per_gpu=AUTO), ["0", "1"]),
    ],
)
def test_places_are_on_the_gpus_in_turn(given, expected, tools):
    tools.memory(0, 0)
    assert take_all(make_places(given)) == expected


def test_a_machine_without_gpus_has_places_for_its_cores(tools, monkeypatch, caplog):
    tools.says("nvidia-smi", "exit 9")
    monkeypatch.setattr("mergerexp.sweep.local.usable_cores", lambda: 3)
    monkeypatch.setattr("mergerexp.sweep.local.memory_gb", lambda: 100.0)
    assert take_all(make_places(options(runs_per_gpu=AUTO))) == [None] * 3
    assert not caplog.records
    assert take_all(make_places(options(runs_per_gpu=4))) == [None] * 3
    assert "hydra.launcher.runs_per_gpu=4 has no effect" in caplog.text


def job(folder: Path, name: str, **status: object) -> JobFolder:
    made = JobFolder(folder / name)
    made.set_state(RUNNING, is_last_stage=True, **status)
    return made


@pytest.mark.parametrize(("used", "fit"), [(9000, 8), (25_000, 2), (30_000, 2), (60_000, 1), (1010, 1)])
def test_as_many_as_the_memory_holds(used, fit, tools, tmp_path):
    """1 GB is used by others; what is measured is what the first run adds to that, once it is at its most."""
    tools.memory(1000)
    places = MeasuredPlaces(["0"])
    assert take_all(places) == ["0"]
    first = job(tmp_path, "first")
    tools.memory(used)
    places.look({0: first})
    assert take_all(places) == []  # its first epoch is not over
    first.set_state(RUNNING, epoch=0)
    places.look({0: first})
    assert len(take_all(places)) == fit - 1
    tools.memory(79_000)
    places.look({0: first})
    assert take_all(places) == []  # it is measured once


def test_what_a_resumed_run_had_before_is_no_measurement(tools, tmp_path):
    tools.memory(0)
    places = MeasuredPlaces(["0"])
    taken = {places.take(): job(tmp_path, "resumed", epoch=7)}
    for _ in range(2):
        places.look(taken)
    assert take_all(places) == []
    tools.memory(20_000)
    taken[0].set_state(RUNNING, epoch=8)
    places.look(taken)
    assert len(take_all(places)) == 2


def test_each_gpu_has_its_own_number(tools, tmp_path):
    tools.memory(0, 0)
    places = MeasuredPlaces(["GPU-made-up-0", "GPU-made-up-1"])
    taken = {places.take(): job(tmp_path, "a"), places.take(): job(tmp_path, "b")}
    places.look(taken)
    tools.memory(30_000, 10_000)
    taken[1].set_state(RUNNING, epoch=0)
    places.look(taken)
    assert take_all(places) == ["GPU-made-up-1"] * 6
    places.leave(0)
    assert take_all(places) == ["GPU-made-up-0"]


def started(tools: Tools, *gpus: str) -> tuple[list[dict[str, str]], str]:
    service = Mps(gpus)
    variables = [service.variables(gpu) for gpu in gpus]
    service.stop()
    said = tools.folder / "said"
    return variables, said.read_text() if said.exists() else ""


def mps_tool(tools: Tools) -> None:
    said = tools.folder / "said"
    tools.says(mps.TOOL, f'echo "$CUDA_VISIBLE_DEVICES: ${{1:-$(cat)}} in $CUDA_MPS_PIPE_DIRECTORY" >>{said}')


def test_a_service_for_each_gpu_which_ends_with_the_runs(tools, monkeypatch):
    mps_tool(tools)
    monkeypatch.setattr(mps, "PROBE", "import os; assert os.environ['CUDA_VISIBLE_DEVICES'] == '0'")
    variables, said = started(tools, "2", "5")
    assert [each["CUDA_VISIBLE_DEVICES"] for each in variables] == ["0", "0"]
    pipes = [each[mps.PIPES] for each in variables]
    assert [f"2: -d in {pipes[0]}" in said, f"5: -d in {pipes[1]}" in said] == [True, True]
    assert [f"quit in {path}" in said for path in pipes] == [True, True]
    assert not any(Path(path).exists() for path in pipes)


def test_a_service_that_does_not_work_is_not_used(tools, monkeypatch):
    mps_tool(tools)
    monkeypatch.setattr(mps, "PROBE", "raise SystemExit(805)")
    variables, said = started(tools, "2")
    assert variables == [{"CUDA_VISIBLE_DEVICES": "2"}]
    assert "quit" in said


def test_no_service_is_started_where_the_site_has_one_or_there_is_none(tools, monkeypatch):
    assert started(tools, "2") == ([{"CUDA_VISIBLE_DEVICES": "2"}], "")
    mps_tool(tools)
    monkeypatch.setenv(mps.PIPES, "/run/mps")
    assert started(tools, "2") == ([{"CUDA_VISIBLE_DEVICES": "2"}], "")
