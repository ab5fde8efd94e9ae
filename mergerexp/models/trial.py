"""A trial of each network of a sweep, which is built once before any run of it exists.

Building needs torch, which takes seconds to load. It therefore happens in a separate process, and networks
that have passed are recorded, so that a submission without new networks neither loads torch nor waits.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mergerexp.errors import ConfigError, UserError, WeightsError, describe
from mergerexp.files import write_json
from mergerexp.garbage import collect_rarely
from mergerexp.hashing import digest
from mergerexp.models.weights import WeightsFile, find_weights

log = logging.getLogger(__name__)

VERSION = 1  # has to be raised when a network that passed before would be refused


@dataclass(frozen=True)
class Wanted:
    """A network as a config describes it.

    Attributes
    ----------
    backbone
        The name of the backbone in timm.
    size
        The side of the images in pixels.
    pretrained
        The origin of the weights, as `mergerexp.models.weights.find_weights` takes it; None for random
        weights.
    folder
        The folder of fetched weights and of the records of networks that have passed.
    """

    backbone: str
    size: int
    pretrained: str | None
    folder: Path

    def find(self) -> WeightsFile | None:
        """Find the weights, or return None for random ones."""
        return None if self.pretrained is None else find_weights(self.backbone, self.pretrained, self.folder)


def check_networks(wanted: Iterable[Wanted]) -> dict[Wanted, WeightsFile | None]:
    """Find the weights of networks, and check that each network takes them and images of its size.

    Parameters
    ----------
    wanted
        The networks.

    Returns
    -------
    dict
        The file of weights of each network; None for random weights.

    Raises
    ------
    ConfigError
        If a network does not work. The message has a line for each of them.
    """
    found: dict[Wanted, WeightsFile | None] = {}
    mistakes: list[str] = []
    for one in wanted:
        try:
            found[one] = one.find()
        except WeightsError as error:
            mistakes.append(str(error))
    mistakes += _try(found)
    if mistakes:
        raise ConfigError("\n".join(dict.fromkeys(mistakes)))
    return found


def _try(found: dict[Wanted, WeightsFile | None]) -> list[str]:
    """Return the problems of networks that do not work, and record those that do."""
    new: list[tuple[Path, dict[str, Any]]] = [  # also files of the same content, each with its own message
        (record, {"backbone": one.backbone, "size": one.size, "weights": weights and weights.to_dict()})
        for one, weights in found.items()
        if not (record := _record(one, weights)).is_file()
    ]
    if not new:
        return []
    # A separate process is only of use where this one has not loaded torch.
    networks = [network for _, network in new]
    problems = [problem_of(**each) for each in networks] if "torch" in sys.modules else _elsewhere(networks)
    for (record, network), problem in zip(new, problems, strict=True):
        if problem is None:
            try:
                record.parent.mkdir(parents=True, exist_ok=True)
                write_json(record, network)
            except OSError as error:  # the folder may be that of a colleague
                folder = record.parent
                log.info("%s can't be written (%s): the network is tried anew next time", folder, error)
    return [problem for problem in problems if problem is not None]


def _record(wanted: Wanted, weights: WeightsFile | None) -> Path:
    """Return the file that records that a network works, named by a hash of all that determines it."""
    software = {package: version(package) for package in ("torch", "timm", "safetensors")}
    sha256 = weights.sha256 if weights else None
    key = digest([VERSION, wanted.backbone, wanted.size, sha256, software])
    return wanted.folder / "tried" / f"{key}.json"


def _elsewhere(networks: Sequence[dict[str, Any]]) -> list[str | None]:
    what = f"{len(networks)} networks" if len(networks) > 1 else "the network"
    log.info("building and trying %s, which is done once", what)
    path = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(networks),
        capture_output=True,
        text=True,
        env={**os.environ, **path, "OMP_NUM_THREADS": "1"},  # others use a login node too
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        why = lines[-1] if lines else f"exit code {done.returncode}; out of memory?"
        raise UserError(f"{', '.join(network['backbone'] for network in networks)} can't be tried: {why}")
    return list(json.loads(done.stdout))


def problem_of(backbone: str, size: int, weights: dict[str, str] | None) -> str | None:
    """Build a network as a run does, rate one image, and return the problem, or None if there is none."""
    import torch

    from mergerexp.models.classifier import create_classifier

    where = f"model.backbone={backbone} data.size={size}"
    try:
        classifier = create_classifier(backbone, size, 8, WeightsFile.of(weights), seed=0).eval()
        image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            logits = classifier(image)
    except WeightsError as error:
        return str(error)
    except Exception as error:  # the architectures of timm raise exceptions of many kinds
        return f"{where}: timm can't build this network or pass an image through it ({describe(error)})"
    if logits.shape != (1, 2):
        return f"{where}: this backbone does not give one vector of features for each image"
    if not bool(torch.isfinite(logits).all()):
        source = f", with the weights in {weights['path']}" if weights else ""
        return f"{where}: the network's output for an image is not finite{source}"
    return None


def main() -> None:
    """Read networks from standard input, try them, and write the problem of each to standard output."""
    collect_rarely()
    with contextlib.redirect_stdout(sys.stderr):  # whatever a library prints
        problems = [problem_of(**network) for network in json.load(sys.stdin)]
    json.dump(problems, sys.stdout)


if __name__ == "__main__":
    main()
