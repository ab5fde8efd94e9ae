"""The identity of a run: two runs with the same fingerprint are one run."""

from __future__ import annotations

import dataclasses
from typing import Any

from mergerexp.config.schema import NonparametricConfig, TrainConfig, unused_groups
from mergerexp.hashing import digest
from mergerexp.settings import declared

# This has to be raised when the code changes the result of a run with the same config.
PROTOCOL_VERSION = 5
# The same for the measurements of `mergerexp.models.morphology`, which are then made anew.
MEASUREMENT_VERSION = 2


def identity(cfg: TrainConfig, content_hash: str, weights_sha256: str | None) -> dict[str, Any]:
    """Return all that decides a run's result, and nothing else.

    Parameters
    ----------
    cfg
        The validated config; device and precision of a network's run are no longer ``auto``.
    content_hash
        The hash of the data set's content. Where the data set lies and how it was made do not matter.
    weights_sha256
        The SHA-256 of the pretrained weights; None where the backbone starts from random weights.
    """
    settings = _identifying(cfg)
    settings["data"] = content_hash
    settings["protocol"] = PROTOCOL_VERSION
    for group in unused_groups(cfg.model.kind):
        del settings[group]
    if isinstance(cfg.model, NonparametricConfig):
        settings |= {"stretch": cfg.data.stretch, "measurement": MEASUREMENT_VERSION}
        if not cfg.model.is_forest:  # a fixed rule has no settings and draws nothing
            del settings["seed"]
            settings["model"] = {"method": cfg.model.method}
    else:
        assert "auto" not in (cfg.trainer.device, cfg.trainer.precision)  # mergerexp.config.device.resolve
        settings["model"]["pretrained"] = weights_sha256
    return settings


def fingerprint(cfg: TrainConfig, content_hash: str, weights_sha256: str | None) -> str:
    """Return the hash of what `identity` returns, which names the run."""
    return digest(identity(cfg, content_hash, weights_sha256))


def _identifying(node: Any) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if dataclasses.is_dataclass(value):
            kept[field.name] = _identifying(value)
        elif (setting := declared(field)) is None or setting.identity:
            kept[field.name] = value
    return {key: value for key, value in kept.items() if value != {}}
