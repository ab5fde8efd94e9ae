"""``status``: its flags, its list of sweeps, and how ``--sync`` completes records."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mergerexp import status
from mergerexp.runs.sweep_folder import SweepFolder
from tests.studies import add_run, empty_store


@pytest.fixture
def sync(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(**environment: str) -> tuple[int, str]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("sys.argv", ["status", "--root", str(tmp_path), "--sync"])
        code = status.main()
        said = capsys.readouterr()
        return code, said.err + said.out

    return run


def names(store: Path) -> set[str]:
    client = MlflowClient(f"sqlite:///{store}")
    return {run.data.tags["mergerexp.run_folder"] for run in client.search_runs(["1"])}


def test_without_a_store_it_says_so_and_how_to_name_one(sync, tmp_path):
    first = add_run(tmp_path, "init=imagenet", "fold=0", "tracking=none")
    code, said = sync()
    assert code == 1
    assert said.startswith("MLflow has 0 of 0 runs that have begun, and 1 more has no store (tracking=none)")
    assert "MLFLOW_TRACKING_URI" in said
    second = add_run(tmp_path, "init=imagenet", "fold=1")
    assert "MLflow has 1 of 1 runs that have begun, and 1 more" in sync()[1]
    other = Path(shutil.copy(empty_store(), tmp_path / "other.db"))
    code, said = sync(MLFLOW_TRACKING_URI=f"sqlite:///{other}")
    assert (code, said.splitlines()[-1]) == (0, "MLflow has 2 of 2 runs that have begun")
    assert names(other) == {first.name, second.name}


@pytest.mark.slow
def test_runs_of_no_sweep_are_completed_too(sync, tmp_path):
    runs = [add_run(tmp_path, "init=imagenet", f"fold={fold}") for fold in (0, 1)]
    (tmp_path / "mlflow.db").unlink()
    code, said = sync()
    assert (code, said.splitlines()[-1]) == (0, "MLflow has 2 of 2 runs that have begun")
    assert "is no longer in MLflow" in said
    assert names(tmp_path / "mlflow.db") == {run.name for run in runs}


def test_no_secret_is_taken_from_the_environment(sync, tmp_path):
    add_run(tmp_path, "init=imagenet", "fold=0", "tracking=none")
    code, said = sync(MLFLOW_TRACKING_URI="http://localhost:1/?token=hunter2")
    assert code == 2
    assert "hunter2" not in said
    assert not list(tmp_path.glob("runs/*/mlflow.json"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--watsh"], "--watsh: no such flag; did you mean --watch? (--help lists the flags)"),
        (["--rot=/r"], "--rot: no such flag; did you mean --root? (--help lists the flags)"),
        (["--fold"], "--fold: no such flag (--help lists the flags)"),
        (["3f2a", "9e75"], "unrecognized arguments: 9e75 (--help lists the flags)"),
        (["--list", "--watch"], "--list and --watch can't be combined"),
        (["--list", "--cancel", "--json"], "--list and --cancel and --json can't be combined"),
        (["--sync", "--json"], "--sync and --json can't be combined"),
        (["3f2a", "--list"], "--list lists all sweeps: leave 3f2a out, or leave --list out to look at it"),
        (["--list"], "no sweep in {root}/sweeps; --root or MERGEREXP_ROOT says where to look"),
        (["--list", "--json"], "no sweep in {root}/sweeps; --root or MERGEREXP_ROOT says where to look"),
        ([], "no sweep in {root}/sweeps; --root or MERGEREXP_ROOT says where to look"),
    ],
)
def test_mistakes_get_one_line(arguments, message, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("sys.argv", ["status", "--root", str(tmp_path), *arguments])
    assert status.main() == 2
    assert capsys.readouterr().err == f"error: {message.format(root=tmp_path)}\n"


def test_runs_that_no_sweep_has_are_not_passed_over(monkeypatch, tmp_path, capsys):
    add_run(tmp_path, "init=imagenet", "fold=0", "tracking=none")
    monkeypatch.setattr("sys.argv", ["status", "--root", str(tmp_path)])
    assert status.main() == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path} has 1 run and no sweep: what was given without -m, or could not be submitted, "
        "is none. The same command goes on with a run, or shows its results; --root or MERGEREXP_ROOT says "
        "where else to look\n"
    )


def test_sweeps_are_listed_for_people_and_for_programs(monkeypatch, tmp_path, capsys):
    run = add_run(tmp_path, "init=imagenet", "fold=0", "tracking=none")
    sweep = SweepFolder.of(tmp_path / "sweeps", [run])
    sweep.write([run], [["fold=0"]], [1.0])

    def listed(*flags: str) -> str:
        monkeypatch.setattr("sys.argv", ["status", "--root", str(tmp_path), "--list", *flags])
        assert status.main() == 0
        return capsys.readouterr().out

    assert re.fullmatch(rf"{sweep.name}  \d{{4}}-\d\d-\d\d \d\d:\d\d  1/1 done  \S.*\n", listed())
    (row,) = json.loads(listed("--json"))
    assert (row["sweep"], row["done"], row["runs"]) == (sweep.name, 1, 1)
    assert row["command"] == sweep.read()["command"]
