"""``status --sync``: asks the store, completes it, and says where there is none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mergerexp import status
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
    return {run.info.run_name for run in client.search_runs(["1"])}


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
