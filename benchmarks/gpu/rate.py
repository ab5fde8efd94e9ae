"""Time what limits the rating of a survey on this device: decoding JPEGs of 424 px, and four networks."""

from __future__ import annotations

import io
import os
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
from PIL import Image

from benchmarks.gpu.measure import (
    DEVICE,
    GPU,
    NETWORKS,
    SMALL,
    Setting,
    noise,
    protocol,
    report,
    speed,
    spread,
)
from benchmarks.gpu.train import captured
from mergerexp.models.classifier import exact_float32

FILES = 64 if SMALL else 1024


def jpegs() -> list[bytes]:
    """Return random images of 424 px as JPEG files, which are as large as those of galaxies."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(64):
        coarse = Image.fromarray(rng.integers(0, 90, (40, 40, 3), dtype=np.uint8))
        file = io.BytesIO()
        coarse.resize((424, 424), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files * (FILES // 64)


def decode(files: list[bytes], size: int, draft: bool) -> int:
    """Decode and resize images as the preparation of a data set does.

    Parameters
    ----------
    files
        The JPEG files.
    size
        The side of the resized images in pixels.
    draft
        Whether to decode at a lower resolution, if that is enough.

    Returns
    -------
    int
        The number of values in all resized images.
    """
    total = 0
    for content in files:
        with Image.open(io.BytesIO(content)) as image:
            if draft:
                image.draft("RGB", (size, size))
            total += np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)).size
    return total


def decoding(files: list[bytes]) -> None:
    """Time the decoding with Pillow on all cores and with the decoder of the GPU."""
    workers = os.cpu_count() or 1
    parts = [files[start::workers] for start in range(workers)]
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(decode, parts, [64] * workers, [True] * workers))
        for size in NETWORKS.values():
            for draft in (False, True):
                rates = []
                for _ in range(3):
                    started = time.perf_counter()
                    list(pool.map(decode, parts, [size] * workers, [draft] * workers))
                    rates.append(len(files) / (time.perf_counter() - started))
                report("Pillow, all cores", size=size, draft=draft, workers=workers, **spread(rates))
    if GPU:
        from torchvision.io import decode_jpeg

        tensors = [torch.frombuffer(bytearray(content), dtype=torch.uint8) for content in files[:256]]
        some = speed(lambda: decode_jpeg(tensors, device=DEVICE) and None, len(tensors))
        report("nvJPEG, full size", **some)


@torch.inference_mode()
def four_networks(setting: Setting) -> None:
    """Time four networks on one batch, in exact float32, as predictions are made, and in other precisions."""
    dataset = noise(64, setting.size, 32)
    networks = [protocol(setting, dataset).classifier.eval() for _ in range(4)]
    batch = torch.randn(setting.batch, 3, setting.size, setting.size, device=DEVICE)
    batch = batch.to(memory_format=torch.channels_last)

    def step() -> None:
        for network in networks:
            network(batch)

    with exact_float32():
        setting.report("four networks, float32", **speed(step, setting.batch))
    if not GPU:
        return
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    setting.report("four networks, TF32", **speed(step, setting.batch))
    with torch.autocast("cuda", dtype=torch.bfloat16, cache_enabled=False):
        setting.report("four networks, bf16 autocast", **speed(step, setting.batch))
    for network in networks:
        network.half()
    batch = batch.half()
    setting.report("four networks, float16", **speed(step, setting.batch))
    setting.report("four networks, float16, captured", **speed(captured(step), setting.batch))


def main() -> None:
    """Time the networks and the decoding."""
    for network, size in reversed(NETWORKS.items()):
        four_networks(Setting(network, size, 64 if SMALL else 128))
    decoding(jpegs())


if __name__ == "__main__":
    main()
