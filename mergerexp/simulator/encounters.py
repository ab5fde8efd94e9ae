"""Encounters of two galaxies: the pair, its orbit, and the times at which it is seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mergerexp.simulator import dynamics
from mergerexp.simulator.discs import Disc, random_rotation, sample_disc
from mergerexp.simulator.dynamics import Snapshot
from mergerexp.simulator.galaxies import Galaxy, draw_galaxy, draw_luminosity
from mergerexp.simulator.settings import SimulatorSettings

# The first and the last time step of each stage, counted from pericentre.
STAGES = {"approach": (-26, -4), "first_passage": (8, 70), "late": (70, 190)}
# The late stage of a radial plunge, whose shells take longer to form.
SHELL_LATE = (90, 260)
P_RADIAL = 0.15

Moment = tuple[str, float]  # the stage, and the position (0 to 1) within the stage


@dataclass(frozen=True)
class Encounter:
    """Two galaxies and the snapshots of their encounter by time step from pericentre.

    Its number is that in its block.
    """

    number: int
    galaxies: tuple[Galaxy, Galaxy]
    snapshots: dict[int, Snapshot]
    radial: bool


def _draw_pair(rng: np.random.Generator, radial: bool) -> tuple[Galaxy, Galaxy]:
    luminosity = draw_luminosity(rng)
    if radial:
        # Shells form from a disc of low mass that plunges through a spheroid.
        ratio = 10 ** rng.uniform(-0.8, -0.3)
        first = draw_galaxy(rng, max(luminosity, 0.4), early=True)
        return first, draw_galaxy(rng, first.luminosity * ratio, early=False)
    first = draw_galaxy(rng, luminosity)
    second = draw_galaxy(rng, luminosity * 10 ** rng.uniform(-0.5, 0.0))
    # Only few pairs of two ellipticals are kept, as this method can't follow their tidal features.
    if first.early and second.early and rng.random() < 0.8:
        second = draw_galaxy(rng, second.luminosity, early=False)
    return first, second


def simulate_encounter(
    rng: np.random.Generator, settings: SimulatorSettings, moments: Iterable[Moment], number: int
) -> Encounter:
    """Draw and integrate one encounter.

    Parameters
    ----------
    rng
        The generator of random numbers.
    settings
        The settings of the data set.
    moments
        The moments of which snapshots are taken.
    number
        The number of the encounter in its block.
    """
    radial = bool(rng.random() < P_RADIAL)
    galaxies = _draw_pair(rng, radial)
    haloes = (galaxies[0].halo, galaxies[1].halo)
    pericentre, start = _draw_orbit(rng, galaxies, radial)
    wanted = [time_step(moment, radial) for moment in moments]
    orbit = dynamics.two_body_orbit(haloes, pericentre, start, max(0, *wanted) + 1, radial=radial)
    first, second = (draw_disc(rng, each, settings.n_particles, random_rotation(rng)) for each in galaxies)
    snapshots = dynamics.follow_discs(orbit, haloes, (first, second), wanted)
    return Encounter(number, galaxies, snapshots, radial)


def draw_disc(rng: np.random.Generator, galaxy: Galaxy, particles: int, turn: NDArray[np.float64]) -> Disc:
    """Draw the disc of a galaxy by `sample_disc`; that of an elliptical has no particles."""
    return sample_disc(rng, 0 if galaxy.early else particles, galaxy.disc_scale, galaxy.halo, turn)


def _draw_orbit(
    rng: np.random.Generator, galaxies: tuple[Galaxy, Galaxy], radial: bool
) -> tuple[float, float]:
    """Draw the distances at pericentre and at the start, both in kpc."""
    first = galaxies[0]
    if radial:
        # The companion falls from a few half-light radii, so that its shells stay in the picture.
        return first.bulge_radius * rng.uniform(0.03, 0.2), first.bulge_radius * rng.uniform(3.0, 5.5)
    pericentre = first.disc_scale * 10 ** rng.uniform(-0.4, 0.45)
    return pericentre, 6.5 * max(g.disc_scale for g in galaxies) + 2 * pericentre


def time_step(moment: Moment, radial: bool) -> int:
    """Return the time step of a moment of an encounter, counted from pericentre."""
    stage, where = moment
    low, high = SHELL_LATE if radial and stage == "late" else STAGES[stage]
    return int(low + where * (high - low))
