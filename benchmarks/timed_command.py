"""Time and memory of a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

# Linux counts what a process had before it became another program: a command would seem to take at least what
# the process has that starts it. So a small process in between starts it.
STARTER = """
import json, os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps([status, time.perf_counter() - started, usage.ru_maxrss / 1e6]))
"""


def timed_command(command: Sequence[str], variables: Mapping[str, str] | None = None) -> tuple[float, float]:
    """Run a Python command whose output is of no interest.

    Parameters
    ----------
    command
        The arguments of Python.
    variables
        Environment variables.

    Returns
    -------
    tuple
        The seconds that it took, and the most memory that its main process had, in GB.

    Raises
    ------
    SystemExit
        If it fails.
    """
    line = [sys.executable, "-c", STARTER, sys.executable, *command]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, env={**os.environ, **(variables or {})})
    status, seconds, memory = json.loads(done.stdout)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return seconds, memory
