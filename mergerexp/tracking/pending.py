"""Which runs MLflow has not been told all of; without loading MLflow to find out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from mergerexp.config.schema import TrackingConfig
from mergerexp.errors import UserError
from mergerexp.sweep.run_folder import RunFolder

log = logging.getLogger(__name__)


def is_recorded(folder: RunFolder, tracking: TrackingConfig) -> bool:
    """Tell whether a store has all of a run that is over, by the note in the run's folder."""
    if tracking.uri is None or folder.again.is_file():  # to begin anew, its status is no longer the record's
        return True
    note = folder.note()
    if not note:
        return False
    same_store = (note["uri"], note["experiment"]) == (tracking.uri, tracking.experiment)
    over = note["closed"] is not None and note["closed"] == folder.status().get("updated")
    return same_store and over and note.get("sweeps", []) == folder.sweeps


def complete_records(folders: Sequence[RunFolder], uri: str | None = None) -> tuple[int, int]:
    """Tell MLflow what it has missed of runs that have begun.

    A store that does not answer is asked once; a run with damaged files is told and left out.

    Parameters
    ----------
    folders
        The runs.
    uri
        Of another store than the one in the runs' configs.

    Returns
    -------
    tuple of int
        How many runs have begun, and how many of them MLflow still lacks.
    """
    begun = [folder for folder in folders if folder.provenance.is_file()]
    pending, damaged = [], 0
    for folder in begun:
        try:
            if not is_recorded(folder, tracking := _tracking_of(folder, uri)):
                pending.append((folder, tracking))
        except UserError as error:
            log.warning("%s", error)
            damaged += 1
    for done, (folder, tracking) in enumerate(pending):
        from mergerexp.tracking.record import Record

        record = Record(folder, tracking)
        if record.update(final=True):
            continue
        if not record.answers:
            return len(begun), len(pending) - done + damaged
        damaged += 1
    return len(begun), damaged


def _tracking_of(folder: RunFolder, uri: str | None) -> TrackingConfig:
    own: Any = OmegaConf.to_container(folder.read_config().tracking)
    return TrackingConfig(**(own if uri is None else {**own, "uri": uri, "artifacts": None}))
