"""Depthwise convolutions whose gradients are computed faster on a CPU than its library in torch does.

On maps that are smaller than the kernel, the gradient of the weight is a few products of small tensors, for
which the library takes up to fifty times as long: 20 ms for a 5x5 kernel on a 2x2 map, with 1152 channels and
16 images, on a processor with AVX2.

In bfloat16 the library has no fast gradients for such maps, for large kernels and for strides: with AMX
units, 13 to 21 ms for the weight of a 5x5 kernel, 3 to 4 ms in float32, and 25 ms instead of 2 ms for the
input of a 3x3 kernel with a stride of 2. These layers are computed in float32.
"""

from __future__ import annotations

import math
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as functional
from timm.layers import Conv2dSame, pad_same
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Pair = tuple[int, int]


def with_quick_gradients(network: nn.Module) -> nn.Module:
    """Make depthwise layers of a network compute their weight gradients by shifted products on small maps.

    Under autocast to bfloat16, layers with small maps, large kernels or strides are computed in float32, and
    their output is rounded.

    The parameters, their names, the classes of the layers and, in float32, all outputs stay the same. The
    layers work as before on a GPU, on large maps in float32, and where no gradients are wanted: there,
    autocast rounds the input and the weight too, as it does without this function.

    Parameters
    ----------
    network
        The network, which is changed in place and returned.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and _is_depthwise(layer):
            layer.forward = MethodType(_forward, layer)  # type: ignore[method-assign]
    return network


def _is_depthwise(layer: nn.Conv2d) -> bool:
    plain = layer.padding_mode == "zeros" and layer.dilation == (1, 1) and not isinstance(layer.padding, str)
    known = type(layer).forward in (nn.Conv2d.forward, Conv2dSame.forward)
    return plain and known and layer.groups == layer.in_channels == layer.out_channels > 1


def _forward(layer: nn.Conv2d, images: Tensor) -> Tensor:
    """Compute the output of a layer, in the place of its ``forward``."""
    if images.dim() != 4 or images.device.type != "cpu":
        return type(layer).forward(layer, images)
    if not _has_slow_gradients(layer, images):
        return _convolve(layer, images)
    with torch.autocast("cpu", enabled=False):
        return _convolve(layer, images.float()).to(torch.bfloat16)


def _has_slow_gradients(layer: nn.Conv2d, images: Tensor) -> bool:
    """Tell whether gradients of a layer are wanted that are slow in bfloat16, which autocast asks for."""
    asked = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    rounded = asked and layer.weight.dtype == torch.float32  # autocast leaves others as they are
    wanted = torch.is_grad_enabled() and (images.requires_grad or layer.weight.requires_grad)
    if not (rounded and wanted):
        return False
    return max(layer.kernel_size) > 3 or max(layer.stride) > 1 or _has_small_map(layer, images)


def _convolve(layer: nn.Conv2d, images: Tensor) -> Tensor:
    trained = torch.is_grad_enabled() and layer.weight.requires_grad and not torch.is_autocast_enabled("cpu")
    wide = images.dtype in (torch.float32, torch.float64)
    last = images.is_contiguous(memory_format=torch.channels_last)
    if not (trained and wide and last and _has_small_map(layer, images)):
        return type(layer).forward(layer, images)
    padded, padding = images, layer.padding
    if isinstance(layer, Conv2dSame):
        padded, padding = pad_same(images, list(layer.kernel_size), list(layer.stride)), (0, 0)
    output: Tensor = _Depthwise.apply(padded, layer.weight, layer.bias, layer.stride, padding)
    return output


def _has_small_map(layer: nn.Conv2d, images: Tensor) -> bool:
    """Tell whether the output of a layer is smaller than its kernel, in both directions."""
    if isinstance(layer, Conv2dSame):
        sides = [math.ceil(size / step) for size, step in zip(images.shape[2:], layer.stride, strict=True)]
    else:
        assert not isinstance(layer.padding, str)
        sides = [
            (size + 2 * pad - kernel) // step + 1
            for size, pad, kernel, step in zip(
                images.shape[2:], layer.padding, layer.kernel_size, layer.stride, strict=True
            )
        ]
    return all(side < kernel for side, kernel in zip(sides, layer.kernel_size, strict=True))


class _Depthwise(torch.autograd.Function):
    """The function `torch.nn.functional.conv2d` with as many groups as channels."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair
    ) -> Tensor:
        """Convolve images (B, C, H, W) with a weight (C, 1, k, l)."""
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(images, weight, bias, stride, padding, groups=images.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, None, None]:
        """Return the gradients of images, weight and bias."""
        images, weight = ctx.saved_tensors
        channels, (wants_images, _, wants_bias) = images.shape[1], ctx.needs_input_grad[:3]
        by_images, _, by_bias = torch.ops.aten.convolution_backward(
            *(grad, images, weight, [channels], ctx.stride, ctx.padding, (1, 1), False, (0, 0), channels),
            (wants_images, False, wants_bias),
        )
        return by_images, weight_gradient(images, grad, weight, ctx.stride, ctx.padding), by_bias, None, None


def weight_gradient(images: Tensor, grad: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """Return the gradient of the weight of a depthwise convolution, computed for one tap after the other.

    Parameters
    ----------
    images
        The input, shape (B, C, H, W).
    grad
        The gradient of the output, shape (B, C, H', W').
    weight
        The weight, shape (C, 1, k, l).
    stride
        The stride of the convolution, down and across.
    padding
        The padding of the convolution, down and across.
    """
    pixels, outward = images.permute(0, 2, 3, 1), grad.permute(0, 2, 3, 1)
    result = torch.zeros_like(weight)
    for i in range(weight.shape[2]):
        from_y, to_y = _overlap(i, images.shape[2], grad.shape[2], stride[0], padding[0])
        for j in range(weight.shape[3]):
            from_x, to_x = _overlap(j, images.shape[3], grad.shape[3], stride[1], padding[1])
            product = pixels[:, from_y, from_x] * outward[:, to_y, to_x]
            result[:, 0, i, j] = product.sum((0, 1, 2))
    return result


def _overlap(tap: int, size: int, out: int, stride: int, padding: int) -> tuple[slice, slice]:
    """Return the pixels of a row that a tap of the kernel reaches, and the outputs that they are added to."""
    shift = tap - padding
    first = max(0, -(shift // stride))
    last = max(first, min(out, (size - 1 - shift) // stride + 1))
    begin = first * stride + shift
    return slice(begin, begin + (last - first) * stride, stride), slice(first, last)
