"""Features of the frozen backbone: the same for an image whoever computes them, and with whatever others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from mergerexp.batches.images import ImageStore
from mergerexp.config.compose import compose_cell
from mergerexp.config.schema import TrainConfig
from mergerexp.models.classifier import input_scaling
from mergerexp.models.features import FrozenFeatures


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """With one thread oneDNN's rounding depends on the size of a batch."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "resnet18"])
def test_the_same_whatever_else_is_computed_with_them(backbone, tmp_path):
    torch.manual_seed(0)
    network = timm.create_model(backbone, num_classes=0).eval().to(memory_format=torch.channels_last)
    pixels = np.random.default_rng(0).integers(0, 255, (300, 32, 32, 3), dtype=np.uint8)
    images = ImageStore(pixels, input_scaling(network, "backbone"), torch.device("cpu"))

    def features(folder: Path) -> FrozenFeatures:
        overrides = (f"paths.features={folder}", "model.feature_batch=16", "trainer.progress=false")
        cfg = compose_cell("train", overrides, TrainConfig)
        return FrozenFeatures(network, images, cfg, weights_id="x", content_hash="y")

    rows = np.arange(0, 300, 3)
    at_once = features(tmp_path / "at once").plain(rows)
    bit_by_bit = features(tmp_path / "bit by bit")
    for few in (rows[5:7], rows[40:57], rows[::4]):
        bit_by_bit.plain(few)
    assert np.array_equal(bit_by_bit.plain(rows), at_once)
    assert bit_by_bit.passes == len(rows)
