"""Augmentations against NumPy's own flips and rotations, and geometry that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mergerexp.batches.augment import (
    draw_transforms,
    is_exact,
    is_identity,
    training_views,
    transform,
    view_transforms,
)
from mergerexp.config.compose import compose_cell
from mergerexp.config.schema import AugmentConfig, TrainConfig


def config(name: str) -> AugmentConfig:
    return compose_cell("train", [f"augment={name}"], TrainConfig).augment


def galaxy(size: int = 64, sigma: float = 6.0, x: float = 31.5, y: float = 31.5) -> torch.Tensor:
    rows, columns = np.mgrid[:size, :size]
    image = 200 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return torch.from_numpy(image).float().expand(1, 3, -1, -1)


def moments(image: torch.Tensor) -> tuple[float, float, float, float]:
    """Centre (x, y) and widths (x, y) of the first channel, in pixels."""
    light = image[0, 0].double().numpy()
    rows, columns = np.mgrid[: light.shape[0], : light.shape[1]]
    x, y = (light * columns).sum() / light.sum(), (light * rows).sum() / light.sum()
    width_x = np.sqrt((light * (columns - x) ** 2).sum() / light.sum())
    width_y = np.sqrt((light * (rows - y) ** 2).sum() / light.sum())
    return x, y, width_x, width_y


def test_dihedral_views_are_the_eight_symmetries_to_the_bit():
    augment = config("dihedral")
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, 33, 33))).float()
    views = {
        transform(image, view_transforms(augment, view, 1), exact=True).numpy().tobytes()
        for view in training_views(augment)
    }
    array = image.numpy()
    expected = {
        np.ascontiguousarray(np.rot90(flipped, turns, axes=(2, 3))).tobytes()
        for flipped in (array, array[..., ::-1])
        for turns in range(4)
    }
    assert len(expected) == 8
    assert {np.frombuffer(view, np.float32).tobytes() for view in views} == expected


def test_random_dihedral_draws_are_symmetries_too():
    augment = config("dihedral")
    image = torch.arange(3 * 16 * 16).float().view(1, 3, 16, 16)
    symmetries = [transform(image, view_transforms(augment, view, 1), exact=True) for view in range(8)]
    matrices = draw_transforms(augment, 200, torch.Generator().manual_seed(1))
    drawn = transform(image.expand(200, -1, -1, -1), matrices, exact=True)
    which = [[torch.equal(one, symmetry[0]) for symmetry in symmetries].index(True) for one in drawn]
    counts = np.bincount(which, minlength=8)
    assert counts.min() > 8  # 25 expected of each


def test_none_is_the_identity():
    assert is_identity(config("none"))
    assert not is_identity(config("dihedral"))
    assert training_views(config("none")) == range(1)


@pytest.mark.parametrize(
    ("name", "low", "high"), [("paper_intent", 1.4886, 2.9773), ("paper_literal", 0.336, 0.672)]
)
def test_zoom_of_the_paper(name, low, high):
    """As meant the object grows; as written it shrinks to .12-.38 of its area, each axis on its own."""
    augment = config(name)
    matrices = draw_transforms(augment, 400, torch.Generator().manual_seed(0))
    area = 1 / torch.linalg.det(matrices[:, :, :2]).abs()
    assert low**2 * 0.99 <= area.min() <= area.max() <= high**2 * 1.01
    stretch = torch.linalg.cond(matrices[:, :, :2])
    if name == "paper_literal":
        assert 0.11 < area.min() < 0.2 < 0.3 < area.max() < 0.46
        assert stretch.max() > 1.5
    else:
        assert stretch.max() < 1.001


def test_zoom_and_shift_move_light_as_they_say():
    augment = config("none")
    augment.zoom, augment.shift = [1.5, 1.5], 0.1
    image = galaxy(sigma=4.0)
    matrices = draw_transforms(augment, 20, torch.Generator().manual_seed(3))
    _, _, width, _ = moments(image)
    for matrix in matrices:
        x, y, width_x, width_y = moments(transform(image, matrix[None], is_exact(augment)))
        assert width_x == pytest.approx(1.5 * width, rel=0.02)
        assert width_y == pytest.approx(1.5 * width, rel=0.02)
        assert abs(x - 31.5) <= 0.1 * 64 * 1.5 + 0.5
        assert abs(y - 31.5) <= 0.1 * 64 * 1.5 + 0.5


def test_edges_are_continued():
    augment = config("paper_literal")
    image = torch.full((1, 3, 32, 32), 7.0)
    matrices = draw_transforms(augment, 8, torch.Generator().manual_seed(0))
    assert torch.allclose(transform(image.expand(8, -1, -1, -1), matrices, False), torch.tensor(7.0))


def test_views_do_not_depend_on_the_run():
    augment = config("paper_intent")
    assert torch.equal(view_transforms(augment, 3, 10), view_transforms(augment, 3, 10))
    assert not torch.equal(view_transforms(augment, 3, 10), view_transforms(augment, 4, 10))
    assert torch.equal(view_transforms(augment, 0, 2)[0], torch.eye(2, 3))


def test_no_symmetry_counts_twice():
    augment = config("dihedral")
    augment.views = 64
    assert training_views(augment) == range(8)
    augment.rotation = "none"
    assert training_views(augment) == range(2)
    augment.flip = False
    assert training_views(augment) == range(1)
