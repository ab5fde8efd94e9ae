"""Where a data set's images come from: one module a source, each a `Source`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Problem:
    """An input that could not be used, and why."""

    file: str
    reason: str


@dataclass
class Part:
    """What a source makes of one chunk of work.

    Attributes
    ----------
    images
        uint8, shape (n, size, size, 3), RGB.
    rows
        n dictionaries, one an image: ``objid`` (int), ``label`` (0 or 1), ``group`` (int; objects of
        one group never straddle folds) and whatever else the source knows of the object. Every row of
        a source has the same keys.
    problems
        Inputs of the chunk that gave no image.
    """

    images: NDArray[np.uint8]
    rows: list[dict[str, Any]]
    problems: list[Problem] = field(default_factory=list)


class Source(Protocol):
    """A picklable maker of labelled images; `mergerexp.data.build` runs its chunks in parallel."""

    @property
    def class_names(self) -> tuple[str, str]:
        """Names of label 0 and label 1 (the rare class)."""

    @property
    def on_error(self) -> str:
        """What to do about problems: "stop" without a data set, or "skip" those inputs."""

    def recipe(self) -> dict[str, Any]:
        """Describe, JSON-able, all that decides the content; equal recipes give equal data sets."""

    def chunks(self) -> Sequence[Any]:
        """Split the work into picklable units, in the order of the final catalogue."""

    def make(self, chunk: Any) -> Part:
        """Make one chunk's images: a pure function of the source and the chunk."""
