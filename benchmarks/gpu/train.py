"""Time our fine-tuning, the same without Lightning, a bare eager loop, and the bare step as a CUDA graph."""

from __future__ import annotations

import time
from itertools import chain, repeat

import torch

from benchmarks.gpu.measure import (
    DEVICE,
    GPU,
    Clock,
    Setting,
    autocast,
    bare_step,
    captured,
    finetuning,
    image_batches,
    long_epochs,
    loss_of,
    protocol,
    settings,
    speed,
    spread,
)
from mergerexp.data.store import Dataset
from mergerexp.training.stage import make_optimizer


def ours(setting: Setting, dataset: Dataset) -> None:
    """Time the training loop of a run, with Lightning, augmentation and checks, with a graph and without."""
    for graph in ("always", "never") if GPU else ("never",):
        clock = Clock(setting.batch)
        run = protocol(setting, dataset, "trainer.max_epochs=1000", f"trainer.cuda_graph={graph}")
        finetuning(run, clock)
        setting.report("ours", cuda_graph=run.machine.cuda_graph, **spread(clock.rates))


def plain_loop(setting: Setting, dataset: Dataset) -> None:
    """Time our mini-batches and augmentation in a plain loop, which shows how much time Lightning takes."""
    run = protocol(setting, dataset)
    batches, network = image_batches(run), run.classifier.train()
    optimizer = make_optimizer(network, run.cfg.optimizer)
    endless = chain.from_iterable(repeat(batches))

    def step() -> None:
        batch = next(endless)
        optimizer.zero_grad(set_to_none=True)
        with autocast():
            loss = loss_of(network(batch.inputs), batch.labels)
        loss.backward()
        optimizer.step()

    setting.report("our batches, plain loop", **speed(step, setting.batch))
    setting.report("our batches alone", **speed(lambda: next(endless) and None, setting.batch))


class Loop:
    """A plain loop over our mini-batches, which copies them into the fixed inputs of one step.

    Parameters
    ----------
    setting, dataset
        What is trained on what.
    capture
        Whether the step is captured as a CUDA graph.
    """

    def __init__(self, setting: Setting, dataset: Dataset, capture: bool) -> None:
        run = protocol(setting, dataset)
        self.batches, self.network = chain.from_iterable(repeat(image_batches(run))), run.classifier.train()
        self.optimizer = make_optimizer(self.network, run.cfg.optimizer)
        for group in self.optimizer.param_groups:
            group["capturable"] = True
        first = next(self.batches)
        self.inputs, self.labels = first.inputs.clone(), first.labels.clone()
        self.loss = torch.zeros((), device=DEVICE)
        self.replay = captured(self._train) if capture else self._train
        if not capture:
            for _ in range(3):  # as many steps as `captured` does before the capture
                self._train()

    def step(self) -> None:
        """Train on the next mini-batch."""
        batch = next(self.batches)
        self.inputs.copy_(batch.inputs)
        self.labels.copy_(batch.labels)
        self.replay()

    def losses(self, steps: int) -> torch.Tensor:
        """Train some steps, and return their losses."""
        found = []
        for _ in range(steps):
            self.step()
            found.append(self.loss.clone())
        return torch.stack(found)

    def _train(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        with autocast():
            loss = loss_of(self.network(self.inputs), self.labels)
        loss.backward()
        self.optimizer.step()
        self.loss.copy_(loss.detach())


def captured_loop(setting: Setting, dataset: Dataset) -> None:
    """Time our mini-batches with a captured step, and compare its losses with those of an eager step."""
    eager = Loop(setting, dataset, capture=False).losses(40)
    loop = Loop(setting, dataset, capture=True)
    apart = float((eager - loop.losses(40)).abs().max())
    figures = speed(loop.step, setting.batch)
    setting.report("our batches, captured step", **figures, largest_difference_of_40_losses=apart)


def main() -> None:
    """Time all kinds of loops in one setting after the other."""
    for setting in settings():
        dataset = long_epochs(setting)
        ours(setting, dataset)
        setting.report("bare eager", **speed(bare_step(protocol(setting, dataset)), setting.batch))
        plain_loop(setting, dataset)
        if GPU:
            torch.backends.cudnn.benchmark = True
            tuned = speed(bare_step(protocol(setting, dataset)), setting.batch)
            setting.report("bare eager, cudnn.benchmark", **tuned)
            started = time.perf_counter()
            replay = captured(bare_step(protocol(setting, dataset), capturable=True))
            seconds = round(time.perf_counter() - started, 2)
            setting.report("bare captured", **speed(replay, setting.batch), capture_s=seconds)
            torch.backends.cudnn.benchmark = False
            memory = torch.cuda.max_memory_allocated(DEVICE) / 1e9
            setting.report("memory", peak_gb=round(memory, 2))
            del replay
            captured_loop(setting, dataset)
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
