"""The published numbers, which are all in one file."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf


@functools.cache
def published() -> dict[str, Any]:
    """Return the contents of ``published.yaml``."""
    content: Any = OmegaConf.to_container(OmegaConf.load(Path(__file__).with_name("published.yaml")))
    return dict(content)


def published_error(arm: str) -> str:
    """Return the published test error, with its standard error, of ``transfer`` or ``random`` learning."""
    error, sem = published()["lesion"]["error"][arm]
    return f"{error:.3f} ± {sem:.3f}"
