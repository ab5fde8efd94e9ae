"""The copy of the code that a sweep keeps: which commit, and what was changed or new."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mergerexp.errors import UserError
from mergerexp.files import read_json
from mergerexp.runs.provenance import check_copy
from tests.conftest import REPOSITORY

SCRIPT = "from mergerexp.sweep.snapshot import snapshot; from pathlib import Path; print(snapshot(Path({})))"


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A small repository with this package in it."""
    root = tmp_path / "checkout"
    for part in ("mergerexp", "conf"):
        shutil.copytree(REPOSITORY / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "first")
    return root


def git(root: Path, *command: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *command], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def snapshot(root: Path) -> Path:
    command = [sys.executable, "-Bc", SCRIPT.format(repr(str(root / "sweeps")))]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def run_inside(copy: Path) -> subprocess.CompletedProcess[str]:
    """Ask for the commit as a job does that runs from a copy."""
    return subprocess.run(
        [sys.executable, "-Bc", "from mergerexp.runs.provenance import git_state; git_state()"],
        cwd=copy,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(copy)},
    )


def test_commit_and_changes_are_those_of_the_moment(checkout):
    changed = checkout / "mergerexp" / "cores.py"
    changed.write_text(changed.read_text() + "# changed\n")
    (checkout / "mergerexp" / "new.py").write_text("NEW = 1\n")
    (checkout / "mergerexp" / ".#new.py").symlink_to("me@here.4711")  # as Emacs locks a file
    first = snapshot(checkout)
    diff = (first / "git.diff").read_text()
    assert "+# changed" in diff
    assert "+NEW = 1" in diff
    assert read_json(first / "git.json") == {"commit": git(checkout, "rev-parse", "HEAD"), "dirty": True}

    git(checkout, "add", "mergerexp")
    git(checkout, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "second")
    second = snapshot(checkout)  # the same files, another commit
    assert second != first
    assert read_json(second / "git.json")["commit"] == git(checkout, "rev-parse", "HEAD")
    assert snapshot(checkout) == second


def test_a_copy_that_was_changed_is_not_used(checkout):
    snapshot(checkout)  # from now on the checkout has a folder of its own in it
    before = os.umask(0o002)
    try:
        copy = snapshot(checkout)
    finally:
        os.umask(before)
    others = stat.S_IWGRP | stat.S_IWOTH
    assert not [path for path in (copy, *copy.rglob("*")) if path.stat().st_mode & others]
    check_copy(copy)
    run = copy / "mergerexp" / "training" / "run.py"
    whole = run.read_text()
    run.write_text(whole + "print('not what was recorded')\n")
    with pytest.raises(UserError, match=r"training/run\.py is damaged, or was changed"):
        check_copy(copy)
    run.write_text(whole)
    compiled = copy / "mergerexp" / "__pycache__" / "frames.cpython-311.pyc"
    compiled.parent.mkdir()
    compiled.touch()
    with pytest.raises(UserError, match=r"frames\.cpython-311\.pyc was added"):
        check_copy(copy)
    shutil.rmtree(compiled.parent)
    run.write_text(whole + "print('not what was recorded')\n")
    refused = subprocess.run(  # a sweep of the same code
        [sys.executable, "-Bc", SCRIPT.format(repr(str(checkout / "sweeps")))],
        cwd=checkout, capture_output=True, text=True,
    )  # fmt: skip
    assert refused.returncode and "training/run.py is damaged" in refused.stderr
    inside = run_inside(copy)
    assert inside.returncode and "training/run.py is damaged" in inside.stderr
    run.write_text(whole)
    check_copy(copy)
    assert run_inside(copy).returncode == 0
    for name in ("git.json", "seal.json"):  # it is a copy nonetheless
        (copy / name).rename(checkout / name)
        inside = run_inside(copy)
        assert inside.returncode and name in inside.stderr and "copies the code anew" in inside.stderr
        (checkout / name).rename(copy / name)
    (copy / "timm").symlink_to(checkout)  # it would be found before the real one
    with pytest.raises(UserError, match=r"timm was added after the copy"):
        check_copy(copy)
    (copy / "timm").unlink()
    (copy / "mergerexp" / "sitecustomize.py").touch()
    with pytest.raises(UserError, match=r"sitecustomize\.py was added after the copy"):
        check_copy(copy)
