"""Time the bare loop with torch.compile; a second process shows how much time its cache saves."""

from __future__ import annotations

import os
import time

import torch

from benchmarks.gpu.measure import (
    GPU,
    Setting,
    bare_step,
    captured,
    noise,
    protocol,
    settings,
    speed,
    synchronize,
)


def compiled(setting: Setting) -> None:
    """Time the compilation and the compiled step."""
    if GPU:
        run = protocol(setting, noise(4 * setting.batch, setting.size, 2 * setting.batch))
        step = bare_step(run, torch.compile(run.classifier.train()), capturable=True)
        started = time.perf_counter()
        step = captured(step)
        seconds = round(time.perf_counter() - started, 1)
        figures = speed(step, setting.batch)
        setting.report("compiled, whole step captured", **figures, compile_s=seconds)
    run = protocol(setting, noise(4 * setting.batch, setting.size, 2 * setting.batch))
    step = bare_step(run, torch.compile(run.classifier.train(), mode="reduce-overhead"))
    started = time.perf_counter()
    step()
    synchronize()
    seconds = round(time.perf_counter() - started, 1)
    setting.report("bare compiled", **speed(step, setting.batch), compile_s=seconds)


def main() -> None:
    """Compile both networks for small mini-batches; in a second process, only the quicker one."""
    chosen = settings(batches=(16,))
    for setting in chosen[-1:] if os.environ.get("STAGE") == "recompile" else chosen:
        compiled(setting)


if __name__ == "__main__":
    main()
