"""Pointwise (1x1) convolutions as matrix products on the smallest maps while a network is trained on a CPU.

A convolution of torch's CPU library rearranges its weights in every call, which takes longer than the product
itself where a mini-batch has few pixels: on maps of 1 px a matrix product is twice as fast, forward and
backward. On larger maps the convolution is up to twice as fast (`python -m benchmarks.cpu_step`).
"""

from __future__ import annotations

from types import MethodType

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

# The pixels of a mini-batch up to which a product is about as fast as the convolution with AVX512, and 1.2
# times as fast with AVX2.
FEW = 64


def with_matrix_products(network: nn.Module) -> nn.Module:
    """Make the pointwise layers of a network compute matrix products on few pixels while they are trained.

    The parameters, their names and the classes of the layers stay the same, and outputs differ from those of
    the convolution only by rounding. The layers work as before on a GPU, under autocast and without
    gradients.

    Parameters
    ----------
    network
        The network, which is changed in place and returned.
    """
    for layer in network.modules():
        if type(layer) is nn.Conv2d and _is_pointwise(layer):
            layer.forward = MethodType(_forward, layer)  # type: ignore[method-assign]
    return network


def _is_pointwise(layer: nn.Conv2d) -> bool:
    alone = layer.kernel_size == (1, 1) and layer.stride == (1, 1) and layer.groups == 1
    return alone and layer.padding in ((0, 0), "valid", "same")


def _forward(layer: nn.Conv2d, images: Tensor) -> Tensor:
    """Compute the output of a layer for images (B, C, H, W), in the place of its ``forward``."""
    trained = torch.is_grad_enabled() and layer.weight.requires_grad
    plain = images.device.type == "cpu" and images.dim() == 4 and not torch.is_autocast_enabled("cpu")
    few = images.shape[0] * images.shape[2:].numel() <= FEW if plain else False
    if not (trained and few and images.is_contiguous(memory_format=torch.channels_last)):
        return nn.Conv2d.forward(layer, images)
    pixels = functional.linear(images.permute(0, 2, 3, 1), layer.weight.flatten(1), layer.bias)
    return pixels.permute(0, 3, 1, 2)
