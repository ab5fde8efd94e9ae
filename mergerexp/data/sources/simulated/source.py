"""The simulator as a `Source` of labelled images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mergerexp.data.sources import Part
from mergerexp.simulator.settings import SimulatorSettings

if TYPE_CHECKING:
    from mergerexp.simulator.scenes import Sighting

RECIPE_VERSION = 1  # This has to be raised when the same settings come to give other pictures.

# The first objid and group of each class, which are so far apart that no two are alike.
NONINTERACTING_BASE = 100_000_000
MERGER_BASE = 200_000_000
# The purpose of a random stream, which is the last word of its key.
PICTURES, LABELS = 0, 1
# One chunk takes one to two seconds at 128 pixels.
MERGERS_PER_CHUNK = 24
NONINTERACTING_PER_CHUNK = 100

Chunk = tuple[str, int, int]


@dataclass(frozen=True)
class SimulatedSource:
    """A source of simulated mergers and non-interacting galaxies.

    Besides ``objid``, ``label`` and ``group`` (one encounter, or one galaxy alone), rows have
    ``true_label`` (before label noise), ``kind`` (approach, first_passage, late; iso, proj, star),
    ``redshift`` and ``mag_r`` (r magnitude before dust) of the centred galaxy, ``shape_asymmetry`` (of
    the noise-free galaxies), ``time_gyr`` (since pericentre) and ``mass_ratio`` (both NaN for galaxies
    alone), and ``pixel_arcsec``.

    Attributes
    ----------
    settings
        The settings that decide what the images show.
    size
        The side of the images in pixels.
    """

    settings: SimulatorSettings
    size: int

    class_names = ("noninteracting", "merger")
    on_error = "stop"  # nothing is read that could be unusable

    def recipe(self) -> dict[str, Any]:
        """Describe, JSON-able, all that decides the content."""
        return {
            "source": "simulated",
            "version": RECIPE_VERSION,
            "size": self.size,
            "simulator": dataclasses.asdict(self.settings),
        }

    def chunks(self) -> Sequence[Chunk]:
        """Split the work: mergers by encounter, then the non-interacting by galaxy."""
        views = self.settings.views_per_encounter
        blocks = -(-self.settings.n_mergers // views)
        return [
            *_cut("merger", blocks, max(1, MERGERS_PER_CHUNK // views)),
            *_cut("noninteracting", self.settings.n_noninteracting, NONINTERACTING_PER_CHUNK),
        ]

    def inputs(self, chunk: Chunk) -> int:
        """Return the number of images of a chunk; the last encounter may have fewer views than the others."""
        kind, start, stop = chunk
        if kind != "merger":
            return stop - start
        views = self.settings.views_per_encounter
        return min(stop * views, self.settings.n_mergers) - start * views

    def make(self, chunk: Chunk) -> Part:
        """Make one chunk's images: ``(kind, start, stop)``, a range of encounters or of galaxies."""
        kind, start, stop = chunk
        make_one = self._mergers if kind == "merger" else self._noninteracting
        rows, images = zip(*(pair for index in range(start, stop) for pair in make_one(index)), strict=True)
        return Part(np.stack(images), list(rows))

    def _mergers(self, block: int) -> Iterator[tuple[dict[str, Any], NDArray[np.uint8]]]:
        # Imported here, since a data set that is there already does without.
        from mergerexp.simulator.scenes import MAX_ENCOUNTERS, mergers

        settings, views = self.settings, self.settings.views_per_encounter
        rng = np.random.default_rng([settings.seed, 1, block, PICTURES])
        count = min(views, settings.n_mergers - block * views)
        for slot, seen in enumerate(mergers(rng, settings, self.size, count)):
            group = MERGER_BASE + block * MAX_ENCOUNTERS + seen.encounter
            yield self._row(1, block * views + slot, group, seen), seen.image

    def _noninteracting(self, index: int) -> Iterator[tuple[dict[str, Any], NDArray[np.uint8]]]:
        from mergerexp.simulator.scenes import noninteracting

        rng = np.random.default_rng([self.settings.seed, 0, index, PICTURES])
        seen = noninteracting(rng, self.settings, self.size)
        yield self._row(0, index, NONINTERACTING_BASE + index, seen), seen.image

    def _row(self, truth: int, index: int, group: int, seen: Sighting) -> dict[str, Any]:
        # The flip has its own stream: pictures are the same with and without label noise.
        draw = np.random.default_rng([self.settings.seed, truth, index, LABELS]).random()
        flipped = draw < self.settings.label_noise
        return {
            "objid": (MERGER_BASE if truth else NONINTERACTING_BASE) + index,
            "label": 1 - truth if flipped else truth,
            "group": group,
            "true_label": truth,
            **seen.facts,
        }


def _cut(kind: str, total: int, length: int) -> list[Chunk]:
    return [(kind, start, min(start + length, total)) for start in range(0, total, length)]
