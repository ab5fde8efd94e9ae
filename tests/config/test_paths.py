"""A root where no folder can be: every verb says so, by the name of the setting that was used."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

import mergerexp.aggregate
import mergerexp.export
import mergerexp.predict
import mergerexp.prepare
import mergerexp.robustness
import mergerexp.status
import mergerexp.train
from mergerexp.config.paths import check_folder
from mergerexp.errors import ConfigError

VERBS = {
    mergerexp.prepare: (),
    mergerexp.train: (),
    mergerexp.aggregate: (),
    mergerexp.robustness: (),
    mergerexp.export: ("tracking=none",),
    mergerexp.predict: ("model_folder=none", "images=none"),
}


@pytest.fixture
def file(tmp_path) -> Path:
    (path := tmp_path / "file").touch()
    return path


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
def test_every_verb_refuses_a_root_that_is_a_file(verb, file, run_verb, monkeypatch, capsys):
    below = file / "below"
    said = f"{file} is a file, and a folder is needed"
    assert run_verb(verb, *VERBS[verb], f"paths.root={below}") == 2
    assert capsys.readouterr().err == f"error: paths.root={below}: {said}\n"
    assert run_verb(verb, *VERBS[verb], f"paths.datasets={below}") == 2
    assert capsys.readouterr().err == f"error: paths.datasets={below}: {said}\n"
    monkeypatch.setenv("MERGEREXP_ROOT", str(file))
    assert run_verb(verb, *VERBS[verb]) == 2
    assert capsys.readouterr().err == f"error: MERGEREXP_ROOT={file}: this is {said.partition(' is ')[2]}\n"


@pytest.mark.parametrize("flags", [(), ("--list",), ("--sync",)], ids=" ".join)
def test_status_does_too(flags, file, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["status", "--root", str(file), *flags])
    assert mergerexp.status.main() == 2
    assert capsys.readouterr().err == f"error: --root={file}: this is a file, and a folder is needed\n"
    monkeypatch.setattr(sys, "argv", ["status", *flags])
    monkeypatch.setenv("MERGEREXP_ROOT", f"{file}/")
    assert mergerexp.status.main() == 2
    assert capsys.readouterr().err.startswith(f"error: MERGEREXP_ROOT={file}: ")


def test_a_root_that_may_not_be_looked_for_is_named_beside_the_other_mistakes(
    tmp_path, run_verb, monkeypatch, capsys
):
    stat = Path.stat

    def refused(self, **options):
        if self.name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return stat(self, **options)

    monkeypatch.setattr(Path, "stat", refused)
    root = tmp_path / "closed"
    assert run_verb(mergerexp.train, f"paths.root={root}", "fold=9") == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2].partition(":")[0] for line in lines] == ["fold=9", f"paths.root={root}"]
    assert "Permission denied" in lines[1]


def test_a_folder_that_can_be_made_is_none_to_refuse(tmp_path):
    for folder in (tmp_path, tmp_path / "a" / "b"):
        check_folder("paths.root", str(folder))
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="key="):
        check_folder("key", str(tmp_path / "file"))


def test_variables_without_content_are_not_set(run_verb, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("MERGEREXP_ROOT", "MERGEREXP_LAUNCHER", "MERGEREXP_TRACKING", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")
    assert run_verb(mergerexp.train, "fold=99") == 2  # and so the config is composed
    assert capsys.readouterr().err.startswith("error: fold=99")
    assert "MLFLOW_TRACKING_URI" not in os.environ  # else it would be the address of tracking=server
    assert run_verb(mergerexp.prepare, "data=simulated_tiny", "data.simulator.n_mergers=8") == 0
    assert [path.name[:9] for path in (tmp_path / "datasets").glob("simulated*")] == ["simulated"]
