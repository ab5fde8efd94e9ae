"""Reading a study from run folders alone, without MLflow, in the terms of its record there."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from mlflow.entities import Metric, Param, Run, RunData, RunInfo, RunTag

from mergerexp.errors import ROOT, UserError
from mergerexp.files import read_json
from mergerexp.runs.job_folder import DONE
from mergerexp.runs.run_folder import RunFolder
from mergerexp.tracking.record import run_name, run_settings, run_tags
from mergerexp.tracking.store_file import CLOSED
from mergerexp.tracking.study_reader import StudyReader
from mergerexp.tracking.tags import HASH, SWEEP


class RunFolderReader(StudyReader):
    """Reads a study from the run folders in a folder.

    Parameters
    ----------
    runs
        The folder of run folders.
    name
        What the study is called.

    Raises
    ------
    UserError
        If there is no run in the folder.
    """

    def __init__(self, runs: Path, name: str) -> None:
        self.name, self.uri = name, str(runs)
        begun = [RunFolder(path.parent) for path in sorted(runs.glob("*/provenance.json"))]
        self._folders = {folder.fingerprint: folder for folder in begun}
        if not begun:
            raise UserError(f"{runs}: no run that has begun; {ROOT} says where to look")

    def _runs(self) -> tuple[str, Sequence[Run]]:
        return "", [_as_recorded(folder) for folder in self._folders.values()]

    def _fetch(self, run_id: str, name: str, folder: Path) -> Path:
        found = self._folders[run_id]
        found.check_results()
        return Path(shutil.copy(found.path / name, folder))


def _as_recorded(folder: RunFolder) -> Run:
    """Return a run as MLflow would have it."""
    status = folder.status()
    state = status.get("state", "")
    tags = run_tags(folder) | {f"{SWEEP}{name}": "member" for name in folder.sweeps}
    tags["mergerexp.error"] = str(status.get("error") or "")
    metrics: dict[str, float] = {}
    if state == DONE:
        metrics = read_json(folder.metrics)
        tags |= {f"{HASH}{name}": found for name, found in folder.check_results().items()}
    started, ended = (int(1000 * status.get(key, 0)) for key in ("started", "updated"))
    info = RunInfo(
        run_id=folder.fingerprint,
        experiment_id="",
        user_id="",
        status=CLOSED.get(state, "RUNNING"),
        start_time=started,
        end_time=ended if state in CLOSED else None,
        lifecycle_stage="active",
        run_name=run_name(folder),
    )
    data = RunData(
        metrics=[Metric(key, value, ended, 0) for key, value in metrics.items()],
        params=[Param(key, value) for key, value in run_settings(folder).items()],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )
    return Run(info, data)
