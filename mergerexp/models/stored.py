"""A finished run's network, rebuilt from its ``model.json`` and ``model.safetensors``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from mergerexp.batches.images import Scaling
from mergerexp.errors import WeightsError, describe
from mergerexp.files import read_json
from mergerexp.models.classifier import Classifier, exact_float32, merger_probability

DESCRIPTION, WEIGHTS = "model.json", "model.safetensors"
NETWORK = "network"  # a description without a kind is of one


class StoredNetwork:
    """A trained network with the input scaling that it was trained with.

    Parameters
    ----------
    classifier
        The network.
    scaling
        Of its input.
    size
        Side of the images that it was trained on, in pixels.
    device
        Where it is to compute.
    """

    def __init__(self, classifier: Classifier, scaling: Scaling, size: int, device: torch.device) -> None:
        self.classifier = classifier.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.size = size
        self._factor, self._offset = scaling.linear(device)

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> StoredNetwork:
        """Rebuild the network whose two files are in a folder, as the README does it by hand.

        Raises
        ------
        WeightsError
            If a file is damaged, of something else than a network, or the two do not fit each other; the
            message says which.
        """
        reading = folder / WEIGHTS
        try:  # JSON, safetensors, timm and torch errors have no common base
            state = load_file(reading)
            reading = folder / DESCRIPTION
            about = read_json(reading)
            if kind_of(about) != NETWORK:
                raise ValueError(f"it describes a {kind_of(about)} model, no network")
            classifier = _rebuild(about)
            classifier.load_state_dict(state)
            return cls(classifier, _scaling(about), int(about["input"]["size"]), device)
        except Exception as error:
            raise WeightsError(
                f"{reading}: the network can't be rebuilt from it: {describe(error)}"
            ) from error

    @torch.inference_mode()
    def rate(self, pixels: Tensor) -> NDArray[np.float64]:
        """Return p_m, shape (B,), of images in 0..255, shape (B, 3, size, size), on the network's device."""
        scaled = (pixels * self._factor - self._offset).contiguous(memory_format=torch.channels_last)
        with exact_float32():
            return merger_probability(self.classifier(scaled).float().cpu().numpy())


def kind_of(about: dict[str, Any]) -> str:
    """Return what kind of model a ``model.json`` describes: ``network``, or a method without one."""
    return str(about.get("kind", NETWORK))


def _rebuild(about: dict[str, Any]) -> Classifier:
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # timm warns of renamed models on every call
        backbone = timm.create_model(about["backbone"], pretrained=False, **about["create_model"])
        return Classifier(backbone, about["head_units"])


def _scaling(about: dict[str, Any]) -> Scaling:
    own = about["input"]
    return Scaling(tuple(own["mean"]), tuple(own["std"]), float(own["scale"]))
