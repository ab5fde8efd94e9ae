"""Activations that need their input for the gradient: the same numbers, without a copy of the input."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from mergerexp.models.activations import NEED_THEIR_INPUT, without_copies


def trained(network: nn.Module) -> tuple[list[Tensor], int]:
    """Return the output and all gradients of a network, and how many tensors were cloned."""
    torch.manual_seed(0)
    images = torch.randn(4, 3, 32, 32).contiguous(memory_format=torch.channels_last).requires_grad_()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        output = network.train()(images)
    gradients = torch.autograd.grad(output.square().sum(), [images, *network.parameters()], allow_unused=True)
    clones = sum(event.name == "aten::clone" for event in seen.events() or [])
    return [output, *(gradient for gradient in gradients if gradient is not None)], clones


@pytest.mark.parametrize("kind", [*NEED_THEIR_INPUT, nn.ReLU6])
def test_activations_that_need_their_input_copy_it_in_place_only(kind):
    network = nn.Sequential(nn.Conv2d(3, 4, 1), kind(inplace=True))
    before, copies = trained(network)
    after, none = trained(without_copies(network))
    assert (copies, none) == (1, 0)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "test_efficientnet"])
def test_outputs_and_gradients_of_networks_are_the_same_bits(name):
    network = timm.create_model(name, num_classes=0, drop_rate=0.0, drop_path_rate=0.0)
    own = without_copies(copy.deepcopy(network))
    (before, copies), (after, fewer) = trained(network), trained(own)
    assert fewer < copies
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_an_activation_that_needs_only_its_output_still_overwrites_its_input():
    network = without_copies(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True)))
    assert network[1].inplace
    assert trained(network)[1] == 0
