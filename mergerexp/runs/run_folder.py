"""The folder of a run, with its frozen config and inputs, its state and its results."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mergerexp.config.frozen import write_frozen
from mergerexp.config.paths import SQLITE
from mergerexp.config.schema import TrainConfig, unused_groups
from mergerexp.errors import UserError, describe
from mergerexp.files import read_json, remove_partial, write_json
from mergerexp.runs.job_folder import DONE, File, JobFolder, warn_once
from mergerexp.seals import FILES, SEAL, check_listed, check_signed, digests, stamp

# The files of a finished run, which are artifacts of its MLflow record too.
HISTORY, PREDICTIONS, EXAMPLES = "history.json", "predictions.parquet", "examples.parquet"
MODEL, WEIGHTS = "model.json", "model.safetensors"
PROGRESS = ("started", "restarts", "seconds", "stage", "epoch", "best_accuracy")  # keys of status.json

Moved = tuple[Path, Path] | None  # where a root was when a run was planned, and where it is now

NOTE_KEYS = {"uri", "experiment", "run_id", "rows", "closed"}  # which mlflow.json must have


@dataclass(frozen=True)
class RunFolder(JobFolder):
    """The folder ``runs/<name>-<fingerprint>/``, which has the complete record of a run.

    Attributes
    ----------
    config
        The frozen config.
    inputs
        The file with the fingerprint of the run, and the data set and weights that it was planned with.
    checkpoint
        The last checkpoint, which exists while the run is unfinished.
    history
        The file with losses and accuracies, which has a row for each epoch.
    predictions
        The file with p_m of every validation and test galaxy.
    metrics
        The file with the scores that were computed from the predictions.
    provenance
        The file that says with which code, data, machine and packages the run was made.
    diff
        The patch from the commit to the code of the run, which exists if the two differed.
    examples
        The file with small images of some test galaxies.
    note_file
        The file that notes what was sent to MLflow.
    """

    config = File("config.yaml")
    inputs = File("inputs.json")
    checkpoint = File("last.ckpt")
    history = File(HISTORY)
    predictions = File(PREDICTIONS)
    metrics = File("metrics.json")
    provenance = File("provenance.json")
    diff = File("git.diff")
    examples = File(EXAMPLES)
    note_file = File("mlflow.json")

    @classmethod
    def of(cls, cfg: TrainConfig, fingerprint: str) -> RunFolder:
        """Return the folder of the run of a config, whether it exists or not.

        Parameters
        ----------
        cfg
            The config with its absolute paths.
        fingerprint
            The fingerprint of the run.
        """
        runs, short = Path(cfg.paths.runs), fingerprint[:10]
        for known in sorted(runs.glob(f"*-{short}")):
            return cls(known)  # the same run may have another name, for example that of a renamed data set
        init = [] if "init" in unused_groups(cfg.model.kind) else [cfg.init.name]
        name = [cfg.data.name, cfg.model.label, *init, f"subset{cfg.subset:g}", f"fold{cfg.fold}", short]
        return cls(runs / "-".join(name))

    def write_config(self, cfg: TrainConfig) -> None:
        """Write the frozen config, which ends with a line that has its hash."""
        write_frozen(self.config, asdict(cfg))

    def read_config(self) -> DictConfig:
        """Return the frozen config; if the root was moved since, its paths are changed accordingly.

        Raises
        ------
        UserError
            If the file is damaged.
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
        except Exception as error:  # the errors of the parser and of OmegaConf have no common base class
            raise UserError(f"{self.config} is damaged ({describe(error)})") from error
        last = fields(TrainConfig)[-1].name
        if not isinstance(config, DictConfig) or config.get(last) is None:
            raise UserError(f"{self.config} is damaged (it has no {last})")
        return config

    def _moved_root(self, config: DictConfig) -> Moved:
        """Return the root that the config was written for and the present one, if the root was moved."""
        root, runs = (OmegaConf.select(config, f"paths.{name}") for name in ("root", "runs"))
        if not root or not runs or not Path(runs).is_relative_to(root):
            return None
        inside, here = Path(runs).relative_to(root).parts, self.path.absolute().parent.parts
        if here[len(here) - len(inside) :] != inside:
            return None  # the run folder was moved out of its root
        now = Path(*here[: len(here) - len(inside)])
        return None if now == Path(root) else (Path(root), now)

    def read_inputs(self) -> dict[str, Any]:
        """Return the content of ``inputs.json``; if the root was moved, its paths are changed accordingly."""
        inputs, moved = dict(read_json(self.inputs)), self._moved_root(self._frozen_config())
        for name in ("dataset", "weights"):
            if inputs[name] is not None:
                inputs[name] = {**inputs[name], "path": _below(moved, inputs[name]["path"])}
        return inputs

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the run, which identifies it wherever its folder is."""
        return str(read_json(self.inputs)["fingerprint"])

    @property
    def sweeps(self) -> list[str]:
        """The names of the sweeps that the run is part of."""
        path = self.path / "sweeps.json"
        return list(read_json(path)) if path.is_file() else []

    def join(self, sweep: str) -> None:
        """Record that the run is part of a sweep, which is given by its name."""
        if sweep not in (known := self.sweeps):
            write_json(self.path / "sweeps.json", [*known, sweep])

    def note(self) -> dict[str, Any]:
        """Return the note of what was sent to MLflow; it is empty if nothing was, or if it is damaged.

        Without the note, the run in MLflow is found again by the fingerprint.
        """
        try:
            note = dict(read_json(self.note_file))
        except (FileNotFoundError, ValueError, TypeError):
            return {}
        if not note.keys() >= NOTE_KEYS:
            return {}
        if Path(str(note["uri"]).removeprefix(SQLITE)).parent not in self.path.absolute().parents:
            with contextlib.suppress(UserError):  # a damaged config is reported where it is needed
                note["uri"] = _below(self._moved_root(self._frozen_config()), note["uri"])
        return note

    def artifacts(self) -> list[Path]:
        """Return the files of a finished run that become artifacts in its MLflow record."""
        return [
            self.config,
            self.inputs,
            self.provenance,
            self.history,
            self.metrics,
            self.predictions,
            self.examples,
            self.path / WEIGHTS,
            self.path / MODEL,
        ]

    def begin_anew(self) -> None:
        """Delete the progress of the run and mark its MLflow record as superseded, if it is to begin anew.

        The caller has to hold the lock of the run. If this is interrupted, the next call completes it.
        """
        if not self.again.is_file():
            return
        (self.path / SEAL).unlink(missing_ok=True)
        if note := self.note():
            write_json(self.note_file, {**note, "superseded": True})
        for path in (self.checkpoint, self.history):
            path.unlink(missing_ok=True)
        status = {key: value for key, value in self.status().items() if key not in PROGRESS}
        write_json(self.status_file, status)  # which also says where the job runs
        self.again.unlink()

    def is_done(self) -> bool:
        """Tell whether the run is finished, has all its results and is not to begin anew."""
        return super().is_done() and not self.lacks_results()

    def lacks_results(self) -> bool:
        """Tell whether the run was finished, but a result is now missing or damaged."""
        if self.status().get("state") != DONE:
            return False
        problem = self._damage()
        if problem is not None and not self.again.is_file():
            warn_once("%s: the run, which was finished, has to begin anew", problem)
        return problem is not None

    def seal(self) -> None:
        """Record the hashes of all results, which is the last step before the run is done."""
        write_json(self.path / SEAL, {FILES: digests(self.path, [path.name for path in self.artifacts()])})

    def check_results(self) -> dict[str, str]:
        """Check that the results of a finished run are as they were sealed.

        Returns
        -------
        dict
            The hashes of the results, by the names of their files.

        Raises
        ------
        UserError
            If a result is missing or damaged; the message names it.
        """
        try:
            sealed = dict(read_json(self.path / SEAL)[FILES])
        except FileNotFoundError as error:
            raise UserError(f"{self.path / SEAL} is missing") from error
        check_listed(self.path, sealed, [path.name for path in self.artifacts()])
        return sealed

    def _damage(self) -> str | None:
        """Return what is wrong with a result that is not as it was written; None if there is no such result.

        A process reads the results once, unless their sizes or times have changed.
        """
        try:
            known = [(path.name, *stamp(path)) for path in (self.path / SEAL, *self.artifacts())]
        except OSError as error:
            return f"{error.filename} is missing"
        return _check_results(self, tuple(known))

    def reconstructed_status(self) -> dict[str, Any]:
        """Return the status of a finished run if all results are as they were sealed; otherwise nothing."""
        if self._damage() is not None:
            return {}
        known = {"seconds": read_json(self.metrics).get("run/seconds", 0.0)}
        return {"state": DONE, "updated": round((self.path / SEAL).stat().st_mtime, 3), **known}

    def mend_status(self) -> None:
        """Write a damaged ``status.json`` again, unless a process is working on the run."""
        try:
            if self.status_file.is_file():
                read_json(self.status_file)
        except UserError:
            if self.is_held():
                return
            if known := self.status():
                write_json(self.status_file, known)
            else:
                self.status_file.unlink(missing_ok=True)

    def remove_partial(self) -> None:
        """Remove the unfinished files of a killed attempt; the caller has to hold the lock of the run."""
        for path in (self.checkpoint, *self.artifacts()):
            remove_partial(self.path, path.name)


def _below(moved: Moved, value: Any) -> Any:
    """Return a path, or the address of an SQLite file, below the present root instead of the former one."""
    if moved is None or not isinstance(value, str):
        return value
    kind = SQLITE if value.startswith(SQLITE) else ""
    path = Path(value.removeprefix(kind))
    return f"{kind}{moved[1] / path.relative_to(moved[0])}" if path.is_relative_to(moved[0]) else value


@functools.cache
def _check_results(folder: RunFolder, known: tuple[tuple[str | int, ...], ...]) -> str | None:
    try:
        folder.check_results()
    except UserError as error:
        return str(error)
    return None
