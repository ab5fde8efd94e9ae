"""Versions of installed software, for the record."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

OURS = "mergerexp"
IN_REPORTS = ("torch", "timm", "pytorch-lightning", "hydra-core", "mlflow")


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of those packages that are installed."""
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def version_text() -> str:
    """Return what a bug report needs to say of the software, in a line of our own version and one of others.

    No package is imported for that.
    """
    ours = versions_of([OURS, *IN_REPORTS])
    others = ", ".join(f"{name} {number}" for name, number in ours.items() if name != OURS)
    return f"{OURS} {ours.get(OURS, 'of an unknown version')}\n{others}, {platform.platform()}"
