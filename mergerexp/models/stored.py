"""The network of a finished run, as ``model.json`` and ``model.safetensors``: written, and rebuilt."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from mergerexp.batches.images import Scaling
from mergerexp.config.schema import TrainConfig
from mergerexp.errors import WeightsError, describe
from mergerexp.files import read_json, write_json, written
from mergerexp.models.classifier import Classifier, backbone_kwargs, exact_float32, merger_probability
from mergerexp.runs.run_folder import MODEL, WEIGHTS

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
            reading = folder / MODEL
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


def save_network(folder: Path, classifier: Classifier, scaling: Scaling, cfg: TrainConfig) -> None:
    """Write ``model.safetensors`` and ``model.json``, from which the network can be rebuilt.

    The names of the tensors are ``backbone.<name in timm>`` and ``head.0``, ``head.2`` (weight, bias).
    """
    state = {key: value.detach().cpu().contiguous() for key, value in classifier.state_dict().items()}
    with written(folder / WEIGHTS) as partial:
        save_file(state, partial)
    write_json(folder / MODEL, _description(cfg, scaling))


def _description(cfg: TrainConfig, scaling: Scaling) -> dict[str, Any]:
    return {
        "backbone": cfg.model.backbone,
        "create_model": backbone_kwargs(cfg.model.backbone, cfg.data.size),
        "head_units": cfg.model.head_units,
        "input": {
            "size": cfg.data.size,
            "channels": "RGB",
            "formula": "(pixel / scale - mean) / std",
            "scale": scaling.scale,
            "mean": list(scaling.mean),
            "std": list(scaling.std),
        },
        "output": "softmax(logits)[1] is p_m",
    }


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
