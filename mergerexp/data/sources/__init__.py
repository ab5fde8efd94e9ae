"""The sources of a data set's images, each a module or package of its own that ``data.source`` names.

It has a dataclass ``Settings``, derived from `mergerexp.config.schema.DataConfig`, with what can be set about
it, and a function ``make`` that returns the `Source` of such settings.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Problem(NamedTuple):
    """An input file that could not be used, and the reason."""

    file: str
    reason: str


@dataclass
class Part:
    """The images that a source makes of one chunk of work.

    Attributes
    ----------
    images
        The images, uint8, shape (n, size, size, 3), RGB.
    rows
        A dictionary for each of the n images, with ``objid`` (int), ``label`` (0 or 1), ``group`` (int;
        objects of one group are always in the same fold) and further facts that the source knows. All rows
        of a source have the same keys.
    problems
        The inputs of the chunk that gave no image.
    """

    images: NDArray[np.uint8]
    rows: list[dict[str, Any]]
    problems: list[Problem] = field(default_factory=list)


class Source(Protocol):
    """A picklable maker of labelled images; `mergerexp.data.build` runs its chunks in parallel."""

    @property
    def class_names(self) -> tuple[str, str]:
        """The names of label 0 and label 1 (the rare class)."""

    @property
    def on_error(self) -> str:
        """What to do about problems: "stop" without making a data set, or "skip" the inputs."""

    def recipe(self) -> dict[str, Any]:
        """Return all that the content depends on, in types of JSON; equal recipes give equal data sets."""

    def chunks(self) -> Sequence[Any]:
        """Return the units of the work, which can be pickled, in the order of the final catalogue."""

    def inputs(self, chunk: Any) -> int:
        """Return how many inputs a chunk has; each gives an image or a problem."""

    def make(self, chunk: Any) -> Part:
        """Make the images of one chunk, which depend on the source and the chunk alone."""


def make_source(settings: Any) -> Source:
    """Return the source of a ``data`` config; only its own module is imported.

    Parameters
    ----------
    settings : DataConfig
        The ``Settings`` of the source that ``settings.source`` names.

    Raises
    ------
    DataError
        If what it reads is unusable.
    """
    source: Source = importlib.import_module(f"{__name__}.{settings.source}").make(settings)
    return source
