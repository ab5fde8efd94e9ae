"""Damage to files at rest, and what their readers make of it: shared by the short and the long fuzzer.

Each kind of file is written by the package itself, damaged, and read as a sweep, a resumed run or a study
reads it. What comes out is one of:

- *named*: the reader refuses, or recomputes with a warning, and names the file;
- *harmless*: the reader returns exactly what it returns for the undamaged file;
- *silent*: it returns something else without a word;
- *unnamed*: it refuses in one line, which does not name the file;
- *traceback*: it raises what no verb of ours answers in one line;
- *hang*: it takes longer than `PATIENCE_S`.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pandas as pd
import torch

from mergerexp.data.build import _check_part
from mergerexp.data.parts import make_part, read_images, read_record
from mergerexp.data.sources import Part
from mergerexp.data.store import Dataset, save, verify
from mergerexp.errors import UserError
from mergerexp.files import read_json, write_json, written
from mergerexp.models.bank import FeatureBank
from mergerexp.runs import run_folder
from mergerexp.runs.job_folder import RUNNING, warn_once
from mergerexp.runs.provenance import check_copy
from mergerexp.runs.run_folder import RunFolder
from mergerexp.runs.sweep_folder import SweepFolder
from mergerexp.sweep.snapshot import snapshot
from mergerexp.tracking.mlflow_reader import MlflowReader
from mergerexp.tracking.stored_predictions import read_predictions
from mergerexp.training.protocol import checkpointed_stage
from tests.studies import add_run

PATIENCE_S = 30
HOW = ("bit", "bit", "bytes", "zeros", "noise", "cut", "cut", "empty", "twice", "more")
NO_CHECKSUM = {"mlflow.db": "SQLite keeps no checksum of its pages: another digit of a value is a value"}
OUTCOMES = ("named", "harmless", "unnamed", "silent", "traceback", "hang")
TOLD = (UserError, OSError)  # what every verb says in one line


@dataclass(frozen=True)
class Kind:
    """A kind of file, and how it is read.

    Attributes
    ----------
    name
        For the table.
    path
        The file.
    read
        Reads it; what it returns is compared with what it returned before the damage.
    """

    name: str
    path: Path
    read: Callable[[], Any]


def damaged(data: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """Return other bytes than these, as failing disks, cut copies and slips leave them, and what was done."""
    while True:
        how = HOW[int(rng.integers(len(HOW)))]
        other = bytearray(data)
        at = int(rng.integers(len(data)))
        length = int(rng.integers(1, 1 + min(4096, len(data))))
        if how == "bit":
            other[at] ^= 1 << int(rng.integers(8))
        elif how == "bytes":
            for place in rng.integers(len(data), size=5).tolist():
                other[place] = int(rng.integers(256))
        elif how in ("zeros", "noise"):
            new = bytes(length) if how == "zeros" else rng.bytes(length)
            other[at : at + length] = new[: len(data) - at]
        elif how == "cut":
            del other[at:]
        elif how == "empty":
            other.clear()
        elif how == "twice":
            other[at:at] = other[at : at + length]
        else:
            other += rng.bytes(length)
        if other != data:
            return bytes(other), f"{how} at {at}"


def outcome(kind: Kind, data: bytes, as_it_was: Any) -> tuple[str, str]:
    """Put damaged bytes in a file's place, read it, and return the outcome and its details."""
    kind.path.write_bytes(data)
    warn_once.cache_clear()
    run_folder._check_results.cache_clear()
    with _listening() as said:
        try:
            with _patience():
                found = kind.read()
        except TimeoutError:
            return "hang", ""
        except TOLD as error:
            return ("named" if kind.path.name in str(error) else "unnamed"), str(error)
        except Exception as error:
            return "traceback", f"{type(error).__name__}: {error}"
    if any(kind.path.name in line for line in said):
        return "named", said[0]
    return ("harmless" if _same(found, as_it_was) else "silent"), ""


def fuzz(kind: Kind, times: int, seed: int) -> Iterator[tuple[str, str, str]]:
    """Damage a file so many times; yield the outcome, what was done and details, and leave it as it was."""
    rng = np.random.default_rng(seed)
    data = kind.path.read_bytes()
    as_it_was = kind.read()
    try:
        for _ in range(times):
            other, how = damaged(data, rng)
            result, details = outcome(kind, other, as_it_was)
            yield result, how, details
    finally:
        kind.path.write_bytes(data)


def all_kinds(root: Path) -> list[Kind]:
    """Write one file of each kind below an empty folder."""
    return [*_of_data_sets(root / "data"), *_of_runs(root / "study"), *_of_the_rest(root / "rest")]


def _of_data_sets(root: Path) -> list[Kind]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    catalogue = pd.DataFrame(
        {"objid": np.arange(40) + 10**15, "label": [0, 1] * 20, "group": np.arange(40), "z": rng.random(40)}
    )
    path = root / "toy"
    about = {"name": "toy", "source": "Toy", "recipe": {"n": 40, "π": [0.1]}, "class_names": ("plain", "odd")}
    save(path, [images], catalogue, size=16, **about)  # type: ignore[arg-type]

    def read() -> Any:
        dataset = Dataset.open(path)
        verify(dataset)
        return dataset.meta, dataset.catalogue, np.array(dataset.images)

    class Toy:
        def make(self, chunk: Any) -> Part:
            rows = [{"objid": i, "label": i % 2, "group": i} for i in range(5)]
            return Part(images[:5], rows, [])

    part = root / "000000-of-000001.part"
    make_part(Toy(), None, 16, part)  # type: ignore[arg-type]
    whole = part.read_bytes()

    def read_part() -> Any:
        try:
            _check_part(part)
        finally:
            there = part.is_file()
            part.exists() or part.write_bytes(whole)
        assert there
        return read_record(part), read_images(part)

    names = ("images.npy", "catalogue.parquet", "dataset.json")
    return [*(Kind(name, path / name, read) for name in names), Kind("part of a data set", part, read_part)]


def _of_runs(root: Path) -> list[Kind]:
    root.mkdir()
    folder = add_run(root)
    config = folder.read_config()
    reader = MlflowReader(tracking_of(config))
    study = reader.find()
    run_id = study.runs["run_id"].iloc[0]
    stored = root / "mlartifacts"
    (artifact,) = stored.rglob("predictions.parquet")

    def read_artifact() -> Any:
        found = reader.artifacts(study.runs, "predictions.parquet", read_predictions)[run_id]
        if isinstance(found, Exception):
            raise UserError(str(found))  # a gap of the study, with these words
        return found

    def read_store() -> Any:
        found = MlflowReader(tracking_of(config)).find()
        return found.runs, found.settings, found.tags, found.metrics

    def results() -> Any:
        return folder.check_results(), folder.is_done()

    def status() -> Any:
        return {key: value for key, value in folder.status().items() if key in ("state", "seconds")}

    sealed = ("predictions.parquet", "examples.parquet", "model.safetensors", "model.json", "history.json")
    kinds = [Kind(name, folder.path / name, results) for name in (*sealed, "metrics.json", "seal.json")]
    return [
        *kinds,
        Kind("predictions.parquet in MLflow", artifact, read_artifact),
        Kind("mlflow.db", root / "mlflow.db", read_store),
        Kind("status.json", folder.path / "status.json", status),
        Kind("config.yaml", folder.config, folder.read_config),
        Kind("inputs.json", folder.inputs, lambda: folder.fingerprint),
        Kind("provenance.json", folder.provenance, lambda: read_json(folder.provenance)),
    ]


def tracking_of(config: Any) -> Any:
    """Return the tracking settings of a frozen config."""
    from omegaconf import OmegaConf

    from mergerexp.config.schema import TrackingConfig

    own: Any = OmegaConf.to_container(config.tracking)
    return TrackingConfig(**own)


def _of_the_rest(root: Path) -> list[Kind]:
    root.mkdir()
    checkpoint = root / "last.ckpt"
    state = {"stage": "head", "weights": torch.arange(3000.0), "loops": {"epoch": 3}}
    with written(checkpoint, signed=True) as partial:
        torch.save(state, partial)

    def read_checkpoint() -> Any:
        stage = checkpointed_stage(checkpoint)
        return stage and torch.load(checkpoint, weights_only=True)["weights"].numpy()

    bank = FeatureBank(root / "features", block=64)
    rows = np.arange(64, dtype=np.int64)

    def features() -> Any:
        found = bank.get(0, rows, lambda view, some: some[:, None] / np.arange(1.0, 9.0))
        (block,) = bank.folder.rglob("*.npz")
        block.rename(block.with_name(name))
        return found

    bank.get(0, rows, lambda view, some: some[:, None] / np.arange(1.0, 9.0))
    (block,) = bank.folder.rglob("*.npz")
    name = block.name
    run = RunFolder(root / "runs" / "unfinished")
    run.set_state(RUNNING, epoch=3)
    sweep = SweepFolder.of(root / "sweeps", [run])
    sweep.write([run], [["fold=0"]], [1.0])
    copy = snapshot(root / "sweeps")
    code = copy / "mergerexp" / "training" / "run.py"

    def read_code() -> Any:
        check_copy(copy)
        return code.read_bytes()

    note = root / "submission.json"
    write_json(note, {"record": "array-001.json", "index": 3})
    return [
        Kind("last.ckpt", checkpoint, read_checkpoint),
        Kind("block of the bank", block, features),
        Kind("status.json, unfinished", run.path / "status.json", lambda: run.status().get("state")),
        Kind("sweep.json", sweep.path / "sweep.json", sweep.read),
        Kind("submission.json", note, lambda: read_json(note)),
        Kind("code of a sweep", code, read_code),
    ]


@contextmanager
def _listening() -> Iterator[list[str]]:
    """Collect the warnings of our own modules."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger, listener = logging.getLogger("mergerexp"), Listener(logging.WARNING)
    others, propagate = list(logger.handlers), logger.propagate
    logger.handlers, logger.propagate = [listener], False
    try:
        yield said
    finally:
        logger.handlers, logger.propagate = others, propagate


@contextmanager
def _patience() -> Iterator[None]:
    def give_up(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, pd.DataFrame):
        return isinstance(other, pd.DataFrame) and one.equals(other)
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and np.array_equal(one, other)
    if isinstance(one, tuple | list):
        return type(one) is type(other) and len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
