"""Time the frozen stage with the feature bank, in comparison with a naive loop in the same process.

The naive loop follows the protocol word for word: in every epoch, the frozen backbone is applied to every
training mini-batch and to the validation fold. It is timed over a few epochs, and the time is scaled to all
of them. The complete stage with the bank is timed with an empty bank and with a full one.

python benchmarks/head_stage.py data=simulated_small
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from numpy.typing import NDArray

from mergerexp.batches.loaders import Batch, ImageEvaluation, TrainingBatches, augmented_images
from mergerexp.config.compose import compose_cell
from mergerexp.config.device import resolve
from mergerexp.config.schema import OptimizerConfig, TrainConfig
from mergerexp.console import set_up_logging
from mergerexp.data.build import prepare_dataset
from mergerexp.data.splits import make_split
from mergerexp.data.store import Dataset
from mergerexp.models.weights import find_weights
from mergerexp.training.machine import choose_machine
from mergerexp.training.protocol import TwoStageTraining
from mergerexp.training.stage import Stage


class OnTheFly:
    """Mini-batches whose inputs go through the frozen backbone each time.

    Parameters
    ----------
    batches
        The mini-batches of images.
    backbone
        The frozen backbone.
    """

    def __init__(self, batches: TrainingBatches | ImageEvaluation, backbone: torch.nn.Module) -> None:
        self.batches, self.backbone = batches, backbone

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            with torch.no_grad():
                features = self.backbone(batch.inputs)
            yield Batch(features, batch.labels)


def new_protocol(cfg: TrainConfig, folder: Path) -> TwoStageTraining:
    """Return the training of a run.

    Parameters
    ----------
    cfg
        The config of the run.
    folder
        The folder for the checkpoint.
    """
    dataset = Dataset.open(prepare_dataset(cfg.data, cfg.paths.datasets))
    split = make_split(dataset.labels, dataset.groups, cfg.split, cfg.fold, cfg.subset)
    weights = None
    if cfg.init.weights == "pretrained":
        weights = find_weights(cfg.model.backbone, cfg.model.pretrained, Path(cfg.paths.weights))
    machine = choose_machine(resolve(cfg.trainer, None))
    return TwoStageTraining(cfg, dataset, split, weights, machine, folder / "last.ckpt", lambda rows: None)


def naive_seconds(cfg: TrainConfig, folder: Path, epochs: int) -> float:
    """Return the time of the stage with the naive loop in seconds, as scaled from a few epochs."""
    run = new_protocol(cfg, folder)
    labels: NDArray = run.dataset.labels
    train, val = run.split.train, run.split.val
    backbone = run.classifier.backbone.eval()
    inputs = augmented_images(run.images, train, cfg.augment)
    batches = TrainingBatches(inputs, labels[train], cfg.trainer.per_class, 0, run.machine.device)
    evaluation = ImageEvaluation(run.images, val, labels[val], cfg.trainer.eval_batch)
    adam = OptimizerConfig(name="adam", lr=cfg.init.head_lr, momentum=0.9, weight_decay=0.0, warmup_steps=0)
    stage = Stage("head", run.classifier.head, adam, seed=0)
    started = time.perf_counter()
    on_the_fly = OnTheFly(evaluation, backbone)
    run.fit(stage, OnTheFly(batches, backbone), on_the_fly, epochs, [], resume=False)  # type: ignore[arg-type]
    return (time.perf_counter() - started) / epochs * float(cfg.init.head_epochs)


def bank_seconds(cfg: TrainConfig, folder: Path) -> tuple[float, int]:
    """Return the seconds that the stage takes with the bank, and the number of images the bank lacked."""
    run = new_protocol(cfg, folder)
    started = time.perf_counter()
    passes = run.train_head(resume=False)
    return time.perf_counter() - started, passes


def main() -> None:
    """Print the times, and the ratio of the naive loop to each of the others."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--naive-epochs", type=int, default=2, help="timed epochs of the naive loop")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions with the full bank")
    parser.add_argument("overrides", nargs="*", help="as for mergerexp.train, e.g. data=simulated_small")
    arguments = parser.parse_args()
    set_up_logging()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        overrides = [*arguments.overrides, f"paths.features={folder / 'features'}"]
        cfg = compose_cell("train", overrides, TrainConfig)
        epochs = arguments.naive_epochs
        naive = naive_seconds(cfg, folder, epochs)
        print(f"naive loop: {naive:.1f} s for {cfg.init.head_epochs} epochs, from {epochs} of them")
        for bank in ("empty", *["full"] * arguments.repeat):
            seconds, passes = bank_seconds(cfg, folder)
            ratio = naive / seconds
            print(f"{bank} bank: {seconds:.2f} s, {passes} images through the backbone, ratio {ratio:.1f}")


if __name__ == "__main__":
    main()
