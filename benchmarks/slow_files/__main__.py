"""Run a command on a file system that answers late, and count what it asks for.

    python -m benchmarks.slow_files --below ROOT --ms 20 -- python -m mergerexp.status

Each opening, stat, listing, change of a name, lock and sync of a file below ROOT takes so much longer, in the
command and in the processes that it starts. It needs Linux and a C compiler (``cc``).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

KINDS = ("open", "stat", "list", "change", "lock", "sync")  # of calls, in the order of delay.c
SOURCE = Path(__file__).with_name("delay.c")


def compiled(folder: Path) -> Path:
    """Return the library that delays calls, which is compiled into a folder.

    Raises
    ------
    SystemExit
        If there is no C compiler.
    """
    library = folder / "delay.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-o", str(library), str(SOURCE), "-ldl"]
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError:
        raise SystemExit("a C compiler is needed: install gcc, so that there is a command cc") from None
    except subprocess.CalledProcessError:
        raise SystemExit(f"cc can't compile {SOURCE}; it says why above") from None
    return library


def run_on_slow_files(command: Sequence[str], below: Path, ms: float) -> tuple[int, float, dict[str, int]]:
    """Run a command while a folder answers late.

    Parameters
    ----------
    command
        The command.
    below
        The folder.
    ms
        By how much each call is delayed, in milliseconds.

    Returns
    -------
    tuple
        The exit code, the seconds that it took, and the number of calls by their kind.
    """
    with tempfile.TemporaryDirectory() as name:
        counts = Path(name) / "counts"
        counts.write_bytes(bytes(struct.calcsize(f"{len(KINDS)}l")))
        variables = {
            "LD_PRELOAD": str(compiled(Path(name))),
            "SLOW_FILES_BELOW": str(below.resolve()),
            "SLOW_FILES_MS": str(ms),
            "SLOW_FILES_COUNTS": str(counts),
        }
        started = time.perf_counter()
        code = subprocess.run(command, env={**os.environ, **variables}).returncode
        seconds = time.perf_counter() - started
        calls = struct.unpack(f"{len(KINDS)}l", counts.read_bytes())
    return code, seconds, dict(zip(KINDS, calls, strict=True))


def main() -> int:
    """Run the command, print its figures to stderr as JSON, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.slow_files",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--below", type=Path, required=True, help="the folder that answers late")
    parser.add_argument("--ms", type=float, default=20.0, help="milliseconds for each call (%(default)s)")
    parser.add_argument("command", nargs="+", help="the command, after --")
    given = parser.parse_args()
    if not 0 <= given.ms < 60_000:
        parser.error(f"--ms {given.ms:g}: has to be from 0 to 60000")
    if not given.below.is_dir():
        parser.error(f"--below {given.below}: there is no such folder")
    if shutil.which(given.command[0]) is None:
        parser.error(f"{given.command[0]}: there is no such command")
    code, seconds, calls = run_on_slow_files(given.command, given.below, given.ms)
    print(json.dumps({"ms": given.ms, "seconds": round(seconds, 2), "calls": calls}), file=sys.stderr)
    return code if code >= 0 else 128 - code  # as a shell says that a signal ended it


if __name__ == "__main__":
    sys.exit(main())
