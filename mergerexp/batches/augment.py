"""Augmentation on the device: rotation, flip, zoom and shift by one affine resampling of a batch."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional
from torch import Tensor

from mergerexp.config.schema import AugmentConfig
from mergerexp.seeding import seed_for

IDENTITY = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def is_exact(augment: AugmentConfig) -> bool:
    """Return whether every transformation maps pixels onto pixels, so that no interpolation is needed."""
    return augment.rotation != "any" and augment.zoom == [1.0, 1.0] and augment.shift == 0.0


def is_identity(augment: AugmentConfig) -> bool:
    """Return whether the augmentation leaves images as they are."""
    return is_exact(augment) and augment.rotation == "none" and not augment.flip


def draw_transforms(augment: AugmentConfig, n: int, generator: torch.Generator) -> Tensor:
    """Draw n random transformations.

    Parameters
    ----------
    augment
        The ranges to draw from. The zoom is uniform in its range; a zoom above 1 enlarges the object.
    n
        The number of transformations.
    generator
        The generator of random numbers, on the CPU, so that every device gets the same draws.

    Returns
    -------
    Tensor
        The matrices (float32, shape (n, 2, 3)) from output to input coordinates, both in [-1, 1], as
        `torch.nn.functional.affine_grid` takes them.
    """
    uniform = torch.rand((6, n), generator=generator)
    if augment.rotation == "quarter":
        angle = torch.floor(uniform[0] * 4) * (math.pi / 2)
    else:
        angle = uniform[0] * (2 * math.pi if augment.rotation == "any" else 0.0)
    mirror = torch.where(uniform[1] < 0.5, -1.0, 1.0) if augment.flip else torch.ones(n)
    low, high = augment.zoom
    zoom_x = low + (high - low) * uniform[2]
    zoom_y = zoom_x if augment.zoom_isotropic else low + (high - low) * uniform[3]
    shift = (uniform[4:6] * 2 - 1) * 2 * augment.shift  # the side is 2 in these coordinates
    return _matrices(angle, mirror, zoom_x, zoom_y, shift)


def training_views(augment: AugmentConfig) -> range:
    """Return the numbers of the fixed views that the frozen stage trains on, where 0 is the image itself."""
    if is_exact(augment):
        distinct = (4 if augment.rotation == "quarter" else 1) * (2 if augment.flip else 1)
        return range(min(augment.views, distinct))
    return range(1, augment.views + 1) if augment.views > 1 else range(1)


def view_transforms(augment: AugmentConfig, view: int, n_images: int) -> Tensor:
    """Return the transformation of every image in a fixed view, shape (n_images, 2, 3).

    View 0 is the identity. Where the augmentation only has symmetries of the square, views 1 to 7 are the
    other seven of them. Otherwise each view is a random draw that depends on the view and the image alone,
    and not on the run.
    """
    if view == 0:
        return IDENTITY.expand(n_images, 2, 3)
    if is_exact(augment):
        quarters = view % 4 if augment.rotation == "quarter" else 0
        mirrored = view >= 4 if augment.rotation == "quarter" else view % 2 == 1
        mirror = torch.tensor([-1.0 if augment.flip and mirrored else 1.0])
        angle, one = torch.tensor([quarters * math.pi / 2]), torch.ones(1)
        return _matrices(angle, mirror, one, one, torch.zeros(2, 1)).expand(n_images, 2, 3)
    generator = torch.Generator().manual_seed(seed_for(0, "view", view))
    return draw_transforms(augment, n_images, generator)


def transform(images: Tensor, matrices: Tensor, exact: bool) -> Tensor:
    """Apply a transformation to each image of a batch.

    Parameters
    ----------
    images
        The images, float, shape (B, 3, H, W).
    matrices
        The transformation of each image, shape (B, 2, 3), from `draw_transforms` or `view_transforms`.
    exact
        Whether to take the nearest pixel instead of bilinear interpolation, for transformations that map
        pixels onto pixels.

    Returns
    -------
    Tensor
        The transformed images, of the same shape. Beyond the edge of an image its nearest pixel is
        repeated, as is the default of Keras.
    """
    grid = functional.affine_grid(matrices.to(images.device), list(images.shape), align_corners=False)
    mode = "nearest" if exact else "bilinear"
    moved = functional.grid_sample(images, grid, mode=mode, padding_mode="border", align_corners=False)
    return moved.contiguous(memory_format=torch.channels_last)


def _matrices(angle: Tensor, mirror: Tensor, zoom_x: Tensor, zoom_y: Tensor, shift: Tensor) -> Tensor:
    cosine, sine = torch.cos(angle), torch.sin(angle)
    rows = torch.stack([cosine * mirror / zoom_x, -sine / zoom_y, shift[0].expand_as(angle)], -1)
    columns = torch.stack([sine * mirror / zoom_x, cosine / zoom_y, shift[1].expand_as(angle)], -1)
    return torch.stack([rows, columns], -2)
