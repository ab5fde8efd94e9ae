"""Programs of Debian that tests use, which are installed where that can be done."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

import pytest


def install(what: str, programs: Sequence[str], packages: Sequence[str]) -> None:
    """Install Debian's packages if a program is missing; skip the tests where that can't be done.

    Parameters
    ----------
    what
        What people call it.
    programs
        The programs that are needed: names, or paths.
    packages
        The packages that have them.
    """
    if all(map(shutil.which, programs)):
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip(
            f"{what} can't be installed here: needs Debian's {' and '.join(packages)}, or root to do it"
        )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", *command], env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            last = (done.stdout + done.stderr).strip().splitlines()[-1:]
            pytest.skip(f"{what} can't be installed here: apt-get {command[0]} failed: {' '.join(last)}")
    assert all(map(shutil.which, programs)), f"{packages} are installed, but not {programs}"
