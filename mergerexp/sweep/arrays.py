"""The Slurm arrays of a sweep, and how many tasks of each may run at once.

A task has a job, or several that share its GPUs and cores. Slurm limits the tasks of each array alone, and a
sweep's limit holds for all of its arrays together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mergerexp.files import read_json, write_json
from mergerexp.runs.job_folder import JobFolder

Task = tuple[str | None, int | None]  # the record of an array and an index; both None of what is no task


@dataclass
class Array:
    """An array of tasks.

    Attributes
    ----------
    record
        The file that describes the array to other processes, with all jobs that it was submitted with, by
        its tasks.
    name
        Its name in Slurm, which no other array has.
    clusters
        The clusters that it was submitted to; None for the one of this machine.
    tasks
        The folders of the jobs of each task, less those that were submitted again with a later array.
    id
        Its id in Slurm; None until Slurm has answered.
    limit
        How many of its tasks may run at once.
    """

    record: Path
    name: str
    clusters: str | None
    tasks: list[list[JobFolder]] = field(repr=False)
    id: str | None = None
    limit: int = 0

    @classmethod
    def read(cls, record: Path) -> Array:
        """Read the description of an array, whose jobs each name the array that they were submitted with."""
        about = read_json(record)
        tasks = [[JobFolder(Path(path)) for path in paths] for paths in about["tasks"]]
        own = [[job for job in task if record_of(job) == str(record)] for task in tasks]
        return cls(record, about["name"], about["clusters"], own, about["array"], about.get("limit", 0))

    def note(self, **known: Any) -> None:
        """Add to the description what became known."""
        write_json(self.record, {**read_json(self.record), **known})

    @property
    def folders(self) -> list[JobFolder]:
        """The folders of all jobs, less those that were submitted again."""
        return [folder for task in self.tasks for folder in task]

    def forget(self, folders: Collection[JobFolder]) -> None:
        """Leave out jobs that are submitted again with a later array."""
        self.tasks = [[folder for folder in task if folder not in folders] for task in self.tasks]

    def alive(self) -> int:
        """Return the number of tasks with a job that is not over."""
        return sum(any(not folder.is_over() for folder in task) for task in self.tasks)


def records(sweep: Path) -> list[Path]:
    """Return the descriptions of the arrays in the folder of a sweep, the oldest first."""
    return sorted(sweep.glob("array-*.json"))


def submitted_arrays(sweep: Path) -> list[Array]:
    """Return the arrays of a sweep that Slurm has accepted, the oldest first, less damaged records."""
    found = []
    for record in records(sweep):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found.append(Array.read(record))
    return [array for array in found if array.id is not None]


def shared_limits(arrays: Sequence[Array], parallel: int) -> list[int]:
    """Return how many tasks of each array may run at once, so that a sweep's limit is used and kept.

    What an array has is not taken from it, since its tasks may run already. A new one gets one task at least,
    so that jobs that are submitted again may exceed the limit by one for each array that they need.
    What is free is divided in proportion to the tasks that it could run, so that all arrays end at about the
    same time, even if nobody raises their limits later.

    Parameters
    ----------
    arrays
        The arrays.
    parallel
        The limit for all of them.
    """
    alive = [array.alive() for array in arrays]
    limits = [array.limit or min(1, number) for array, number in zip(arrays, alive, strict=True)]
    wanted = [max(0, number - limit) for number, limit in zip(alive, limits, strict=True)]
    free = max(0, parallel - sum(map(min, limits, alive)))
    shares = [min(number, free * number // max(1, sum(wanted))) for number in wanted]
    for at, number in enumerate(wanted):  # what is left by rounding
        if sum(shares) < free and shares[at] < number:
            shares[at] += 1
    return [limit + share for limit, share in zip(limits, shares, strict=True)]


def record_of(folder: JobFolder) -> str | None:
    """Return the record of the array that a job was last submitted with; None if it is no job of Slurm."""
    return task_of(folder)[0]


def task_of(folder: JobFolder) -> Task:
    """Return the record of the array that a job was last submitted with, and the index of its task there."""
    known = read_json(folder.submission) if folder.submission.is_file() else {}
    return known.get("record"), known.get("index")
