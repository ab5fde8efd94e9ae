"""Whether the colours of mergers are those of other mergers, and of galaxies that are none (Fig. 12)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from mergerexp.analysis.colour_mass import Comparison, compare_colours
from mergerexp.config.sample_schema import SampleConfig
from mergerexp.populations.galaxies import Galaxies
from mergerexp.populations.kinds import CLASSIFIED, VISUAL

REST = "others"  # galaxies that nobody takes for mergers


@dataclass(frozen=True)
class ColourTest:
    """The test of two kinds of galaxies in a bin of mass.

    Attributes
    ----------
    low, high
        The bin, log10(M/M☉): low < log M <= high.
    sample, other
        The names of the kinds.
    result
        What was found.
    """

    low: float
    high: float
    sample: str
    other: str
    result: Comparison


def compare_kinds(
    mergers: Galaxies, others: Galaxies, pairs: list[tuple[str, str]], cfg: SampleConfig
) -> list[ColourTest]:
    """Test each pair of kinds in each bin of mass.

    Parameters
    ----------
    mergers
        Mergers of any kind with colours.
    others
        Galaxies that are no mergers, with colours.
    pairs
        The names of the kinds that are compared; `REST` are the galaxies that are no mergers.
    cfg
        The settings.
    """
    tests = []
    for (sample, other), (low, high) in itertools.product(pairs, itertools.pairwise(cfg.mass_bins)):
        inside = _between(mergers, low, high)
        is_kind = {VISUAL: inside.visual, CLASSIFIED: inside.p > cfg.cut}
        if other == REST:  # which have no galaxy in common
            mine, theirs = inside.colour[is_kind[sample]], _between(others, low, high).colour
            first = np.repeat([True, False], [len(mine), len(theirs)])
            colours = np.concatenate([mine, theirs])
            result = compare_colours(colours, first, ~first, seed=cfg.seed, permutations=0)
        else:
            result = compare_colours(
                inside.colour, is_kind[sample], is_kind[other], seed=cfg.seed, permutations=cfg.permutations
            )
        tests.append(ColourTest(low, high, sample, other, result))
    return tests


def _between(galaxies: Galaxies, low: float, high: float) -> Galaxies:
    return galaxies.take((galaxies.log_mass > low) & (galaxies.log_mass <= high))
