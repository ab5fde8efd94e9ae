"""The network of a finished run, rebuilt from its ``model.json`` and ``model.safetensors``."""

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
NETWORK = "network"  # the kind of a description that names none


class StoredNetwork:
    """A trained network with the input scaling that it was trained with.

    Parameters
    ----------
    classifier
        The network.
    scaling
        The scaling of its input.
    size
        The side in pixels of the images that it was trained on.
    device
        The device that it computes on.
    """

    def __init__(self, classifier: Classifier, scaling: Scaling, size: int, device: torch.device) -> None:
        self.classifier = classifier.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.size = size
        self._factor, self._offset = scaling.linear(device)

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> StoredNetwork:
        """Rebuild the network whose two files are in a folder.

        Raises
        ------
        WeightsError
            If a file is damaged or does not describe a network, or the two files do not fit each other. The
            message names the file.
        """
        reading = folder / WEIGHTS
        try:  # the exceptions of JSON, safetensors, timm and torch have no common base
            state = load_file(reading)
            reading = folder / DESCRIPTION
            about = read_json(reading)
            if kind_of(about) != NETWORK:
                raise ValueError(f"it describes a {kind_of(about)} model, not a network")
            classifier = _rebuild(about)
            classifier.load_state_dict(state)
            return cls(classifier, _scaling(about), int(about["input"]["size"]), device)
        except Exception as error:
            raise WeightsError(
                f"{reading}: the network can't be rebuilt from it: {describe(error)}"
            ) from error

    @torch.inference_mode()
    def rate(self, pixels: Tensor) -> NDArray[np.float64]:
        """Return p_m, shape (B,), of images in 0..255, shape (B, 3, size, size), on the same device."""
        scaled = (pixels * self._factor - self._offset).contiguous(memory_format=torch.channels_last)
        with exact_float32():
            return merger_probability(self.classifier(scaled).float().cpu().numpy())


def kind_of(about: dict[str, Any]) -> str:
    """Return the kind of model that a ``model.json`` describes: ``network`` or ``nonparametric``."""
    return str(about.get("kind", NETWORK))


def _rebuild(about: dict[str, Any]) -> Classifier:
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # timm warns of renamed models on every call
        backbone = timm.create_model(about["backbone"], pretrained=False, **about["create_model"])
        return Classifier(backbone, about["head_units"])


def _scaling(about: dict[str, Any]) -> Scaling:
    scaling = about["input"]
    return Scaling(tuple(scaling["mean"]), tuple(scaling["std"]), float(scaling["scale"]))
