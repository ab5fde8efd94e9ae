"""The network of a fold as files: the backbone in timm's own layout, the head beside it, and ONNX of both."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mergerexp.batches.images import Scaling
from mergerexp.errors import WeightsError, describe, require
from mergerexp.files import write_text, written
from mergerexp.models.classifier import Classifier, backbone_kwargs, exact_float32
from mergerexp.survey.model_folder import BACKBONE, BACKBONE_CONFIG, HEAD


class FoldNetwork(nn.Module):
    """A backbone, a head and the scaling of their input, from uint8 images to logits.

    Parameters
    ----------
    classifier
        The backbone and the head.
    scaling
        The scaling of the input.
    """

    factor: Tensor
    offset: Tensor

    def __init__(self, classifier: Classifier, scaling: Scaling) -> None:
        super().__init__()
        self.classifier, self.scaling = classifier.eval(), scaling
        factor, offset = scaling.linear(torch.device("cpu"))
        self.register_buffer("factor", factor, persistent=False)
        self.register_buffer("offset", offset, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map images, uint8, shape (B, size, size, 3), to logits, shape (B, 2)."""
        pixels = images.permute(0, 3, 1, 2).to(self.factor.dtype)
        logits: Tensor = self.classifier(pixels * self.factor - self.offset)
        return logits

    @torch.inference_mode()
    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.floating]:
        """Return the logits of images, uint8, shape (n, size, size, 3), in the network's own precision."""
        with exact_float32():
            given = torch.from_numpy(np.ascontiguousarray(images)).to(self.factor.device)
            found: NDArray[np.floating] = self(given).cpu().numpy()
            return found

    @classmethod
    def load(cls, folder: Path, scaling: Scaling) -> FoldNetwork:
        """Rebuild the network from what `write_network` wrote.

        Parameters
        ----------
        folder
            The folder of the fold.
        scaling
            The scaling of its input.

        Raises
        ------
        WeightsError
            If a file is damaged, or the files do not fit each other. The message names the file.
        """
        reading = folder / BACKBONE_CONFIG
        try:  # the exceptions of JSON, safetensors, timm and torch have no common base
            config = json.loads(reading.read_text())
            with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # timm warns of renamed models on every call
                backbone = timm.create_model(config["architecture"], pretrained=False, **config["model_args"])
            reading = folder / BACKBONE
            backbone.load_state_dict(load_file(reading))
            reading = folder / HEAD
            head = load_file(reading)
            classifier = Classifier(backbone, len(head["0.bias"]))
            classifier.head.load_state_dict(head)
        except Exception as error:
            raise WeightsError(
                f"{reading}: the network can't be rebuilt from it: {describe(error)}"
            ) from error
        return cls(classifier, scaling).to(memory_format=torch.channels_last)


def write_network(
    folder: Path, name: str, size: int, crop: float, classifier: Classifier, scaling: Scaling
) -> None:
    """Write ``config.json``, ``model.safetensors`` and ``head.safetensors``.

    ``timm.create_model("local-dir:FOLDER", pretrained=True)`` loads the backbone, and a folder that is the
    root of a repository on a model hub is loaded by ``hf-hub:OWNER/NAME``. timm scales pixels of 0 to 1 by
    mean and std.

    Parameters
    ----------
    folder
        The folder of the fold.
    name
        The name of the backbone in timm.
    size
        The side of the images in pixels.
    crop
        The central fraction of an image file that becomes such an image.
    classifier
        The trained network.
    scaling
        The scaling of its input.
    """
    _save(folder / BACKBONE, classifier.backbone)
    _save(folder / HEAD, classifier.head)
    architecture, _, tag = name.partition(".")
    backbone: Any = classifier.backbone
    known: dict[str, Any] = backbone.pretrained_cfg
    config = {
        "architecture": architecture,
        "num_classes": 0,
        "num_features": backbone.num_features,
        "model_args": backbone_kwargs(name, size),
        "pretrained_cfg": {
            "tag": tag,
            "input_size": [3, size, size],
            "fixed_input_size": bool(known.get("fixed_input_size")),
            "interpolation": "bicubic",
            "crop_pct": crop,
            "crop_mode": "center",
            "mean": [value * scaling.scale / 255 for value in scaling.mean],
            "std": [value * scaling.scale / 255 for value in scaling.std],
            "num_classes": 0,
            "first_conv": known.get("first_conv"),
            "classifier": known.get("classifier"),
        },
    }
    write_text(folder / BACKBONE_CONFIG, json.dumps(config, indent=1) + "\n")


def _save(path: Path, module: nn.Module) -> None:
    state = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    with written(path) as partial:
        save_file(state, partial)


def write_onnx(path: Path, network: FoldNetwork, size: int) -> None:
    """Write a network as ONNX: uint8 images (B, size, size, 3) named ``images`` in, ``logits`` (B, 2) out.

    Parameters
    ----------
    path
        The file to write.
    network
        The network, with float32 weights on the CPU.
    size
        The side of the images in pixels.

    Raises
    ------
    UserError
        If the exporter is not installed.
    """
    require("onnxscript", "export", "onnx=true")
    # An example of one image would fix the size of the batch.
    example = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1)
    with warnings.catch_warnings(), written(path) as partial:
        warnings.simplefilter("ignore")  # of the exporter's own parts
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: batch},),
            verbose=False,
        )
        assert program is not None
        program.save(partial, external_data=False)
