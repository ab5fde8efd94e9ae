"""Which runs MLflow has not been told all of; without loading MLflow to find out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mergerexp.config.schema import TrackingConfig, TrainConfig
from mergerexp.files import read_json
from mergerexp.sweep.run_folder import RunFolder


class TrackedRun(Protocol):
    """A run folder and its config."""

    @property
    def folder(self) -> RunFolder:
        """The run."""

    @property
    def cfg(self) -> TrainConfig:
        """Its config, with absolute paths."""


def is_recorded(folder: RunFolder, tracking: TrackingConfig) -> bool:
    """Tell whether a store has all of a run that is over, by the note in the run's folder."""
    if tracking.uri is None:
        return True
    if not folder.record.is_file():
        return False
    note = read_json(folder.record)
    same_store = (note["uri"], note["experiment"]) == (tracking.uri, tracking.experiment)
    return same_store and note["closed"] is not None and note["closed"] == folder.status().get("updated")


def complete_records(runs: Sequence[TrackedRun]) -> int:
    """Tell MLflow what it has missed of runs that are over; return how many it still lacks.

    A store that does not answer is asked once.
    """
    pending = [run for run in runs if not is_recorded(run.folder, run.cfg.tracking)]
    if not pending:
        return 0
    from mergerexp.tracking.record import Record

    for done, run in enumerate(pending):
        if run.folder.provenance.is_file() and not Record(run.folder, run.cfg.tracking).update(final=True):
            return len(pending) - done
    return 0
