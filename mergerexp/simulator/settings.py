"""What can be set about the simulator."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mergerexp.settings import setting


@dataclass(kw_only=True)
class SimulatorSettings:
    """All that decides the content of a simulated data set, besides the size of its images.

    Each field's meaning and bounds are declared with it.
    """

    n_mergers: int = setting("number of images of mergers", 8, 10_000_000)
    n_noninteracting: int = setting("number of images of non-interacting galaxies", 8, 10_000_000)
    seed: int = setting("seed of all random draws", 0, 2**31 - 1)
    views_per_encounter: int = setting(
        "images of one encounter at other times, from other sides and distances; they stay in one fold", 1, 64
    )
    n_particles: int = setting("test particles of each disc", 500, 1_000_000)
    stamp_width: float = setting(
        "side of a stamp, before its scatter", 2.0, 30.0, unit="Petrosian radii of the centred galaxy"
    )
    as_min: float = setting("noise-free shape asymmetry that a merger must reach", 0.0, 1.0)
    hard: float = setting("chance, at each try, to keep a merger that does not reach as_min", 0.0, 1.0)
    stages: list[float] = setting("fractions of mergers on approach, at first passage and late", 0.0, 1.0)
    p_proj: float = setting("fraction of chance projections among the non-interacting", 0.0, 1.0)
    p_star: float = setting("chance of a bright star in front of a galaxy of either class", 0.0, 1.0)
    depth: float = setting("sky noise", 0.1, 10.0, unit="units of SDSS's")
    variety: float = setting(
        "how far scale, seeing, depth, stretch, colours, background and JPEG quality vary around those of "
        "SDSS; 0: not at all, 1: as far as surveys differ",
        0.0,
        2.0,
    )
    label_noise: float = setting("fraction of labels that are flipped", 0.0, 0.49)

    def problem(self) -> str | None:
        """Say which setting makes no sense beside its bounds, and why; None if all do."""
        sums_to_one = math.isclose(sum(self.stages), 1.0, abs_tol=1e-6)
        if len(self.stages) == 3 and min(self.stages) >= 0 and sums_to_one:
            return None
        return f"stages={self.stages}: three fractions that sum to 1 are needed"
