"""Quick gradients of depthwise layers: the same numbers as torch's own, and plain timm networks."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from timm.layers import create_conv2d
from torch import Tensor, nn

from mergerexp.models import depthwise
from mergerexp.models.depthwise import with_quick_gradients

LAYERS = [  # kernel, stride, padding ("same": as TensorFlow pads), size of the map, bias
    (5, 1, "", 2, False),
    (5, 1, "", 4, True),
    (5, 2, "same", 4, False),
    (5, 2, "same", 7, False),
    (5, 2, "", 8, True),
    (3, 1, "", 2, False),
    (3, 2, "same", 4, False),
    (3, 1, "", 1, False),
    (7, 1, "", 6, True),
]


def layer_and_map(
    kernel: int, stride: int, padding: str, size: int, bias: bool, dtype: torch.dtype = torch.float64
) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    layer = create_conv2d(6, 6, kernel, stride=stride, padding=padding, depthwise=True, bias=bias).to(dtype)
    images = torch.randn(3, 6, size, size, dtype=dtype).contiguous(memory_format=torch.channels_last)
    return layer, images.requires_grad_()


def gradients(layer: nn.Module, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    output = layer(images)
    weights = (
        torch.linspace(-1, 1, output.numel()).bfloat16().reshape(output.shape)
    )  # exact in all precisions
    return output, list(torch.autograd.grad((output * weights).sum(), [images, *layer.parameters()]))


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the weights whose gradients were formed from shifted products."""
    shapes: list[tuple[int, ...]] = []
    ours = depthwise.weight_gradient

    def noted(images: Tensor, grad: Tensor, weight: Tensor, *geometry: tuple[int, int]) -> Tensor:
        shapes.append(tuple(weight.shape))
        return ours(images, grad, weight, *geometry)

    monkeypatch.setattr(depthwise, "weight_gradient", noted)
    return shapes


@pytest.mark.parametrize("geometry", LAYERS)
def test_gradients_are_those_of_torch(geometry, used):
    layer, images = layer_and_map(*geometry)
    expected = gradients(layer, images)
    output, own = gradients(with_quick_gradients(copy.deepcopy(layer)), images)
    assert len(used) == 1
    assert torch.equal(output, expected[0])
    torch.testing.assert_close(own, expected[1], rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(with_quick_gradients(layer), images)


@pytest.mark.parametrize(
    "geometry", [(5, 1, "", 8, False), (3, 1, "", 4, False), (3, 2, "same", 8, False)], ids=str
)
def test_larger_maps_are_left_to_torch(geometry, used):
    layer, images = layer_and_map(*geometry)
    expected = gradients(layer, images)
    own = gradients(with_quick_gradients(layer), images)
    assert used == []
    assert all(torch.equal(a, b) for a, b in zip(own[1], expected[1], strict=True))


@pytest.mark.parametrize(
    "geometry", [(5, 1, "", 2, True), (3, 1, "", 2, False), (5, 1, "", 8, False), (3, 2, "same", 8, False)]
)
def test_gradients_that_are_slow_in_bfloat16_are_those_of_float32(geometry):
    layer, images = layer_and_map(*geometry, torch.float32)
    expected = gradients(copy.deepcopy(layer), images)
    with torch.autocast("cpu", torch.bfloat16):
        output, own = gradients(with_quick_gradients(layer), images)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output, expected[0].bfloat16(), rtol=0, atol=0)
    torch.testing.assert_close(own, expected[1], rtol=1e-5, atol=1e-5)


def test_small_kernels_in_bfloat16_and_frozen_layers_are_left_to_torch(used):
    small, of_small = layer_and_map(3, 1, "", 4, False, torch.float32)
    layer, images = layer_and_map(5, 1, "", 2, False, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        expected = gradients(copy.deepcopy(small), of_small)
        own = gradients(with_quick_gradients(small), of_small)
        evaluated = layer.requires_grad_(False)(images.detach())
        assert torch.equal(with_quick_gradients(layer)(images.detach()), evaluated)
    assert torch.equal(own[0], expected[0])
    assert all(torch.equal(a, b) for a, b in zip(own[1], expected[1], strict=True))
    layer.requires_grad_(True)
    with torch.inference_mode():
        layer(images)
    layer(images.detach().contiguous()).sum().backward()  # one channel after the other: torch is quicker
    layer.requires_grad_(False)(images).sum().backward()
    assert used == []


def test_a_network_stays_a_plain_network_of_timm(used):
    network = timm.create_model("tf_efficientnet_lite0", num_classes=0).to(memory_format=torch.channels_last)
    keys, classes = list(network.state_dict()), [type(layer) for layer in network.modules()]
    again = copy.deepcopy(with_quick_gradients(network))
    assert list(again.state_dict()) == keys
    assert [type(layer) for layer in again.modules()] == classes
    images = torch.randn(2, 3, 64, 64).to(memory_format=torch.channels_last)
    again(images).sum().backward()
    assert sorted({shape[2] for shape in used}) == [3, 5]
    moved = dict(again.named_parameters())["blocks.6.0.conv_dw.weight"]  # its own, not the original's
    assert moved.grad is not None and moved.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_layers_of_other_types_work_under_autocast_as_torchs_own(dtype):
    layer, images = layer_and_map(5, 1, "", 8, True, dtype)
    with torch.autocast("cpu", torch.bfloat16):
        expected = layer(images)
        output = with_quick_gradients(layer)(images)
        single = layer(images[0])
    assert output.dtype == expected.dtype
    torch.testing.assert_close(output, expected, rtol=2**-6, atol=2**-6)
    torch.testing.assert_close(single, expected[0], rtol=2**-6, atol=2**-6)
