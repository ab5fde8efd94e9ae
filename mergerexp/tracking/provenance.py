"""Where a run came from: code, data, machine, versions."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "mergerexp",
    "torch",
    "torchvision",
    "pytorch-lightning",
    "timm",
    "numpy",
    "hydra-core",
    "mlflow",
    "scipy",
)


def git_state() -> dict[str, Any]:
    """Return commit and dirty flag of the checkout that the code runs from; None where there is none."""
    root = Path(__file__).resolve().parents[2]
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None or not (root / ".git").exists():
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": bool(_git(root, "status", "--porcelain"))}


def software() -> dict[str, str]:
    """Return the versions of Python and of the packages that matter."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def command_line() -> str:
    """Return the command that started this process."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
