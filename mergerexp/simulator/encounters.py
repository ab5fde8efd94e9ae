"""Encounters of two galaxies: who meets whom, on which orbit, seen when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mergerexp.simulator import dynamics
from mergerexp.simulator.discs import random_rotation, sample_disc
from mergerexp.simulator.dynamics import Snapshot
from mergerexp.simulator.galaxies import Galaxy, draw_galaxy, draw_luminosity
from mergerexp.simulator.settings import SimulatorSettings

# Time steps from pericentre at which each stage is seen.
STAGES = {"approach": (-26, -4), "first_passage": (8, 70), "late": (70, 190)}
# A radial plunge needs longer for its shells.
SHELL_LATE = (90, 260)
P_RADIAL = 0.15


@dataclass(frozen=True)
class Encounter:
    """Two galaxies and the time steps at which they are seen."""

    galaxies: tuple[Galaxy, Galaxy]
    snapshots: dict[int, Snapshot]
    radial: bool

    @property
    def mass_ratio(self) -> float:
        """Mass of the companion over that of the primary."""
        first, second = self.galaxies
        return second.halo.mass / first.halo.mass


def _draw_pair(rng: np.random.Generator, radial: bool) -> tuple[Galaxy, Galaxy]:
    luminosity = draw_luminosity(rng)
    if radial:
        # Shells: a disc of low mass that plunges through a spheroid.
        ratio = 10 ** rng.uniform(-0.8, -0.3)
        first = draw_galaxy(rng, max(luminosity, 0.4), early=True)
        return first, draw_galaxy(rng, first.luminosity * ratio, early=False)
    first = draw_galaxy(rng, luminosity)
    second = draw_galaxy(rng, luminosity * 10 ** rng.uniform(-0.5, 0.0))
    # Two ellipticals leave no tidal features that this method could follow: keep few such pairs.
    if first.early and second.early and rng.random() < 0.8:
        second = draw_galaxy(rng, second.luminosity, early=False)
    return first, second


def simulate_encounter(
    rng: np.random.Generator, settings: SimulatorSettings, stages: list[list[tuple[str, float]]]
) -> tuple[Encounter, list[list[int]]]:
    """Draw and integrate one encounter.

    Parameters
    ----------
    rng
        Random stream.
    settings
        Settings of the data set.
    stages
        For each slot its candidate snapshots: stage and position (0 to 1) within the stage.

    Returns
    -------
    encounter
        The encounter with the snapshots of all candidates.
    steps
        For each slot the time steps of its candidates.
    """
    radial = bool(rng.random() < P_RADIAL)
    galaxies = _draw_pair(rng, radial)
    haloes = (galaxies[0].halo, galaxies[1].halo)
    pericentre, start = _draw_orbit(rng, galaxies, radial)
    steps = [[_step(stage, where, radial) for stage, where in slot] for slot in stages]
    wanted = [step for slot in steps for step in slot]
    orbit = dynamics.two_body_orbit(haloes, pericentre, start, max(0, *wanted) + 1, radial=radial)
    first, second = (
        sample_disc(
            rng,
            0 if galaxy.early else settings.n_particles,
            galaxy.disc_scale,
            galaxy.halo,
            random_rotation(rng),
        )
        for galaxy in galaxies
    )
    snapshots = dynamics.follow_discs(orbit, haloes, (first, second), wanted)
    return Encounter(galaxies, snapshots, radial), steps


def _draw_orbit(
    rng: np.random.Generator, galaxies: tuple[Galaxy, Galaxy], radial: bool
) -> tuple[float, float]:
    """Draw pericentre and initial distance in kpc."""
    first = galaxies[0]
    if radial:
        # It falls from within a few half-light radii: only then do its shells stay in the picture.
        return first.bulge_radius * rng.uniform(0.03, 0.2), first.bulge_radius * rng.uniform(3.0, 5.5)
    pericentre = first.disc_scale * 10 ** rng.uniform(-0.4, 0.45)
    return pericentre, 6.5 * max(g.disc_scale for g in galaxies) + 2 * pericentre


def _step(stage: str, where: float, radial: bool) -> int:
    low, high = SHELL_LATE if radial and stage == "late" else STAGES[stage]
    return int(low + where * (high - low))
