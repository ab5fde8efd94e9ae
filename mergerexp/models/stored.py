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
    device
        The device that it computes on.
    """

    def __init__(self, classifier: Classifier, scaling: Scaling, device: torch.device) -> None:
        self.classifier = classifier.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
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
            if (kind := about.get("kind", NETWORK)) != NETWORK:
                raise ValueError(f"it describes a {kind} model, not a network")
            classifier, given = _rebuild(about), about["input"]
            classifier.load_state_dict(state)
            scaling = Scaling(tuple(given["mean"]), tuple(given["std"]), float(given["scale"]))
            return cls(classifier, scaling, device)
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
    about = {
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
    write_json(folder / MODEL, about)


def _rebuild(about: dict[str, Any]) -> Classifier:
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # timm warns of renamed models on every call
        backbone = timm.create_model(about["backbone"], pretrained=False, **about["create_model"])
        return Classifier(backbone, about["head_units"])
