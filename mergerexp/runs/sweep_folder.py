"""The folder of a sweep, which lists its runs; the same runs are the same sweep."""

from __future__ import annotations

import logging
import os
import platform
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mergerexp.console import amount
from mergerexp.errors import UserError, explain
from mergerexp.files import read_json, write_json
from mergerexp.hashing import digest
from mergerexp.runs.job_folder import JobFolder, LockedFolder
from mergerexp.runs.provenance import command_line
from mergerexp.runs.run_folder import RunFolder

log = logging.getLogger(__name__)
# The keys that sweep.json must have, and those of its launcher and of each of its runs.
CONTENT, LAUNCHER = {"command", "given", "launcher", "runs"}, {"host", "pid"}
RUN = {"folder", "overrides"}


class Members(NamedTuple):
    """The jobs of a sweep, which are training runs or the shards of a survey.

    Attributes
    ----------
    folders
        Their folders.
    labels
        What distinguishes each job from the others.
    costs
        How long each job takes in comparison with the others, by its name.
    """

    folders: list[JobFolder]
    labels: list[str]
    costs: dict[str, float]


@dataclass(frozen=True)
class SweepFolder(LockedFolder):
    """The folder ``sweeps/<id>/`` with the list of runs, and the scripts and logs of their Slurm jobs.

    Attributes
    ----------
    path
        The folder, whose name is a hash of the names of the runs. The process that looks after the sweep
        holds its lock.
    """

    @classmethod
    def of(cls, sweeps: Path, runs: Sequence[JobFolder]) -> SweepFolder:
        """Return the folder of the sweep of some runs, whether it exists or not.

        Parameters
        ----------
        sweeps
            The folder for all sweeps.
        runs
            The runs of the sweep.
        """
        return cls(sweeps / digest(sorted(run.name for run in runs), 8))

    @property
    def file(self) -> Path:
        """The file with the list of runs."""
        return self.path / "sweep.json"

    def write(
        self, runs: Sequence[JobFolder], differences: Sequence[Sequence[str]], costs: Sequence[float]
    ) -> None:
        """Write the list of runs.

        The paths of runs below the root of the sweep are relative to it, so that the root can be moved.

        Parameters
        ----------
        runs
            The runs of the sweep.
        differences
            The overrides that distinguish each run from the others.
        costs
            How long each run takes in comparison with the others.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        content = {
            "command": command_line(),
            "given": round(time.time(), 3),
            "launcher": {"host": platform.node(), "pid": os.getpid()},
            "runs": [
                {
                    "folder": self._relative(run.path),
                    "overrides": list(overrides),
                    "cost": cost,
                    "is_run": isinstance(run, RunFolder),
                }
                for run, overrides, cost in zip(runs, differences, costs, strict=True)
            ],
        }
        write_json(self.file, content)

    def read(self) -> dict[str, Any]:
        """Return the content of ``sweep.json``, which `write` wrote.

        Raises
        ------
        UserError
            If the file does not exist, is damaged or lacks a key.
        """
        try:
            content = dict(read_json(self.file))
            runs = ((run, RUN) for run in content.get("runs", ()))
            for part, keys in ((content, CONTENT), (content.get("launcher", {}), LAUNCHER), *runs):
                if missing := keys - part.keys():
                    raise UserError(f"sweep.json lacks {', '.join(sorted(missing))}")
        except (FileNotFoundError, ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{self.path}: no sweep ({explain(error)})") from error
        return content

    def members(self) -> Members:
        """Return the runs of the sweep, whose costs are unknown if an older version wrote the list.

        Raises
        ------
        UserError
            If ``sweep.json`` can't be read.
        """
        runs = self.read()["runs"]
        kinds = [RunFolder if run.get("is_run", True) else JobFolder for run in runs]
        folders = [kind(self._root / run["folder"]) for kind, run in zip(kinds, runs, strict=True)]
        costs = {folder.name: run["cost"] for folder, run in zip(folders, runs, strict=True) if "cost" in run}
        return Members(folders, [" ".join(run["overrides"]) for run in runs], costs)

    @property
    def _root(self) -> Path:
        return self.path.absolute().parents[1]

    def _relative(self, run: Path) -> str:
        run = run.absolute()
        return str(run.relative_to(self._root) if run.is_relative_to(self._root) else run)

    def stop_launcher(self) -> str:
        """Send SIGTERM to the process of this machine that looks after the sweep, if there is one.

        The runs that it started on this machine stop with it. Those in Slurm go on.

        Returns
        -------
        str
            What became of the process, also if it can't be stopped from here; empty if there is none.
        """
        launcher = self.read()["launcher"]
        host, pid = launcher["host"], launcher["pid"]
        if host != platform.node():
            jobs = self.members().folders
            if not self.is_held() and all(job.is_over() or job.submission.exists() for job in jobs):
                return ""
            return (
                f"process {pid} on {host} may still look after the sweep, and can't be stopped from here: "
                f"give the same command on {host}; if {host} is an old name of this machine, kill {pid}"
            )
        if not self.is_held():
            return ""
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            return ""
        except PermissionError:
            return f"process {pid}, which looks after the sweep, belongs to another user, who has to stop it"
        return "the process that looks after the sweep is told to stop"


def find_sweeps(sweeps: Path) -> list[SweepFolder]:
    """Return the folders of all sweeps, the most recent first.

    Damaged ones are left out with a warning.

    Parameters
    ----------
    sweeps
        The folder for all sweeps.
    """
    given = {}
    for path in sweeps.glob("*/sweep.json"):
        sweep = SweepFolder(path.parent)
        try:
            given[sweep] = sweep.read()["given"]
        except UserError as error:
            log.warning("%s", error)
    return sorted(given, key=lambda sweep: given[sweep], reverse=True)


def known_sweeps(sweeps: Path) -> list[SweepFolder]:
    """Return what `find_sweeps` finds.

    Raises
    ------
    UserError
        If there is no sweep.
    """
    if not (known := find_sweeps(sweeps)):
        root = sweeps.parent
        if single := len(list(root.glob("runs/*/config.yaml"))):
            raise UserError(
                f"{root} has {amount(single, 'run')} and no sweep: what was given without -m, or could not "
                "be submitted, is none. The same command goes on with a run, or shows its results; --root or "
                "MERGEREXP_ROOT says where else to look"
            )
        raise UserError(f"no sweep in {sweeps}; --root or MERGEREXP_ROOT says where to look")
    return known


def choose_sweep(sweeps: Path, beginning: str | None) -> SweepFolder:
    """Return the sweep whose id begins with a text, or the most recent one.

    Parameters
    ----------
    sweeps
        The folder for all sweeps.
    beginning
        The beginning of the id; None for the most recent sweep.

    Raises
    ------
    UserError
        If there is no such sweep, or several.
    """
    known = known_sweeps(sweeps)
    if beginning is None:
        return known[0]
    found = [sweep for sweep in known if sweep.name.startswith(beginning)]
    if len(found) != 1:
        names = ", ".join(sweep.name for sweep in found or known)
        raise UserError(f"{beginning}: {'may be any of' if found else 'no such sweep; there are'} {names}")
    return found[0]


def all_runs(root: Path) -> list[RunFolder]:
    """Return the runs below a root, and those runs of its sweeps that are elsewhere.

    Parameters
    ----------
    root
        The folder that is searched.

    Raises
    ------
    UserError
        If there are no runs.
    """
    inside = [RunFolder(path.parent.absolute()) for path in sorted(root.glob("runs/*/config.yaml"))]
    runs = [*inside, *(run for sweep in find_sweeps(root / "sweeps") for run in runs_of(sweep))]
    if not runs:
        raise UserError(f"no run in {root}; --root or MERGEREXP_ROOT says where to look")
    return list(dict.fromkeys(runs))


def runs_of(sweep: SweepFolder) -> list[RunFolder]:
    """Return the training runs of a sweep; that of a survey's shards has none."""
    return [folder for folder in sweep.members().folders if isinstance(folder, RunFolder)]
