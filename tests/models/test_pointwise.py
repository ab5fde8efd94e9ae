"""Pointwise layers as matrix products: the same numbers as torch's convolution, and plain timm networks."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from mergerexp.models.pointwise import with_matrix_products


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the weights that were multiplied."""
    shapes: list[tuple[int, ...]] = []
    linear = functional.linear

    def noted(pixels: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        shapes.append(tuple(weight.shape))
        return linear(pixels, weight, bias)

    monkeypatch.setattr(functional, "linear", noted)
    return shapes


def images(size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(3, 6, size, size, dtype=dtype).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_outputs_and_gradients_are_those_of_torch(size, bias, products):
    layer, seen = nn.Conv2d(6, 4, 1, bias=bias).double(), images(size).requires_grad_()
    results = []
    for each in (layer, with_matrix_products(copy.deepcopy(layer))):
        output = each(seen)
        assert output.is_contiguous(memory_format=torch.channels_last)
        weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).reshape(output.shape)
        results += [[output, *torch.autograd.grad((output * weights).sum(), [seen, *each.parameters()])]]
    assert products == [(4, 6)]
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(with_matrix_products(layer), seen)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(6, 4, 3, padding=1),
        nn.Conv2d(6, 4, 1, stride=2),
        nn.Conv2d(6, 6, 1, groups=3),
        nn.Conv2d(6, 4, 1, padding=1),
    ],
    ids=str,
)
def test_other_layers_are_left_to_torch(layer, products):
    expected = layer(images(2, torch.float32))
    assert torch.equal(with_matrix_products(layer)(images(2, torch.float32)), expected)
    assert products == []


def test_larger_maps_are_left_to_torch(products):
    """Three images of 5 px have more than 64 pixels."""
    layer = nn.Conv2d(6, 4, 1)
    expected = layer(images(5, torch.float32))
    assert torch.equal(with_matrix_products(layer)(images(5, torch.float32)), expected)
    assert products == []


def test_frozen_layers_ratings_and_other_precisions_are_left_to_torch(products):
    layer = with_matrix_products(nn.Conv2d(6, 4, 1))
    with torch.no_grad():
        layer(images(2, torch.float32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(images(2, torch.float32))
    layer(images(2, torch.float32).contiguous())  # whose pixels are no rows of a matrix
    layer.requires_grad_(requires_grad=False)
    layer(images(2, torch.float32).requires_grad_())
    assert products == []


def test_a_network_keeps_its_parameters_and_can_be_copied():
    network = timm.create_model("test_efficientnet", num_classes=0)
    names = list(network.state_dict())
    again = copy.deepcopy(with_matrix_products(network))
    assert list(again.state_dict()) == names
    plain = timm.create_model("test_efficientnet", num_classes=0)
    plain.load_state_dict(again.state_dict())
    shown = torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(again.eval()(shown), plain.eval()(shown), rtol=1e-4, atol=1e-5)
