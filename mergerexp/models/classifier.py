"""The network: a timm backbone, global average pooling, a hidden layer with ReLU, and two logits."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from mergerexp.batches.images import RAW, Scaling
from mergerexp.models.loading import load_backbone
from mergerexp.models.weights import WeightsFile

# The scalings of the input that do not depend on the backbone.
FIXED_SCALINGS = {"unit": Scaling((0.0,) * 3, (1.0,) * 3, 255.0), "raw": RAW}


class Classifier(nn.Module):
    """A backbone and the head of Ackermann et al. 2018, section 3.

    Parameters
    ----------
    backbone
        A timm model without classifier, which maps images (B, 3, H, W) to pooled features (B, D).
    head_units
        The number of units in the hidden layer.
    """

    def __init__(self, backbone: nn.Module, head_units: int) -> None:
        super().__init__()
        self.backbone = backbone
        features = int(getattr(backbone, "head_hidden_size", None) or backbone.num_features)  # type: ignore[arg-type]
        self.head = nn.Sequential(nn.Linear(features, head_units), nn.ReLU(), nn.Linear(head_units, 2))

    def forward(self, images: Tensor) -> Tensor:
        """Map scaled images (B, 3, H, W) to logits (B, 2), whose softmax is (1 - p_m, p_m)."""
        logits: Tensor = self.head(self.backbone(images))
        return logits


def merger_probability(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return p_m, shape (n,), the softmax of logits, shape (n, 2), in double precision."""
    probability: NDArray[np.float64] = 1 / (1 + np.exp(logits[:, 0].astype(np.float64) - logits[:, 1]))
    return probability


def exact_float32() -> AbstractContextManager[None]:
    """Keep a GPU from convolving in TF32, so that p_m is the same in any batch and on any machine."""
    context: AbstractContextManager[None] = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    return context


def backbone_kwargs(name: str, size: int) -> dict[str, Any]:
    """Return the arguments of ``timm.create_model``, besides the name, for a backbone and a size."""
    kwargs: dict[str, Any] = {"num_classes": 0}
    pretrained_cfg = timm.get_pretrained_cfg(name)
    if pretrained_cfg is not None and pretrained_cfg.fixed_input_size:
        kwargs["img_size"] = size
    return kwargs


def create_backbone(name: str, size: int, weights: WeightsFile | None, seed: int) -> nn.Module:
    """Create a backbone with pretrained or random weights.

    Parameters
    ----------
    name
        The name of the backbone in timm.
    size
        The side of the images in pixels.
    weights
        The pretrained weights; None for random ones.
    seed
        The seed of random weights.

    Raises
    ------
    WeightsError
        If the weights do not fill the backbone (see `mergerexp.models.loading.load_backbone`).
    """
    kwargs = backbone_kwargs(name, size)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # timm warns of renamed models on every call
        torch.manual_seed(seed)
        if weights is not None:
            return load_backbone(name, weights, kwargs)
        return timm.create_model(name, pretrained=False, **kwargs)


def create_classifier(
    name: str, size: int, head_units: int, weights: WeightsFile | None, seed: int
) -> Classifier:
    """Create a backbone and a head, whose random weights are both drawn from ``seed``."""
    backbone = create_backbone(name, size, weights, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Classifier(backbone, head_units)


def input_scaling(backbone: nn.Module, kind: str) -> Scaling:
    """Return the input scaling: that of timm for the backbone, to 0 to 1 (``unit``), or none (``raw``)."""
    if kind in FIXED_SCALINGS:
        return FIXED_SCALINGS[kind]
    config = resolve_model_data_config(backbone)
    return Scaling(tuple(config["mean"]), tuple(config["std"]), 255.0)
