"""A run on disk: its files, its state, and the lock that keeps two processes from training it at once."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from mergerexp.config.schema import TrainConfig
from mergerexp.files import read_json, write_json

RUNNING, STOPPED, DONE, FAILED = "running", "stopped", "done", "failed"


@dataclass(frozen=True)
class RunFolder:
    """``runs/<name>-<fingerprint>/``, the whole record of a run.

    Attributes
    ----------
    path
        The folder.
    fingerprint
        The run's identity.
    """

    path: Path
    fingerprint: str

    @classmethod
    def of(cls, cfg: TrainConfig, fingerprint: str) -> RunFolder:
        """Return the folder that a config's run has, whether it exists or not."""
        backbone = cfg.model.backbone.removeprefix("tf_").removeprefix("legacy_")
        runs, short = Path(cfg.paths.runs), fingerprint[:10]
        for known in sorted(runs.glob(f"*-{short}")):
            return cls(known, fingerprint)  # the same run under another name, e.g. of its data set
        name = f"{cfg.data.name}-{backbone}-{cfg.init.name}-subset{cfg.subset:g}-fold{cfg.fold}"
        return cls(runs / f"{name}-{short}", fingerprint)

    @property
    def config(self) -> Path:
        """The frozen config."""
        return self.path / "config.yaml"

    @property
    def checkpoint(self) -> Path:
        """``last.ckpt``, there while the run is unfinished."""
        return self.path / "last.ckpt"

    @property
    def history(self) -> Path:
        """A row an epoch."""
        return self.path / "history.json"

    @property
    def predictions(self) -> Path:
        """p_m of every validation and test galaxy."""
        return self.path / "predictions.parquet"

    @property
    def metrics(self) -> Path:
        """Scores computed from the predictions."""
        return self.path / "metrics.json"

    @property
    def provenance(self) -> Path:
        """Where the run came from."""
        return self.path / "provenance.json"

    @property
    def record(self) -> Path:
        """What MLflow has been told."""
        return self.path / "mlflow.json"

    def artifacts(self) -> list[Path]:
        """Return the files of a finished run that belong in its MLflow record."""
        model = [self.path / "model.safetensors", self.path / "model.json"]
        return [self.config, self.provenance, self.history, self.metrics, self.predictions, *model]

    def lock(self) -> FileLock:
        """Return the lock of the run; the system releases it when its holder dies."""
        self.path.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path / ".lock")

    def status(self) -> dict[str, Any]:
        """Return the last written status; empty for a run that never started, or if it is damaged."""
        try:
            return dict(read_json(self.path / "status.json"))
        except (FileNotFoundError, ValueError):
            return {}

    def is_done(self) -> bool:
        """Tell whether the run is finished and its results are there."""
        return self.status().get("state") == DONE and all(path.is_file() for path in self.artifacts())

    def set_state(self, state: str, **details: Any) -> None:
        """Write ``status.json``; details of earlier states are kept unless given anew."""
        status = {**self.status(), "state": state, "fingerprint": self.fingerprint, **details}
        status |= {"host": platform.node(), "pid": os.getpid(), "updated": round(time.time(), 3)}
        write_json(self.path / "status.json", status)
