"""All numbers of a sample, as its tables, figures and page show them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mergerexp.analysis.colour_mass import ColourMassGrid
from mergerexp.analysis.completeness import LimitFit
from mergerexp.analysis.mass_function import Schechter
from mergerexp.config.sample_schema import SampleConfig
from mergerexp.populations.colours import ColourTest
from mergerexp.populations.functions import MassFunction
from mergerexp.populations.galaxies import Galaxies
from mergerexp.populations.gather import Gathered
from mergerexp.populations.kinds import CLASSIFIED, Chances, Kind, is_usual
from mergerexp.populations.published import PublishedComparison
from mergerexp.report.texts import published


@dataclass
class Sample:
    """All numbers of a sample.

    Attributes
    ----------
    cfg
        The settings.
    gathered
        The galaxies.
    prevalence
        The fraction of mergers that p_prior refers to; None where not known.
    calibrated_at
        The one that p_calibrated refers to.
    kinds
        All galaxies, mergers by eye, and classified mergers, as far as they are there.
    variants
        Other ways to count classified mergers.
    sizes
        How many galaxies each kind has.
    functions
        The mass function of each kind and variant, by its name.
    limits
        The mass limit of each kind.
    grids
        The galaxies of each kind in cells of mass and colour: without and with the cut in mass of Fig. 12.
    colour_tests
        The tests of the colours of mergers against those by eye, and those of other galaxies.
    counts
        How many galaxies lie above each cut in p, apart for those that all networks rated.
    chances
        What corrects the classified mergers; None where it is not known.
    published
        The comparison with the ratings that somebody else has published; None if there are none.
    footprint
        How many galaxies are in each pixel of the sky; see `mergerexp.analysis.sky.pixels`.
    top, bottom, best
        The galaxies of Table 2, and those of the pictures.
    shown
        Some galaxies of each kind.
    is_absolute
        Whether densities are in h³ Mpc⁻³ dex⁻¹; otherwise they are relative to that of all galaxies.
    truth
        The true mass functions of a mock survey.
    notes
        Sentences on what could not be computed.
    """

    cfg: SampleConfig
    gathered: Gathered
    prevalence: float | None
    calibrated_at: float | None
    kinds: list[Kind]
    variants: list[Kind] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    functions: dict[str, MassFunction] = field(default_factory=dict)
    limits: dict[str, LimitFit] = field(default_factory=dict)
    grids: dict[str, tuple[ColourMassGrid, ColourMassGrid]] = field(default_factory=dict)
    colour_tests: list[ColourTest] = field(default_factory=list)
    counts: list[dict[str, Any]] = field(default_factory=list)
    chances: Chances | None = None
    top: Galaxies | None = None
    bottom: Galaxies | None = None
    best: Galaxies | None = None
    published: PublishedComparison | None = None
    footprint: NDArray[np.int64] | None = None
    shown: dict[str, Galaxies] = field(default_factory=dict)
    is_absolute: bool = True
    truth: dict[str, Schechter] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def published_functions(self) -> dict[str, Any]:
        """The published mass functions of the kinds that are here, which ours can be compared with.

        A mock survey has its truth in their place; relative densities, other cuts and other ways to count
        have none.
        """
        if not self.is_absolute or self.truth:
            return {}
        entries: dict[str, Any] = published()["mass_functions"]
        same_cut = self.cfg.cut == entries[CLASSIFIED]["cut"] and is_usual(self.cfg)
        return {
            name: entry
            for name, entry in entries.items()
            if name in self.functions and (name != CLASSIFIED or same_cut)
        }
