"""A sweep on disk: which runs belong to it. The same command line is the same sweep."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from mergerexp.errors import UserError
from mergerexp.files import read_json, write_json
from mergerexp.hashing import digest
from mergerexp.runs.job_folder import is_locked
from mergerexp.runs.provenance import command_line
from mergerexp.runs.run_folder import RunFolder

log = logging.getLogger(__name__)
CONTENT, LAUNCHER = {"command", "given", "launcher", "runs"}, {"host", "pid"}  # of sweep.json
RUN = {"folder", "overrides"}


@dataclass(frozen=True)
class SweepFolder:
    """``sweeps/<id>/``: the list of runs, and what Slurm wrote about them.

    Attributes
    ----------
    path
        The folder; its name is a hash of the runs' names.
    """

    path: Path

    @classmethod
    def of(cls, sweeps: Path, runs: Sequence[RunFolder]) -> SweepFolder:
        """Return the folder that the sweep of these runs has, whether it exists or not."""
        return cls(sweeps / digest(sorted(run.name for run in runs), 8))

    @property
    def name(self) -> str:
        """The sweep's identity."""
        return self.path.name

    def write(self, runs: Sequence[RunFolder], differences: Sequence[Sequence[str]]) -> None:
        """Write the list of runs, with the overrides that tell them apart.

        Runs below the sweep's root are written relative to it, and so move and are copied with it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        content = {
            "command": command_line(),
            "given": round(time.time(), 3),
            "launcher": {"host": platform.node(), "pid": os.getpid()},
            "runs": [
                {"folder": self._relative(run.path), "overrides": list(own)}
                for run, own in zip(runs, differences, strict=True)
            ],
        }
        write_json(self.path / "sweep.json", content)

    def read(self) -> dict[str, Any]:
        """Return what `write` wrote.

        Raises
        ------
        UserError
            If it is not there, damaged or lacks something.
        """
        try:
            content = dict(read_json(self.path / "sweep.json"))
            runs = ((run, RUN) for run in content.get("runs", ()))
            for part, keys in ((content, CONTENT), (content.get("launcher", {}), LAUNCHER), *runs):
                if missing := keys - part.keys():
                    raise UserError(f"sweep.json lacks {', '.join(sorted(missing))}")
        except (FileNotFoundError, ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{self.path}: no sweep ({error})") from error
        return content

    def members(self) -> tuple[list[RunFolder], list[str]]:
        """Return the run folders and what to call them; see `read` for what may be raised."""
        runs = self.read()["runs"]
        return [RunFolder(self._root / run["folder"]) for run in runs], [
            " ".join(run["overrides"]) for run in runs
        ]

    @property
    def _root(self) -> Path:
        return self.path.absolute().parents[1]

    def _relative(self, run: Path) -> str:
        run = run.absolute()
        return str(run.relative_to(self._root) if run.is_relative_to(self._root) else run)

    def lock(self) -> FileLock:
        """Return the lock of whoever starts jobs of the sweep."""
        self.path.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path / ".lock")

    def stop_launcher(self) -> bool:
        """Ask the process of this machine that looks after the sweep to stop; tell whether there is one.

        Its runs in local processes stop with it; those in Slurm's hands go on.
        """
        launcher = self.read()["launcher"]
        if launcher["host"] != platform.node() or not self.is_looked_after():
            return False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(launcher["pid"], signal.SIGTERM)
            return True
        return False

    def is_looked_after(self) -> bool:
        """Tell whether a process that this machine knows of looks after the sweep."""
        return is_locked(self.lock())


def find_sweeps(sweeps: Path) -> list[SweepFolder]:
    """Return all sweeps, the last given first; a damaged one is told and left out."""
    given = {}
    for path in sweeps.glob("*/sweep.json"):
        sweep = SweepFolder(path.parent)
        try:
            given[sweep] = sweep.read()["given"]
        except UserError as error:
            log.warning("%s", error)
    return sorted(given, key=lambda sweep: given[sweep], reverse=True)


def choose_sweep(sweeps: Path, beginning: str | None) -> SweepFolder:
    """Return the sweep whose id begins so, or the last one given.

    Raises
    ------
    UserError
        If there is none, or several.
    """
    known = find_sweeps(sweeps)
    if not known:
        raise UserError(f"no sweep in {sweeps}; --root, or MERGEREXP_ROOT, says where to look")
    if beginning is None:
        return known[0]
    found = [sweep for sweep in known if sweep.name.startswith(beginning)]
    if len(found) != 1:
        names = ", ".join(sweep.name for sweep in found or known)
        raise UserError(f"{beginning}: {'which of' if found else 'no such sweep; there are'} {names}")
    return found[0]


def all_runs(root: Path) -> list[RunFolder]:
    """Return the runs below a root, and those of its sweeps that lie elsewhere.

    Raises
    ------
    UserError
        If there is none.
    """
    inside = [RunFolder(path.parent.absolute()) for path in sorted(root.glob("runs/*/config.yaml"))]
    runs = [*inside, *(run for sweep in find_sweeps(root / "sweeps") for run in sweep.members()[0])]
    if not runs:
        raise UserError(f"no run in {root}; --root, or MERGEREXP_ROOT, says where to look")
    return list(dict.fromkeys(runs))
