"""A run on disk: the folder of its job, with what it is to do and what came out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mergerexp.config.schema import TrainConfig, unused_groups
from mergerexp.files import read_json, write_json
from mergerexp.sweep.job_folder import JobFolder


@dataclass(frozen=True)
class RunFolder(JobFolder):
    """``runs/<name>-<fingerprint>/``, the whole record of a run."""

    @classmethod
    def of(cls, cfg: TrainConfig, fingerprint: str) -> RunFolder:
        """Return the folder that a config's run has, whether it exists or not."""
        runs, short = Path(cfg.paths.runs), fingerprint[:10]
        for known in sorted(runs.glob(f"*-{short}")):
            return cls(known)  # the same run under another name, e.g. of its data set
        init = [] if "init" in unused_groups(cfg.model.kind) else [cfg.init.name]
        name = [cfg.data.name, cfg.model.label, *init, f"subset{cfg.subset:g}", f"fold{cfg.fold}", short]
        return cls(runs / "-".join(name))

    @property
    def config(self) -> Path:
        """The frozen config."""
        return self.path / "config.yaml"

    @property
    def inputs(self) -> Path:
        """The very data set, weights and code that it was planned with, and its fingerprint."""
        return self.path / "inputs.json"

    @property
    def fingerprint(self) -> str:
        """The run's identity."""
        return str(read_json(self.inputs)["fingerprint"])

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
    def diff(self) -> Path:
        """How the code differed from its commit, if it did."""
        return self.path / "git.diff"

    @property
    def examples(self) -> Path:
        """Small images of some test galaxies."""
        return self.path / "examples.parquet"

    @property
    def sweeps(self) -> list[str]:
        """The sweeps that the run is part of."""
        path = self.path / "sweeps.json"
        return list(read_json(path)) if path.is_file() else []

    def join(self, sweep: str) -> None:
        """Make the run part of a sweep."""
        if sweep not in (known := self.sweeps):
            write_json(self.path / "sweeps.json", [*known, sweep])

    @property
    def record(self) -> Path:
        """What MLflow has been told."""
        return self.path / "mlflow.json"

    def artifacts(self) -> list[Path]:
        """Return the files of a finished run that belong in its MLflow record."""
        model = [self.path / "model.safetensors", self.path / "model.json"]
        return [
            self.config,
            self.inputs,
            self.provenance,
            self.history,
            self.metrics,
            self.predictions,
            self.examples,
            *model,
        ]

    def forget(self) -> None:
        """Let the run start from nothing, its record in MLflow included."""
        if self.record.is_file():
            write_json(self.record, {**read_json(self.record), "superseded": True})
        for path in (self.path / "status.json", self.checkpoint, self.history):
            path.unlink(missing_ok=True)

    def is_done(self) -> bool:
        """Tell whether the run is finished and its results are there."""
        return super().is_done() and all(path.is_file() for path in self.artifacts())
