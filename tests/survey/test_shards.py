"""A survey in shards gives the bytes of a survey in one piece, whatever happens to its jobs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mergerexp.status
from mergerexp.files import read_json
from mergerexp.survey import shards as shards_module
from mergerexp.survey.catalogue import NAME

real = shards_module.write_shard
LOCAL = ("-m", "hydra/launcher=local", "hydra.launcher.n_jobs=2")


def contents(folder: Path) -> dict[str, bytes]:
    files = [*folder.glob("*.*"), *(folder / "parts").glob("*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.is_file()}


@pytest.mark.training
def test_shards_give_the_bytes_of_one_process(predict, field, tmp_path, capsys):
    assert predict(field, "name=whole") == 0
    assert predict(field, *LOCAL, "name=shared", "shards=2") == 0
    said = capsys.readouterr().err
    assert "2 shards, 0 of 3 parts done before, 2 to start" in said
    whole, shared = (contents(tmp_path / "surveys" / name) for name in ("whole", "shared"))
    assert len(whole) > 8 and whole == shared
    statuses = [
        read_json(path) for path in (tmp_path / "surveys" / "shared" / "shards").glob("*/status.json")
    ]
    assert [status["state"] for status in statuses] == ["done"] * 2
    (tmp_path / "surveys" / "shared" / "parts" / "part-000001.parquet").unlink()
    assert predict(field, *LOCAL, "name=shared", "shards=2") == 0
    assert "2 shards, 2 of 3 parts done before, 1 to start" in capsys.readouterr().err
    assert contents(tmp_path / "surveys" / "shared") == whole


def status(monkeypatch, capsys, *arguments: str) -> tuple[int, str]:
    """Return the exit code of the status verb and what it says."""
    monkeypatch.setattr("sys.argv", ["status", *arguments])
    capsys.readouterr()
    code, said = mergerexp.status.main(), capsys.readouterr()
    return code, said.out + said.err


def test_status_shows_the_shards(predict, field, monkeypatch, capsys):
    assert predict(field, *LOCAL, "shards=2") == 0
    code, said = status(monkeypatch, capsys)
    assert code == 0 and "part 2/2" in said.splitlines()[3] and "shard 2 of 2  done" in said
    assert "objects/s" in said and "best acc." not in said
    shown = json.loads(status(monkeypatch, capsys, "--json")[1])["runs"]
    labels = [(state["label"], state["state"]) for state in shown]
    assert labels == [("shard 1 of 2", "done"), ("shard 2 of 2", "done")]
    assert "2/2 done" in status(monkeypatch, capsys, "--list")[1]
    code, said = status(monkeypatch, capsys, "--sync")  # surveys have no record in MLflow
    assert code == 2 and "no run in" in said
    (sweep,) = json.loads(status(monkeypatch, capsys, "--list", "--json")[1])
    code, said = status(monkeypatch, capsys, "--sync", sweep["sweep"])
    assert code == 2 and "rates a survey, of which MLflow has no record" in said


def test_a_shard_that_fails_is_named(predict, field, model_folder, tmp_path, monkeypatch, capsys):
    """Here it finds another model than the one that it was planned with."""
    monkeypatch.setattr("mergerexp.survey.survey.Survey.look", lambda self: None)
    monkeypatch.setattr(
        "mergerexp.survey.shards.write_shard",
        lambda folder, cfg, device, number: real(folder, cfg, device, number) if number else broken(folder),
    )

    def broken(folder) -> None:
        folder.path.mkdir(parents=True)
        (folder.path / "shard.yaml").write_text("number: 0\n")

    assert predict(field, *LOCAL, "shards=2") == 1
    said = capsys.readouterr().err
    assert "2 parts of 3 not rated; " in said and "mergerexp.status" in said
    assert not list((tmp_path / "surveys").rglob("*.csv.gz"))
    monkeypatch.setattr("mergerexp.survey.shards.write_shard", real)
    assert predict(field, *LOCAL, "shards=2") == 0


def test_all_rated_before_starts_no_job(predict, field, tmp_path, monkeypatch):
    assert predict(field) == 0
    monkeypatch.setattr(shards_module, "make_scheduler", None)
    (tmp_path / "surveys" / "field" / f"{NAME}.parquet").unlink()
    assert predict(field, *LOCAL, "shards=3") == 0
    assert (tmp_path / "surveys" / "field" / f"{NAME}.parquet").is_file()


def test_what_a_killed_process_left_is_removed(predict, field, tmp_path):
    assert predict(field) == 0
    folder = tmp_path / "surveys" / "field"
    left = [folder / f".{NAME}.parquet.{'a' * 16}.partial", folder / f".ids.{'b' * 16}.partial"]
    left.append(folder / "parts" / f".part-000001.parquet.{'c' * 16}.partial")
    left[1].mkdir()
    for path in (left[0], left[1] / "3", left[2]):
        path.write_bytes(b"half")
    assert predict(field) == 0
    assert not any(path.exists() for path in left)
