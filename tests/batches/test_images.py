"""Images on their way from a mapped file to the device."""

from __future__ import annotations

import numpy as np
import torch

from mergerexp.batches.images import COPY_AT_ONCE, copy_to


def test_a_mapped_read_only_file_is_copied_whole_and_without_a_warning(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (COPY_AT_ONCE + 3, 4, 4, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert np.array_equal(copy_to(mapped, torch.device("cpu")).numpy(), images)
