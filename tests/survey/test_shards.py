"""A survey in shards gives the bytes of a survey in one piece, whatever happens to its jobs."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

import mergerexp.status
from mergerexp.files import read_json, remove_partial
from mergerexp.survey import shards as shards_module
from mergerexp.survey.catalogue import NAME
from mergerexp.survey.parts import Parts, write_parquet

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
    """Here its settings are damaged."""
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


def test_a_shard_that_starts_after_the_merge_has_nothing_to_do(predict, field, tmp_path):
    """Slurm may requeue a job whose parts others have rated meanwhile; the list of objects is gone then."""
    assert predict(field, *LOCAL, "shards=2") == 0
    (first, _) = sorted((tmp_path / "surveys" / "field" / "shards").iterdir())
    assert not (tmp_path / "surveys" / "field" / "objects.arrow").exists()
    shards_module.rate_shard(first)
    assert read_json(first / "status.json")["state"] == "done"
    next((tmp_path / "surveys" / "field" / "parts").iterdir()).unlink()
    assert predict(field, *LOCAL, "shards=2") == 0


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


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("-m", "prevalence=0.1,0.2"), "2 cells would write into"),
        (("shards=3",), "shards=3: a launcher starts the jobs of a survey; add -m"),
        ((*LOCAL, "shards=2", "hydra.launcher.rerun=all"), "hydra.launcher.rerun=all: parts that are there"),
        (("name=..",), "name=..: "),
    ],
)
def test_what_would_be_mixed_or_ignored_is_refused(given, message, predict, field, tmp_path, capsys):
    assert predict(field, *given) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.parquet"))


def test_two_surveys_of_the_same_objects_are_two_sweeps(predict, field, tmp_path):
    for name in ("one", "other"):
        assert predict(field, *LOCAL, "shards=2", f"name={name}") == 0
    sweeps = [read_json(path) for path in (tmp_path / "sweeps").glob("*/sweep.json")]
    assert len(sweeps) == 2
    assert {run["folder"].split("/")[1] for sweep in sweeps for run in sweep["runs"]} == {"one", "other"}


def test_the_working_directory_has_a_name(predict, field, tmp_path, monkeypatch):
    monkeypatch.chdir(field)
    assert predict(Path(), *LOCAL, "shards=2") == 0
    assert (tmp_path / "surveys" / "field" / f"{NAME}.parquet").is_file()


def test_a_part_that_another_process_makes_meanwhile_is_no_fault(tmp_path):
    """Its merge has removed what was half written; the part is there, with the same bytes."""
    parts = Parts(tmp_path, "work", 2, 1, 2)
    table = pa.table({"objid": [1, 2]})

    parts.write(0, [table])
    with pytest.MonkeyPatch.context() as patch:

        def and_removed(path, rows):
            write_parquet(path, rows)
            remove_partial(tmp_path)

        patch.setattr("mergerexp.survey.parts.write_parquet", and_removed)
        parts.write(0, [table])
        parts.path(0).unlink()
        with pytest.raises(FileNotFoundError):
            parts.write(0, [table])
