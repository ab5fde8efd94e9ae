"""Time the training script of timm on JPEG files that have the size of the network's input."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.gpu.measure import GPU, SCRATCH, SMALL, report, settings, spread

RATE = re.compile(r"([0-9.]+)/s\s+\([0-9.]+s,\s*([0-9.]+)/s\)")


def write_jpegs(folder: Path, n: int, size: int) -> None:
    """Write random smooth images of two classes, whose files are as large as those of galaxies.

    Parameters
    ----------
    folder
        The folder for them.
    n
        The number of images.
    size
        Their side in pixels.
    """
    rng = np.random.default_rng(0)
    for name in ("plain", "rare"):
        images = folder / name
        images.mkdir(parents=True)
        for number in range(n // 2):
            coarse = Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8))
            coarse.resize((size, size), Image.Resampling.BICUBIC).save(images / f"{number}.jpg", quality=90)


def main() -> None:
    """Run two epochs of each network, and report the average that the script prints for the second."""
    script = os.environ.get("TIMM_TRAIN")
    if not script:
        report("timm's train.py is not timed: TIMM_TRAIN has to name it")
        return
    for setting in reversed(settings(batches=(16,))):
        folder = SCRATCH / f"jpegs-{setting.size}"
        if not folder.exists():
            write_jpegs(folder, 64 if SMALL else 3000, setting.size)
        command = [sys.executable, script, "--data-dir", str(folder), "--train-split", "", "--val-split", ""]
        command += ["--model", setting.network, "--num-classes", "2", "--img-size", str(setting.size)]
        command += [
            "-b",
            str(setting.batch),
            "--epochs",
            "2",
            "--epoch-repeats",
            "1" if SMALL else "4",
            "--opt",
            "adamw",
            "--lr",
            "2e-4",
        ]
        command += ["--workers", str(min(14, os.cpu_count() or 1)), "--log-interval", "20", "--channels-last"]
        command += ["--output", str(SCRATCH / "timm-out"), "--device", "cuda" if GPU else "cpu"]
        command += ["--amp", "--amp-dtype", "bfloat16"] if GPU else []
        done = subprocess.run(command, capture_output=True, text=True)
        second = [line for line in (done.stdout + done.stderr).splitlines() if "Train: 1 " in line]
        rates = [float(found[2]) for line in second[-1:] if (found := RATE.search(line))]
        if done.returncode or not rates:
            setting.report("timm's script failed", exit=done.returncode, error=done.stderr[-600:])
        else:
            setting.report("timm's train.py", **spread(rates))


if __name__ == "__main__":
    main()
