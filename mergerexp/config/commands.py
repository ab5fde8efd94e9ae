"""The commands that messages suggest, which have to work as they are printed."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def python() -> str:
    """Return the name of this Python for a command: its path where the environment is not activated."""
    found, ours = shutil.which("python"), Path(sys.executable)
    is_ours = found is not None and Path(found).absolute().parent == ours.absolute().parent
    return "python" if is_ours else str(ours)


def verb_command(verb: str, *arguments: str) -> str:
    """Return the command that runs a verb with these arguments."""
    return shlex.join([python(), "-m", f"mergerexp.{verb}", *arguments])


def status_command(sweeps: Path, *flags: str) -> str:
    """Return the command that shows the sweeps in a folder, also where MERGEREXP_ROOT is not set.

    Parameters
    ----------
    sweeps
        The folder of all sweeps.
    *flags
        Further flags.
    """
    root = sweeps.expanduser().absolute().parent
    return verb_command("status", *([] if root == Path.cwd() else ["--root", str(root)]), *flags)
