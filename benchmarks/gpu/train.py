"""Our fine-tuning, the same without Lightning, a bare eager loop, and the bare step as one CUDA graph."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import chain, repeat

import torch

from benchmarks.gpu.measure import (
    DEVICE,
    GPU,
    Clock,
    Setting,
    autocast,
    bare_step,
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
    """Time the training loop that a run uses, Lightning, augmentation and checks included."""
    clock = Clock(setting.batch)
    finetuning(protocol(setting, dataset, "trainer.max_epochs=1000"), clock)
    setting.tell("ours", **spread(clock.rates))


def plain_loop(setting: Setting, dataset: Dataset) -> None:
    """Time our batches and augmentation in a plain loop: the rest of the difference is Lightning's."""
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

    setting.tell("our batches, plain loop", **speed(step, setting.batch))
    setting.tell("our batches alone", **speed(lambda: next(endless) and None, setting.batch))


def captured(step: Callable[[], None]) -> Callable[[], None]:
    """Capture a step as a CUDA graph."""
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


def main() -> None:
    """Time each setting in turn, the kinds side by side."""
    for setting in settings():
        dataset = long_epochs(setting)
        ours(setting, dataset)
        setting.tell("bare eager", **speed(bare_step(protocol(setting, dataset)), setting.batch))
        plain_loop(setting, dataset)
        if GPU:
            torch.backends.cudnn.benchmark = True
            tuned = speed(bare_step(protocol(setting, dataset)), setting.batch)
            setting.tell("bare eager, cudnn.benchmark", **tuned)
            started = time.perf_counter()
            replay = captured(bare_step(protocol(setting, dataset), capturable=True))
            seconds = round(time.perf_counter() - started, 2)
            setting.tell("bare captured", **speed(replay, setting.batch), capture_s=seconds)
            torch.backends.cudnn.benchmark = False
            memory = torch.cuda.max_memory_allocated(DEVICE) / 1e9
            setting.tell("memory", peak_gb=round(memory, 2))
            del replay
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
