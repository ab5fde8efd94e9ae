"""Small folders of labelled images, made by Pillow."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def _save_noise(path: Path, seed: int, side: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="session")
def make_folder():
    """Make root/merger/1.png ... and root/other/101.png ..., all different."""

    def make(root: Path, mergers: int = 6, others: int = 10, side: int = 20) -> Path:
        for i in range(1, mergers + 1):
            _save_noise(root / f"merger/{i}.png", i, side)
        for i in range(101, others + 101):
            _save_noise(root / f"other/{i}.png", i, side)
        return root

    return make


@pytest.fixture
def root(tmp_path, make_folder):
    """A folder of 6 mergers and 10 others."""
    return make_folder(tmp_path / "images")
