"""The images of a data set: stored as uint8, and converted to scaled float batches on the device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

COPY_AT_ONCE = 256  # images, which bounds the memory of the copy
RESIDENT_FRACTION = 0.3  # the part of the GPU's free memory that the images may take


@dataclass(frozen=True)
class Scaling:
    """The input scaling of a network, x -> (x / scale - mean) / std for pixels x in 0..255.

    Attributes
    ----------
    mean
        The number that is subtracted in each channel (R, G, B).
    std
        The number that each channel is divided by.
    scale
        The number that pixels are divided by first: 255 in timm's convention, 1 for raw pixels.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float

    def linear(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the scaling as (factor, offset) of x * factor - offset, each of shape (1, 3, 1, 1)."""
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        factor, offset = 1 / (self.scale * std), mean / std
        return factor.view(1, 3, 1, 1).to(device), offset.view(1, 3, 1, 1).to(device)


RAW = Scaling((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 1.0)


class ImageStore:
    """All images of a data set, which are kept on the device if they fit there.

    Parameters
    ----------
    images
        The images, uint8, shape (N, H, W, 3), which may be memory-mapped.
    scaling
        The input scaling of the network.
    device
        The device that batches are made on.
    """

    def __init__(self, images: NDArray[np.uint8], scaling: Scaling, device: torch.device) -> None:
        self.scaling, self.device = scaling, device
        self.images: Tensor | NDArray[np.uint8] = images
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if images.nbytes < RESIDENT_FRACTION * free:
                self.images = copy_to(images, device)
        self._factor, self._offset = scaling.linear(device)

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self, rows: NDArray[np.int64]) -> Tensor:
        """Return images on the device as float32 in 0..255, shape (B, 3, H, W), channels last."""
        if isinstance(self.images, Tensor):
            batch = self.images[torch.from_numpy(rows).to(self.device)]
        else:
            batch = torch.from_numpy(self.images[rows]).to(self.device, non_blocking=True)
        return batch.permute(0, 3, 1, 2).float()

    def scaled(self, pixels: Tensor) -> Tensor:
        """Apply the network's input scaling to pixels in 0..255."""
        return pixels * self._factor - self._offset


def copy_to(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Copy images, shape (N, H, W, 3), to a device part by part, as they may be mapped and read-only."""
    copied = torch.empty(images.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(images), COPY_AT_ONCE):
        part = slice(start, start + COPY_AT_ONCE)
        copied[part] = torch.from_numpy(np.array(images[part]))
    return copied
