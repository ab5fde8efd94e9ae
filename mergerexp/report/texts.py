"""The texts of the report, which are all in one file."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf


@functools.cache
def texts() -> dict[str, Any]:
    """Return the contents of ``texts.yaml``."""
    content: Any = OmegaConf.to_container(OmegaConf.load(Path(__file__).with_name("texts.yaml")))
    return dict(content)
