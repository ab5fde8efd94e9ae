"""Keeping MLflow up to date with run folders; MLflow is loaded only where a store has to be told."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from mergerexp.config.schema import TrackingConfig
from mergerexp.errors import UserError, without_credentials
from mergerexp.sweep.run_folder import RunFolder

log = logging.getLogger(__name__)

EVERY_S = 10.0  # between updates within a run


class Record:
    """Keeps MLflow up to date with a run folder; failures are told and tried again, never raised.

    Parameters
    ----------
    folder
        The run.
    tracking
        Which store.

    Attributes
    ----------
    answers
        False once the store did not answer.
    """

    def __init__(self, folder: RunFolder, tracking: TrackingConfig) -> None:
        self.folder, self.tracking = folder, tracking
        self.answers = True
        self._next = 0.0

    def update(self, final: bool = False) -> bool:
        """Send what is new, unless that was tried a moment ago; return whether MLflow is up to date."""
        if self.tracking.uri is None:
            return True
        if not final and time.monotonic() < self._next:
            return False
        try:
            from mergerexp.tracking.record import sync

            sync(self.folder, self.tracking)
        except UserError as error:  # of the run's own files
            log.warning("%s: the record in MLflow can't be completed", error)
            return False
        except Exception as error:  # whatever the store's drivers raise: the run goes on without
            reason = without_credentials((str(error).strip() or type(error).__name__).splitlines()[0])[:200]
            log.warning("MLflow does not answer (%s): the record will be completed later", reason)
            self.answers, self._next = False, time.monotonic() + self.tracking.retry_s
            return False
        self._next = time.monotonic() + EVERY_S
        return True


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
