"""The settings, random data, parts of our training and clocks that the stages share."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from mergerexp.config.compose import compose_cell
from mergerexp.config.device import resolve
from mergerexp.config.schema import TrainConfig
from mergerexp.data.splits import make_split
from mergerexp.data.store import Dataset
from mergerexp.training.machine import choose_machine
from mergerexp.training.protocol import TwoStageTraining
from mergerexp.training.stage import Stage, make_optimizer

SMALL = bool(os.environ.get("SMALL"))
SCRATCH = Path(os.environ.get("SCRATCH", "."))
GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda", 0) if GPU else torch.device("cpu")
NETWORKS = {"legacy_xception": 299, "tf_efficientnet_lite0": 128}
if SMALL:  # these networks are quick on a CPU too
    NETWORKS = {"test_resnet": 32, "test_efficientnet": 32}
PAPER, PAPER_SIZE = next(iter(NETWORKS.items()))
CHUNKS, CHUNK_S = (2, 0.2) if SMALL else (5, 0.4)
WARM_UP = 2 if SMALL else 12


@dataclass(frozen=True)
class Setting:
    """A network, and what it is trained on.

    Attributes
    ----------
    network
        The name of the network in timm.
    size
        The side of the images in pixels.
    batch
        The number of images in a mini-batch.
    """

    network: str
    size: int
    batch: int

    def report(self, what: str, **figures: Any) -> None:
        """Report figures of this setting; see the function `report`."""
        report(what, network=self.network, size=self.size, batch=self.batch, **figures)


def report(what: str, **figures: Any) -> None:
    """Print figures as a line of JSON, which the process that started the stage reads.

    Parameters
    ----------
    what
        What was measured.
    **figures
        The figures by their names.
    """
    print(json.dumps({"what": what, **figures}), flush=True)


def settings(batches: tuple[int, ...] = (16, 64)) -> list[Setting]:
    """Return a setting for every network and every size of the mini-batches."""
    return [Setting(network, size, batch) for batch in batches for network, size in NETWORKS.items()]


def noise(n: int, size: int, positives: int) -> Dataset:
    """Return a data set of random images in memory, since their content has no influence on the speed.

    Parameters
    ----------
    n
        The number of images.
    size
        Their side in pixels.
    positives
        The number of images with label 1, which come first.
    """
    rng = np.random.default_rng(0)
    images = np.frombuffer(rng.bytes(n * size * size * 3), dtype=np.uint8).reshape(n, size, size, 3)
    labels = (np.arange(n) < positives).astype(np.int8)
    catalogue = pd.DataFrame({"objid": np.arange(n), "label": labels, "group": np.arange(n)})
    meta = {"content_hash": f"noise-{n}-{size}", "class_names": ["plain", "rare"], "size": size}
    return Dataset(SCRATCH, images, catalogue, meta)


def long_epochs(setting: Setting) -> Dataset:
    """Return a data set whose epochs are longer than a measurement, which so includes no validation."""
    steps = 4 * CHUNKS if SMALL else 130 if setting.batch <= 16 else 70
    return noise(2 * steps * setting.batch, setting.size, steps * setting.batch)


def protocol(setting: Setting, dataset: Dataset, *overrides: str, folder: Path = SCRATCH) -> TwoStageTraining:
    """Return the training of a run, built as in a job.

    Parameters
    ----------
    setting
        The network, and the sizes of images and mini-batches.
    dataset
        The data set.
    *overrides
        Further overrides of the config.
    folder
        The folder for the checkpoint.
    """
    chosen = [
        *([] if any(override.startswith("init=") for override in overrides) else ["init=random"]),
        f"model.backbone={setting.network}",
        f"data.size={setting.size}",
        f"trainer.per_class={setting.batch // 2}",
        "trainer.progress=false",
        "trainer.checkpoint_every_s=100000",
    ]
    cfg = compose_cell("train", [*chosen, *overrides], TrainConfig)
    split = make_split(dataset.labels, dataset.groups, cfg.split, cfg.fold, cfg.subset)
    machine = choose_machine(resolve(cfg.trainer, None))
    folder.mkdir(parents=True, exist_ok=True)
    return TwoStageTraining(cfg, dataset, split, None, machine, folder / "last.ckpt", lambda rows: None)


def synchronize() -> None:
    """Wait until the device has finished all its work."""
    if GPU:
        torch.cuda.synchronize()


def speed(step: Callable[[], None], images: int) -> dict[str, float]:
    """Time a training step.

    Parameters
    ----------
    step
        The function that does a step.
    images
        The number of images in a step.

    Returns
    -------
    dict
        Images per second: median and extremes over several chunks of steps.
    """
    for _ in range(WARM_UP):
        step()
    synchronize()
    started = time.perf_counter()
    step()
    synchronize()
    steps = max(1, round(CHUNK_S / (time.perf_counter() - started)))
    rates = []
    for _ in range(CHUNKS):
        started = time.perf_counter()
        for _ in range(steps):
            step()
        synchronize()
        rates.append(steps * images / (time.perf_counter() - started))
    return spread(rates)


def spread(rates: list[float]) -> dict[str, float]:
    """Return the median and the extremes of several measurements in images per second."""
    return {
        "images_per_s": round(statistics.median(rates), 1),
        "lowest": round(min(rates), 1),
        "highest": round(max(rates), 1),
    }


class Clock(pl.Callback):
    """Times our training as `speed` does with a step, and ends it after enough chunks.

    Parameters
    ----------
    images
        The number of images in a mini-batch.
    """

    def __init__(self, images: int) -> None:
        self.images = images
        self.rates: list[float] = []
        self._seen, self._steps, self._since = 0, 1, 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Count the mini-batch, and read the clock at the end of a chunk."""
        self._seen += 1
        if not self._since and self._seen == WARM_UP:
            synchronize()
            self._seen, self._since = 0, time.perf_counter()
        elif self._since and self._seen == self._steps:
            synchronize()
            seconds = time.perf_counter() - self._since
            if self._steps == 1:  # the time of the first step determines how many steps a chunk has
                self._steps = max(2, round(CHUNK_S / seconds))
            else:
                self.rates.append(self._steps * self.images / seconds)
            trainer.should_stop = len(self.rates) == CHUNKS
            self._seen, self._since = 0, time.perf_counter()


def finetuning(
    run: TwoStageTraining, *callbacks: pl.Callback, epochs: int = 100_000, resume: bool = False
) -> None:
    """Train all layers as the protocol does.

    Parameters
    ----------
    run
        The training of a run.
    *callbacks
        Further callbacks of Lightning.
    epochs
        The number of epochs.
    resume
        Whether to go on from the checkpoint.
    """
    from mergerexp.batches.loaders import ImageEvaluation

    val = run.split.val
    evaluation = ImageEvaluation(run.images, val, run.dataset.labels[val], run.cfg.trainer.eval_batch)
    graph = run.machine.cuda_graph
    stage = Stage("finetune", run.classifier, run.cfg.optimizer, run.run_seed, cuda_graph=graph)
    run.fit(stage, image_batches(run), evaluation, epochs, list(callbacks), resume)


def image_batches(run: TwoStageTraining) -> Any:
    """Return the augmented mini-batches of a run."""
    from mergerexp.batches.loaders import TrainingBatches, augmented_images

    train, per_class = run.split.train, run.cfg.trainer.per_class
    inputs = augmented_images(run.images, train, run.cfg.augment)
    return TrainingBatches(inputs, run.dataset.labels[train], per_class, run.run_seed, DEVICE)


def autocast(mixed: bool = GPU) -> torch.autocast:
    """Return the context for the precision of our training, bfloat16 on a GPU unless said otherwise."""
    return torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=mixed)


def bare_step(
    run: TwoStageTraining,
    network: Callable[..., Tensor] | None = None,
    capturable: bool = False,
    mixed: bool = GPU,
) -> Callable[[], None]:
    """Return a training step on one fixed mini-batch without anything else, which is the limit of eager code.

    Parameters
    ----------
    run
        The training of a run, for its network and optimizer.
    network
        A compiled version of the network.
    capturable
        Whether the step is to be captured as a CUDA graph.
    mixed
        Whether it computes in bfloat16 where autocast lets it.
    """
    size, batch = run.cfg.data.size, 2 * run.cfg.trainer.per_class
    inputs = torch.randn(batch, 3, size, size, device=DEVICE).to(memory_format=torch.channels_last)
    labels = torch.arange(batch, device=DEVICE) % 2
    model = run.classifier.train() if network is None else network
    optimizer = make_optimizer(run.classifier, run.cfg.optimizer)
    for group in optimizer.param_groups:
        group["capturable"] = capturable

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(mixed):
            loss = loss_of(model(inputs), labels)
        loss.backward()
        optimizer.step()

    return step


def captured(step: Callable[[], None]) -> Callable[[], None]:
    """Return a function that replays a step, which is captured as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits in float32."""
    return nn.functional.cross_entropy(logits.float(), labels)
