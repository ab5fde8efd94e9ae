"""A run from its data to its record, with training, predictions and metrics."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import pandas as pd

from mergerexp.analysis.metrics import summary
from mergerexp.config.fingerprint import PROTOCOL_VERSION
from mergerexp.config.schema import NonparametricConfig, TrainConfig
from mergerexp.data.splits import Split, make_split, n_balanced
from mergerexp.data.store import Dataset
from mergerexp.errors import describe
from mergerexp.files import write_json, written
from mergerexp.models.weights import WeightsFile
from mergerexp.runs.job_folder import DONE, FAILED, RUNNING, STOPPED
from mergerexp.runs.provenance import git_diff, git_state, software
from mergerexp.runs.run_folder import RunFolder
from mergerexp.runs.stop import StopRequested
from mergerexp.tracking.pending import Record
from mergerexp.training.examples import run_examples
from mergerexp.training.machine import Machine, choose_machine, cpu_only, hardware, peak_memory_gb
from mergerexp.training.protocol import TwoStageTraining
from mergerexp.training.stage import FINETUNE
from mergerexp.training.trained_model import Row, TrainedModel

log = logging.getLogger(__name__)


def run_training(
    cfg: TrainConfig, dataset: Dataset, weights: WeightsFile | None, folder: RunFolder, inputs: dict[str, Any]
) -> None:
    """Train a run from its latest checkpoint to its end.

    Parameters
    ----------
    cfg
        The validated config.
    dataset
        The data set that was prepared from ``cfg.data``.
    weights
        The file of the backbone's weights; None for random ones.
    folder
        The folder of the run, whose lock the caller has to hold.
    inputs
        The contents of ``inputs.json``, with which the run was planned.

    Raises
    ------
    Exception
        The exception that stopped the run, of any kind, after the state has been written. The checkpoint is
        kept.
    """
    before = folder.status()
    earlier, started = float(before.get("seconds", 0.0)), time.time()
    record = Record(folder, cfg.tracking)
    is_network = not isinstance(cfg.model, NonparametricConfig)

    def seconds() -> float:
        """Return the seconds that all attempts of the run have taken, up to the last checkpoint of each."""
        return round(earlier + time.time() - started, 3)

    def saved(rows: list[Row]) -> None:
        write_json(folder.history, rows)
        best = max(row["val_accuracy"] for row in rows)
        stage = rows[-1]["stage"]
        is_last = stage == FINETUNE
        epochs = cfg.trainer.max_epochs if is_last else cfg.init.head_epochs
        last = {"stage": stage, "epoch": rows[-1]["epoch"], "epochs": epochs, "is_last_stage": is_last}
        folder.set_state(RUNNING, **last, best_accuracy=best, seconds=seconds())
        record.update()

    folder.set_state(RUNNING, started=round(started, 3), restarts=before.get("restarts", -1) + 1, error=None)
    try:
        machine = choose_machine(cfg.trainer) if is_network else cpu_only(cfg.trainer)
        split = make_split(dataset.labels, dataset.groups, cfg.split, cfg.fold, cfg.subset)
        _write_provenance(folder, _provenance(cfg, dataset, weights, machine, inputs))
        record.begin()
        if is_network:
            network = TwoStageTraining(cfg, dataset, split, weights, machine, folder.checkpoint, saved)
            trained = network.train()
        else:
            from mergerexp.training.baseline import train_baseline  # its libraries are no network's

            trained = train_baseline(cfg, dataset, split, machine.threads)
        _write_results(cfg, dataset, split, trained, folder, seconds())
        folder.set_state(DONE)
    except (KeyboardInterrupt, StopRequested):
        folder.set_state(STOPPED)
        raise
    except Exception as error:
        folder.set_state(FAILED, error=describe(error))
        raise
    finally:
        # A job that is about to be requeued has little time, so that MLflow continues to show it as running.
        requeued = isinstance(sys.exception(), StopRequested) and folder.status().get("job")
        if folder.provenance.is_file() and not requeued:
            record.update(final=True)
    folder.checkpoint.unlink(missing_ok=True)


def _write_provenance(folder: RunFolder, provenance: dict[str, Any]) -> None:
    write_json(folder.provenance, provenance)
    if diff := git_diff():
        with written(folder.diff) as partial:
            partial.write_bytes(diff)
    else:
        folder.diff.unlink(missing_ok=True)  # may be that of an earlier attempt with other code


def _provenance(
    cfg: TrainConfig, dataset: Dataset, weights: WeightsFile | None, machine: Machine, inputs: dict[str, Any]
) -> dict[str, Any]:
    negative, positive = dataset.class_names
    return {
        "git": git_state(),
        "command": inputs["command"],
        "data": {
            "name": cfg.data.name,
            "content_hash": dataset.content_hash,
            "objects": len(dataset),
            "positive": positive,
            "negative": negative,
        },
        "weights": {**_origin(cfg, weights), **_seen(inputs)},
        "hardware": hardware(),
        "device": str(machine.device),
        "precision": machine.precision,
        "software": software(),
        "protocol": PROTOCOL_VERSION,
    }


def _seen(inputs: dict[str, Any]) -> dict[str, str]:
    """Return how many objects of the data set the network has seen that the run starts from, where noted."""
    known = inputs["weights"] or {}
    return {"seen": known["seen"]} if "seen" in known else {}


def _origin(cfg: TrainConfig, weights: WeightsFile | None) -> dict[str, str]:
    if weights is not None:
        return {"origin": weights.origin, "sha256": weights.sha256}
    return {"origin": "none" if isinstance(cfg.model, NonparametricConfig) else "random"}


def _write_results(
    cfg: TrainConfig, dataset: Dataset, split: Split, trained: TrainedModel, folder: RunFolder, seconds: float
) -> None:
    with written(folder.predictions) as partial:
        trained.predictions.to_parquet(partial, index=False)
    examples = run_examples(trained.predictions, dataset, cfg.split.seed)
    with written(folder.examples) as partial:
        examples.to_parquet(partial, index=False)
    trained.save(folder.path)
    # The metrics are computed from the file that is kept, as by anyone else.
    metrics = fold_metrics(pd.read_parquet(folder.predictions))
    labels = dataset.labels[split.train]
    metrics |= {
        "train/n_positives": float((labels == 1).sum()),
        "train/n_negatives": float((labels == 0).sum()),
        "train/n_balanced": float(n_balanced(labels)),
        "run/seconds": seconds,
        "run/peak_memory_gb": round(peak_memory_gb(), 3),
        **trained.metrics,
    }
    write_json(folder.history, trained.history)
    write_json(folder.metrics, metrics)
    folder.seal()


def fold_metrics(predictions: pd.DataFrame) -> dict[str, float]:
    """Return the metrics of the validation and test folds of a run, by names ``val/...`` and ``test/...``."""
    return {
        f"{name}/{key}": value
        for name, part in predictions.groupby("split")
        for key, value in summary(part["label"], part["p_m"]).items()
    }
