"""What training uses of PyTorch Lightning, imported without what takes a second and no run needs.

Lightning imports torchmetrics, and this SciPy's signal processing and Matplotlib, for a name and for figures
of metrics. Meanwhile they are replaced by a placeholder, unless the process has them already. Whatever
imports them later gets them; only the figures of torchmetrics itself are not drawn then. No other thread may
import them at the same time.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

NOT_NEEDED = ("scipy.signal", "matplotlib", "matplotlib.axes", "matplotlib.pyplot")


class _Anything(type):
    """A type whose attributes are itself, and which is called as a decorator with arguments is."""

    def __getattr__(cls, name: str) -> type:
        return cls

    def __call__(cls, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        return lambda function: function


class Placeholder(metaclass=_Anything):
    """Stands for modules and all that is in them."""


@contextmanager
def replaced(names: tuple[str, ...]) -> Iterator[None]:
    """Let imports of modules give the placeholder, if none of them has been imported yet.

    Parameters
    ----------
    names
        The names of the modules.
    """
    if any(name in sys.modules for name in names):
        yield
        return
    sys.modules |= dict.fromkeys(names, Placeholder)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def import_lightning() -> None:
    """Import Lightning, with the placeholder if possible."""
    before = set(sys.modules)
    try:
        with replaced(NOT_NEEDED):
            importlib.import_module("pytorch_lightning")
    except Exception:  # another version of torchmetrics may use more of these modules
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in ("lightning_fabric", "pytorch_lightning", "torchmetrics"):
                del sys.modules[name]
        importlib.import_module("pytorch_lightning")


import_lightning()

import pytorch_lightning as pl  # noqa: E402
from pytorch_lightning.core.optimizer import LightningOptimizer  # noqa: E402
from pytorch_lightning.plugins.environments import LightningEnvironment  # noqa: E402
from pytorch_lightning.plugins.io import TorchCheckpointIO  # noqa: E402

__all__ = ["LightningEnvironment", "LightningOptimizer", "TorchCheckpointIO", "pl"]
