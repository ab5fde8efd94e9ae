"""What a run records of the code that made it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mergerexp.runs import provenance
from mergerexp.runs.job_folder import warn_once


def git(folder: Path, *arguments: str) -> str:
    """Run git as somebody whose settings are those of the test alone."""
    who = ["-c", "user.name=Anne", "-c", "user.email=anne@example.org"]
    return subprocess.check_output(["git", "-C", str(folder), *who, *arguments], text=True).strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one commit, which takes the place of ours."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    folder = tmp_path / "check out"
    (folder / "mergerexp").mkdir(parents=True)
    (folder / "mergerexp" / "a.py").write_text("A = 1\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "first")
    monkeypatch.setattr(provenance, "ROOT", folder)
    warn_once.cache_clear()
    return folder


def test_the_commit_and_changes_are_recorded(checkout):
    commit = git(checkout, "rev-parse", "HEAD")
    assert provenance.git_state() == {"commit": commit, "dirty": False}
    assert provenance.git_diff() == b""
    (checkout / "mergerexp" / "a.py").write_text("A = 2\n")
    (checkout / "mergerexp" / "new.py").write_text("B = 3\n")
    assert provenance.git_state() == {"commit": commit, "dirty": True}
    diff = provenance.git_diff().decode()
    assert "+A = 2" in diff
    assert "+B = 3" in diff


@pytest.mark.parametrize(("file", "is_dirty"), [("cutouts/a.png", False), ("mergerexp/new.py", True)])
def test_files_beside_the_code_do_not_make_it_another(file, is_dirty, checkout):
    (checkout / file).parent.mkdir(exist_ok=True)
    (checkout / file).write_text("new")
    assert provenance.git_state()["dirty"] is is_dirty
    assert bool(provenance.git_diff()) is is_dirty


def test_the_diff_brings_the_code_back(checkout, tmp_path):
    (checkout / "mergerexp" / "a.py").write_text("A = 2\n")
    (checkout / "mergerexp" / "new.py").write_bytes(bytes(range(256)))
    (tmp_path / "diff").write_bytes(provenance.git_diff())
    git(checkout, "stash", "--quiet", "--include-untracked")
    git(checkout, "apply", str(tmp_path / "diff"))
    assert (checkout / "mergerexp" / "a.py").read_text() == "A = 2\n"
    assert (checkout / "mergerexp" / "new.py").read_bytes() == bytes(range(256))


def test_code_that_is_no_checkout_has_no_commit(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert provenance.git_state() == {"commit": None, "dirty": None}
    assert provenance.git_diff() == b""
    assert caplog.text == ""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_commit_that_git_withholds_is_told_with_the_remedy(checkout, caplog, tmp_path):
    commit = git(checkout, "rev-parse", "HEAD")
    for path in (checkout, checkout / ".git"):
        os.chown(path, 12001, 12001)
    with caplog.at_level(logging.WARNING, "mergerexp"):
        state = provenance.git_state()
        provenance.git_state()
    remedy = f"git config --global --add safe.directory '{checkout}'"
    assert state["commit"] is None
    assert state["withheld"].endswith(remedy)
    (line,) = caplog.messages  # once, however often it is asked
    assert "belongs to another user" in line
    subprocess.run(remedy, shell=True, check=True)
    assert provenance.git_state() == {"commit": commit, "dirty": False}


def test_a_machine_without_git_is_told(checkout, caplog, monkeypatch):
    monkeypatch.setenv("PATH", str(checkout))
    with caplog.at_level(logging.WARNING, "mergerexp"):
        assert provenance.git_state()["commit"] is None
    assert "git can't be run" in caplog.text


def test_the_command_is_recorded_without_secrets(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/bin/train", "-m", "fold=0,1", "tracking.uri=http://me:hunter2@host"])
    command = provenance.command_line()
    assert command.endswith("-m fold=0,1 tracking.uri=http://host")
    assert provenance.software()["python"] == ".".join(map(str, sys.version_info[:3]))
