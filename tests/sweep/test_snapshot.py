"""The copy of the code that a sweep keeps: which commit, and what was changed or new."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mergerexp.files import read_json
from tests.conftest import REPOSITORY


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
    script = f"from mergerexp.sweep.snapshot import snapshot; from pathlib import Path; \
print(snapshot(Path({str(root / 'sweeps')!r})))"
    command = [sys.executable, "-Bc", script]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def test_commit_and_changes_are_those_of_the_moment(checkout):
    changed = checkout / "mergerexp" / "cores.py"
    changed.write_text(changed.read_text() + "# changed\n")
    (checkout / "mergerexp" / "new.py").write_text("NEW = 1\n")
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
