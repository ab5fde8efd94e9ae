"""A run on disk: the folder of its job, with what it is to do and what came out."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mergerexp.config.paths import SQLITE
from mergerexp.config.schema import TrainConfig, unused_groups
from mergerexp.errors import UserError, describe
from mergerexp.files import read_json, remove_partial, write_json, write_text
from mergerexp.runs.job_folder import DONE, JobFolder, warn_once
from mergerexp.seals import FILES, SEAL, check_listed, check_signed, digests

PROGRESS = ("started", "restarts", "seconds", "stage", "epoch", "best_accuracy")  # in status.json

Moved = tuple[Path, Path] | None  # a root as it was when a run was planned, and as it is now

NOTE = {"uri", "experiment", "run_id", "rows", "closed"}  # what mlflow.json has at least


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

    def write_config(self, cfg: TrainConfig) -> None:
        """Freeze a config."""
        write_text(self.config, OmegaConf.to_yaml(OmegaConf.structured(cfg)), signed=True)

    def read_config(self) -> DictConfig:
        """Return the frozen config, with the present root instead of the one that it was written for.

        Raises
        ------
        UserError
            If the file is not there or not as it was written.
        """
        config = self._frozen_config()
        moved = self._moved_root(config)
        for group in ("paths", "tracking"):
            for key, value in (config.get(group) or {}).items():
                config[group][key] = _below(moved, value)
        return config

    def _frozen_config(self) -> DictConfig:
        try:
            check_signed(self.config)
            config = OmegaConf.load(self.config)
        except UserError as error:
            raise UserError(f"{error}; the same command writes it again") from error
        except Exception as error:  # the parser's and OmegaConf's have no common base
            raise UserError(f"{self.config} is damaged ({describe(error)})") from error
        last = fields(TrainConfig)[-1].name
        if not isinstance(config, DictConfig) or config.get(last) is None:
            raise UserError(f"{self.config} is damaged (it does not go on to {last})")
        return config

    def _moved_root(self, config: DictConfig) -> Moved:
        """Return the root that the config was written for and the present one, if that is another."""
        root, runs = (OmegaConf.select(config, f"paths.{name}") for name in ("root", "runs"))
        if not root or not runs or not Path(runs).is_relative_to(root):
            return None
        inside, here = Path(runs).relative_to(root).parts, self.path.absolute().parent.parts
        if here[len(here) - len(inside) :] != inside:
            return None  # the run was taken out of its root
        now = Path(*here[: len(here) - len(inside)])
        return None if now == Path(root) else (Path(root), now)

    @property
    def inputs(self) -> Path:
        """The very data set, weights and code that it was planned with, and its fingerprint."""
        return self.path / "inputs.json"

    def read_inputs(self) -> dict[str, Any]:
        """Return ``inputs.json``; paths below the root follow it, as in `read_config`."""
        inputs, moved = dict(read_json(self.inputs)), self._moved_root(self._frozen_config())
        for name in ("dataset", "weights"):
            if inputs[name] is not None:
                inputs[name] = {**inputs[name], "path": _below(moved, inputs[name]["path"])}
        return inputs

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

    def note(self) -> dict[str, Any]:
        """Return what MLflow has been told; empty if nothing, or if the note is damaged.

        MLflow's run is then found again by the fingerprint.
        """
        try:
            note = dict(read_json(self.record))
        except (FileNotFoundError, ValueError, TypeError):
            return {}
        if not note.keys() >= NOTE:
            return {}
        if Path(str(note["uri"]).removeprefix(SQLITE)).parent not in self.path.absolute().parents:
            with contextlib.suppress(UserError):  # of a damaged config, which is named where it is needed
                note["uri"] = _below(self._moved_root(self._frozen_config()), note["uri"])
        return note

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

    def begin_anew(self) -> None:
        """If that was asked for, forget how far the run has come, its record in MLflow included.

        The caller holds the run's lock. Cut off anywhere, the next call does the same.
        """
        if not self.again.is_file():
            return
        (self.path / SEAL).unlink(missing_ok=True)
        if note := self.note():
            write_json(self.record, {**note, "superseded": True})
        for path in (self.checkpoint, self.history):
            path.unlink(missing_ok=True)
        status = {key: value for key, value in self.status().items() if key not in PROGRESS}
        write_json(self.path / "status.json", status)  # the job has said there where it runs
        self.again.unlink()

    def is_done(self) -> bool:
        """Tell whether the run is finished, its results are there and it is not to begin anew."""
        return super().is_done() and not self.lacks_results()

    def lacks_results(self) -> bool:
        """Tell whether the run was finished, and some of what came out has gone since, or is damaged."""
        if self.status().get("state") != DONE:
            return False
        problem = self._damage()
        if problem is not None and not self.again.is_file():
            warn_once("%s: the run, which was finished, has to begin anew", problem)
        return problem is not None

    def seal(self) -> None:
        """Record the hashes of what came out, once all of it is there: the last step before a run is done."""
        write_json(self.path / SEAL, {FILES: digests(self.path, [path.name for path in self.artifacts()])})

    def check_results(self) -> dict[str, str]:
        """Return the hash of each result of a finished run by its file's name, as it was sealed and is now.

        Raises
        ------
        UserError
            Naming the result that is missing or damaged.
        """
        try:
            sealed = dict(read_json(self.path / SEAL)[FILES])
        except FileNotFoundError as error:
            raise UserError(f"{self.path / SEAL} is missing") from error
        check_listed(self.path, sealed, [path.name for path in self.artifacts()])
        return sealed

    def _damage(self) -> str | None:
        """Say which result is not as it was written, if one is; a result is read once a process."""
        try:
            known = [(path.name, *_stamp(path)) for path in (self.path / SEAL, *self.artifacts())]
        except OSError as error:
            return f"{error.filename} is missing"
        return _check_results(self, tuple(known))

    def status_from_the_rest(self) -> dict[str, Any]:
        """Return the status that the results bear witness to, if all of them are whole: done."""
        if self._damage() is not None:
            return {}
        known = {"seconds": read_json(self.metrics).get("run/seconds", 0.0)}
        return {"state": DONE, "updated": round((self.path / SEAL).stat().st_mtime, 3), **known}

    def mend_status(self) -> None:
        """Write a damaged ``status.json`` again, unless a process is at work on the run."""
        try:
            if (self.path / "status.json").is_file():
                read_json(self.path / "status.json")
        except UserError:
            if not self.is_held():
                self.restore(self.status())

    def remove_partial(self) -> None:
        """Remove what a killed attempt has left half-written; the caller holds the run's lock."""
        for path in (self.checkpoint, *self.artifacts()):
            remove_partial(self.path, path.name)


def _below(moved: Moved, value: Any) -> Any:
    """Return a path, or the address of an SQLite file, below the present root instead of the one before."""
    if moved is None or not isinstance(value, str):
        return value
    kind = SQLITE if value.startswith(SQLITE) else ""
    path = Path(value.removeprefix(kind))
    return f"{kind}{moved[1] / path.relative_to(moved[0])}" if path.is_relative_to(moved[0]) else value


def _stamp(path: Path) -> tuple[int, int, int]:
    about = path.stat()
    return about.st_size, about.st_mtime_ns, about.st_ino


@functools.cache
def _check_results(folder: RunFolder, known: tuple[tuple[str | int, ...], ...]) -> str | None:
    try:
        folder.check_results()
    except UserError as error:
        return str(error)
    return None
