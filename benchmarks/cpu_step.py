"""Time training steps on the processor with torch's own layers and with ours, in alternation.

python -m benchmarks.cpu_step --network tf_efficientnet_lite0 --size 32 48 64 128 --batch 16 --threads 1

ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 imitates an older processor.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

from torch import nn

from benchmarks.gpu.measure import Setting, bare_step, noise, protocol
from mergerexp.cores import wait_without_spinning
from mergerexp.models.activations import NEED_THEIR_INPUT

KINDS = ("torch's", "ours")


def main() -> None:
    """Time both kinds of layers, and print medians, extremes and ratio of images per second."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--network", default="tf_efficientnet_lite0", help="timm's name (%(default)s)")
    parser.add_argument("--size", type=int, nargs="+", default=[32, 48, 64, 128], help="sides in pixels")
    parser.add_argument("--batch", type=int, default=16, help="images in a mini-batch (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads of a run (%(default)s)")
    parser.add_argument("--repeat", type=int, default=5, help="turns of each kind (%(default)s)")
    parser.add_argument("--steps", type=int, default=5, help="steps in a turn (%(default)s)")
    parser.add_argument("--precision", choices=("32", "bf16"), default="32", help="of training (%(default)s)")
    arguments = parser.parse_args()
    wait_without_spinning()
    for size in arguments.size:
        setting = Setting(arguments.network, size, arguments.batch)
        given = (setting, arguments.threads, arguments.precision)
        steps = {kind: make_step(*given, plain=kind == KINDS[0]) for kind in KINDS}
        rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for turn in range(arguments.repeat + 1):
            for kind, step in steps.items():
                rate = arguments.steps * arguments.batch / seconds(step, arguments.steps)
                if turn:  # the first turn warms up
                    rates[kind].append(rate)
        middle = {kind: statistics.median(found) for kind, found in rates.items()}
        for kind, found in rates.items():
            print(f"{size} px, {kind}: {middle[kind]:.1f} ({min(found):.1f}-{max(found):.1f}) images/s")
        print(f"{size} px, ratio {middle[KINDS[1]] / middle[KINDS[0]]:.2f}", flush=True)


def make_step(setting: Setting, threads: int, precision: str, plain: bool) -> Callable[[], None]:
    """Return a training step.

    Parameters
    ----------
    setting
        The network, and the sizes of images and mini-batches.
    threads
        The number of threads.
    precision
        The precision: ``32`` or ``bf16``.
    plain
        Whether the network has the layers that timm makes, instead of ours.
    """
    dataset = noise(4 * setting.batch, setting.size, 2 * setting.batch)
    run = protocol(setting, dataset, f"trainer.threads={threads}", "trainer.device=cpu")
    if plain:
        for layer in run.classifier.modules():
            if isinstance(layer, nn.Conv2d):
                vars(layer).pop("forward", None)
            if isinstance(layer, NEED_THEIR_INPUT):
                layer.inplace = True
    return bare_step(run, mixed=precision == "bf16")


def seconds(step: Callable[[], None], times: int) -> float:
    """Return the time that some steps take, in seconds."""
    started = time.perf_counter()
    for _ in range(times):
        step()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
