"""Studies without training: run folders as training leaves them, predictions made up, in a real MLflow."""

from __future__ import annotations

import functools
import io
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from filelock import FileLock
from hydra import initialize_config_dir
from mlflow import MlflowClient
from PIL import Image

from mergerexp.config.cell_composer import CellComposer
from mergerexp.config.hydra_adapter import VERSION_BASE
from mergerexp.config.paths import absolute_paths, conf_dir, set_machine_defaults
from mergerexp.config.schema import NetworkConfig, SplitConfig, TrainConfig
from mergerexp.config.validate import validate
from mergerexp.data.splits import make_split, n_balanced
from mergerexp.files import write_json
from mergerexp.hashing import digest
from mergerexp.runs.job_folder import DONE
from mergerexp.runs.run_folder import RunFolder
from mergerexp.tracking import record
from mergerexp.tracking.mlflow_reader import MlflowReader
from mergerexp.tracking.record import send
from mergerexp.tracking.study import Study
from mergerexp.tracking.study_artifacts import ROBUSTNESS
from mergerexp.training.examples import choose_examples
from mergerexp.training.run import fold_metrics

SKILL = {"imagenet": 1.0, "random": 0.6}  # separation of the classes in logits, at the largest size


@functools.cache
def empty_store() -> Path:
    """Make the tables of an MLflow database once for all processes of pytest: that takes seconds."""
    return made_once("mlflow.db", lambda path: MlflowClient(f"sqlite:///{path}").search_experiments())


@functools.cache
def _shared_by_processes() -> Path:
    if (run := os.environ.get("PYTEST_XDIST_TESTRUNUID")) is None:
        return Path(tempfile.mkdtemp(prefix="mergerexp-tests-"))
    folder = Path(tempfile.gettempdir()) / f"mergerexp-tests-{run}"
    folder.mkdir(exist_ok=True)
    return folder


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """Return the path of what one process of pytest makes for all of them."""
    path = _shared_by_processes() / name
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            made = path.with_suffix(".made")
            shutil.rmtree(made, ignore_errors=True)  # of a process that died
            made.unlink(missing_ok=True)
            make(made)
            made.rename(path)
    return path


@functools.cache
def composer() -> CellComposer:
    """Return what composes the cells of all studies: most of their groups are the same."""
    set_machine_defaults()
    with initialize_config_dir(str(conf_dir()), version_base=VERSION_BASE):
        return CellComposer("train", TrainConfig)


def galaxies(n_mergers: int = 60, n_others: int = 140) -> tuple[np.ndarray, np.ndarray]:
    """Return objids and labels."""
    labels = np.repeat([1, 0], [n_mergers, n_others]).astype(np.int8)
    return 5_870_000_000_000_000_000 + np.arange(len(labels)), labels


def rate(labels: np.ndarray, skill: float, rng: np.random.Generator) -> np.ndarray:
    """Draw overconfident p_m: calibrated logits times 1.8."""
    logit = 2 * skill**2 * (2 * labels - 1) + 2 * skill * rng.normal(size=len(labels))
    return 1 / (1 + np.exp(-1.8 * logit))


def history(cfg: TrainConfig) -> list[dict[str, Any]]:
    """Return the epochs of a run that ended by patience after its fourth epoch of fine-tuning."""
    stages = {"head": getattr(cfg.init, "head_epochs", 0), "finetune": 4 + cfg.trainer.patience}
    return [
        {"stage": stage, "epoch": epoch, "timestamp_ms": 1000 * epoch, "seconds": 1.0}
        | {"train_loss": 1 / (epoch + 2), "val_loss": 0.5, "val_accuracy": 0.7}
        for stage, epochs in stages.items()
        for epoch in range(epochs)
    ]


def add_run(
    root: Path,
    *overrides: str,
    state: str = DONE,
    content_hash: str = "c" * 64,
    ended: Mapping[str, float] = MappingProxyType({}),
    figures: bool = False,
    objects: tuple[int, int] | None = None,
) -> RunFolder:
    """Make one run's folder and its MLflow record; ended: how training did, if not by patience.

    The record has figures only where a test is about them, since hundreds of runs are made. Of few objects
    all pictures are kept, and of ``objects`` (mergers and others) those that a run keeps.
    """
    if not (root / "mlflow.db").exists():
        root.mkdir(exist_ok=True)
        shutil.copy(empty_store(), root / "mlflow.db")
    cell = (f"paths.root={root}", "data=simulated_small", *overrides)
    cfg = absolute_paths(validate(composer().compose(cell), TrainConfig))
    objids, labels = galaxies(*objects) if objects else galaxies()
    settings = SplitConfig(folds=cfg.split.folds, seed=0, subset_of="all", negatives="all")
    split = make_split(labels, np.arange(len(labels)) // 2, settings, cfg.fold, cfg.subset)
    identity = digest([*map(str, overrides), content_hash, len(list(root.glob("runs/*")))])
    name = str(getattr(cfg.model, "method", cfg.init.name))
    folder = RunFolder(root / "runs" / f"study-{name}-{cfg.subset:g}-{cfg.fold}-{identity}")
    folder.path.mkdir(parents=True)
    folder.write_config(cfg)
    dataset = {"path": str(root / "datasets" / "study"), "content_hash": content_hash}
    write_json(folder.inputs, {"fingerprint": identity, "dataset": dataset})
    provenance = {"git": {"commit": "0123abc", "dirty": False}, "device": "cpu", "command": "train"}
    classes = {"positive": "merger", "negative": "noninteracting"}
    data = {"name": cfg.data.name, "content_hash": content_hash, "objects": len(labels), **classes}
    write_json(folder.provenance, {**provenance, "data": data, "software": {"python": "3.11"}})
    is_network = isinstance(cfg.model, NetworkConfig)
    write_json(folder.history, history(cfg) if is_network else [])
    folder.join("5weep000")
    if state == DONE:
        rng = np.random.default_rng([cfg.fold, cfg.seed, round(100 * cfg.subset)])
        skill = (SKILL[cfg.init.name] if is_network else 0.4) * cfg.subset**0.15
        parts = [
            pd.DataFrame(
                {
                    "objid": objids[rows],
                    "group": rows // 2,  # two images an encounter
                    "split": name,
                    "label": labels[rows],
                    "file": [f"={objid}.png" for objid in objids[rows]],  # nothing that may be run
                    "p_m": rate(labels[rows], skill, rng),
                }
            )
            for name, rows in (("val", split.val), ("test", split.test))
        ]
        predictions = pd.concat(parts, ignore_index=True)
        predictions.to_parquet(folder.predictions)
        test = parts[1]
        kept = choose_examples(predictions, 0) if objects else test[["objid"]].assign(drawn=True)
        shown = kept.merge(test[["objid", "label"]], on="objid")
        shown.drop(columns="label").assign(jpeg=shown["label"].map(jpeg)).to_parquet(folder.examples)
        size = {"train/n_balanced": float(n_balanced(labels[split.train])), "run/seconds": 60.0}
        epochs = {}  # a rule has none
        if is_network:
            tuned = sum(row["stage"] == "finetune" for row in history(cfg))
            epochs = {"run/epochs": 12.0, "run/best_epoch": 3.0, "run/finetune_epochs": float(tuned)} | ended
        write_json(folder.metrics, {**fold_metrics(predictions), **size, **epochs})
        for name in ("model.safetensors", "model.json"):
            write_json(folder.path / name, {})
        folder.seal()
    folder.set_state(state, error=None if state == DONE else "ValueError: bad luck")
    if cfg.tracking.uri is not None:
        with nullcontext() if figures else patch.object(record, "_send_figures"):
            send(folder, cfg.tracking)
    return folder


@functools.cache
def jpeg(label: int) -> bytes:
    """Return a picture of one or two blobs."""
    y, x = np.mgrid[:48, :48]
    light = sum(np.exp(-((x - cx) ** 2 + (y - 24) ** 2) / 30) for cx in ((16, 32) if label else (24,)))
    buffer = io.BytesIO()
    Image.fromarray(np.uint8(np.clip(200 * light[..., None] * (1, 0.8, 0.7), 0, 255))).save(buffer, "JPEG")
    return buffer.getvalue()


def add_study(
    root: Path,
    inits: Sequence[str] = ("imagenet", "random"),
    subsets: Sequence[float] = (0.3, 0.5, 1.0),
    folds: Sequence[int] = (0, 1, 2, 3),
    *overrides: str,
) -> None:
    """Make all cells of a study."""
    for init in inits:
        for subset in subsets:
            for fold in folds:
                add_run(root, f"init={init}", f"subset={subset}", f"fold={fold}", *overrides)


def copy_study(root: Path, *cells: Any) -> None:
    """Do what `add_study` does, into an empty folder, by a copy of a study that is made once.

    The run folders and their record say where they were made, as those of a root that was moved.
    """
    copy = made_once(f"study-{digest(cells)}", lambda path: add_study(path, *cells))
    made = copy.with_suffix(".made")
    shutil.copytree(copy, root, dirs_exist_ok=True)
    with closing(sqlite3.connect(root / "mlflow.db")) as store:
        for table, column in (("runs", "artifact_uri"), ("experiments", "artifact_location")):
            change = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
            store.execute(change, (str(made), str(root)))
        store.commit()


def log_ratings(
    reader: MlflowReader, study: Study, run_id: str, strengths: tuple[float, ...] = (0.0, 2.0)
) -> None:
    """Keep ratings of blurred images with a run, as `mergerexp.robustness` does."""
    runs = study.runs[study.runs["run_id"] == run_id]
    test = study.predictions.query("split == 'test'").merge(runs[["fold"]])[["objid", "label", "p_m"]]
    parts = [test.assign(degradation="blur", strength=strength) for strength in strengths]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ROBUSTNESS
        pd.concat(parts).to_parquet(path)
        reader.add_artifact(run_id, path)
