"""The sources of a data set's images, each of which is a `Source` in a module of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Problem:
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

    def make(self, chunk: Any) -> Part:
        """Make the images of one chunk, which depend on the source and the chunk alone."""
