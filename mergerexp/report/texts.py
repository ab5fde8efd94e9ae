"""The texts of the report and the published numbers, each in one file."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from mergerexp.analysis.significance import shorthand


@functools.cache
def _content(name: str) -> Any:
    return OmegaConf.to_container(OmegaConf.load(Path(__file__).with_name(name)))


def texts() -> dict[str, Any]:
    """Return the contents of ``texts.yaml``."""
    return dict(_content("texts.yaml"))


def published() -> dict[str, Any]:
    """Return the contents of ``published.yaml``."""
    return dict(_content("published.yaml"))


def published_error(arm: str) -> str:
    """Return the published test error, with its standard error, of ``transfer`` or ``random`` learning."""
    error, sem = published()["lesion"]["error"][arm]
    return shorthand(error, sem)
