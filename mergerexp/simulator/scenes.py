"""What is simulated: galaxies alone, chance projections, star overlaps, and encounters.

All randomness of a galaxy or of an encounter comes from its own stream, so that nothing depends on how
the work is cut up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mergerexp.simulator.discs import random_rotation, sample_disc
from mergerexp.simulator.dynamics import Snapshot, lone_snapshot
from mergerexp.simulator.encounters import STAGES, Encounter, simulate_encounter
from mergerexp.simulator.galaxies import Galaxy, Placement, draw_galaxy, place
from mergerexp.simulator.particles import Activity
from mergerexp.simulator.photometry import Floats
from mergerexp.simulator.settings import SimulatorSettings
from mergerexp.simulator.stamps import (
    Stamp,
    draw_galaxies,
    shape_asymmetry,
    take_picture,
)

# A slot is tried on several views of two snapshots, then on the next encounter of its block.
SNAPSHOTS_PER_SLOT = 2
VIEWS_PER_SNAPSHOT = 3
MAX_ENCOUNTERS = 8
ORIENTATIONS = 8
P_PRIMARY = 0.75
# Tides wipe out the arms and bar that a disc had before on this many time steps.
ORDER_STEPS = 40.0
# A companion farther than this fraction of the side from the centre is out of the picture.
IN_FRAME = 0.42


@dataclass(frozen=True)
class Sighting:
    """One simulated picture.

    Attributes
    ----------
    image
        uint8, shape (size, size, 3).
    facts
        Columns of the catalogue that describe it.
    encounter
        Which encounter of its block it shows; 0 for a galaxy alone.
    """

    image: NDArray[np.uint8]
    facts: dict[str, Any]
    encounter: int = 0


def _facts(kind: str, stamp: Stamp, at: Placement, asymmetry: float, **encounter: float) -> dict[str, Any]:
    """Columns that describe a picture; those of an encounter are NaN where there is none."""
    return {
        "kind": kind,
        "redshift": at.redshift,
        "mag_r": at.magnitude,
        "shape_asymmetry": asymmetry,
        "time_gyr": encounter.get("time", float("nan")),
        "mass_ratio": encounter.get("mass_ratio", float("nan")),
        "pixel_arcsec": stamp.pixel,
    }


def _lone(rng: np.random.Generator, galaxy: Galaxy, particles: int) -> Snapshot:
    count = 0 if galaxy.early else particles
    turn = np.eye(3)
    return lone_snapshot(sample_disc(rng, count, galaxy.disc_scale, galaxy.halo, turn))


def noninteracting(rng: np.random.Generator, settings: SimulatorSettings, size: int) -> Sighting:
    """Simulate a galaxy alone, or with an unrelated galaxy or a star in front of or behind it.

    Parameters
    ----------
    rng
        The galaxy's own random stream.
    settings
        Settings of the data set.
    size
        Side of the image in pixels.
    """
    galaxy = draw_galaxy(rng)
    at = place(rng, galaxy.luminosity)
    kind = str(rng.choice(["iso", "proj", "star"], p=_shares(settings)))
    other = _draw_unrelated(rng, at) if kind == "proj" else None
    seen = [at] if other is None else [at, other[1]]
    stamp = Stamp.around(rng, galaxy, seen, settings.stamp_width, size)
    image = draw_galaxies(
        stamp,
        _lone(rng, galaxy, settings.n_particles),
        [galaxy],
        [at],
        view=random_rotation(rng),
        origin=np.zeros(3),
    )
    if other is not None:
        image += _draw_projection(rng, settings, stamp, *other)
    star_at = _star_distance(rng, stamp) if kind == "star" else None
    asymmetry = shape_asymmetry(image, stamp.pixel, settings.depth)
    picture = take_picture(rng, image, stamp, settings.depth, star_at)
    return Sighting(picture, _facts(kind, stamp, at, asymmetry))


def _shares(settings: SimulatorSettings) -> list[float]:
    projected = settings.p_proj
    starred = min(settings.p_star, 1 - projected)
    return [1 - projected - starred, projected, starred]


def _draw_unrelated(rng: np.random.Generator, at: Placement) -> tuple[Galaxy, Placement]:
    """Draw a galaxy at its own redshift, no more than 2.2 mag fainter than the one it is seen beside."""
    other = draw_galaxy(rng)
    return other, place(rng, other.luminosity, limit=at.magnitude + 2.2, z_max=0.25)


def _draw_projection(
    rng: np.random.Generator, settings: SimulatorSettings, stamp: Stamp, other: Galaxy, there: Placement
) -> Floats:
    """Draw the unrelated galaxy near the centre of a stamp, evenly in area."""
    side = stamp.size * stamp.pixel / there.scale
    distance, angle = np.sqrt(rng.random()) * 0.36 * side, rng.uniform(0, 2 * np.pi)
    view = random_rotation(rng)
    origin = -(np.array([np.cos(angle), np.sin(angle), 0.0]) * distance) @ view
    snapshot = _lone(rng, other, max(settings.n_particles // 2, 1))
    return draw_galaxies(stamp, snapshot, [other], [there], view=view, origin=origin)


def _star_distance(rng: np.random.Generator, stamp: Stamp) -> float:
    """Draw how far (arcsec) from the centre a star lies that overlaps the galaxy."""
    return rng.uniform(0.0, 0.25) * stamp.size * stamp.pixel


@dataclass
class _Slot:
    """One image to be made of a block, and the best try so far."""

    stages: list[tuple[str, float]]
    done: bool = False
    best: _Try | None = field(default=None)


@dataclass(frozen=True)
class _Try:
    image: Floats
    stamp: Stamp
    facts: dict[str, Any]
    encounter: int


def _draw_slots(rng: np.random.Generator, settings: SimulatorSettings) -> list[_Slot]:
    shares = np.array(settings.stages) / sum(settings.stages)
    slots = []
    for _ in range(settings.views_per_encounter):
        stage = str(rng.choice(list(STAGES), p=shares))
        slots.append(_Slot([(stage, float(rng.random())) for _ in range(SNAPSHOTS_PER_SLOT)]))
    return slots


def mergers(
    rng: np.random.Generator, settings: SimulatorSettings, size: int, count: int
) -> Iterator[Sighting]:
    """Make the images of one block: normally all of one encounter.

    A slot (image) whose merger does not show tries other views; then the block's next encounter, up to
    `MAX_ENCOUNTERS`; then the most asymmetric try stands.

    Parameters
    ----------
    rng
        The block's own random stream.
    settings
        Settings of the data set.
    size
        Side of the image in pixels.
    count
        How many of the block's slots to return, at most ``views_per_encounter``.
    """
    # All slots are worked on, even if fewer are returned: each has the same draws whatever the count.
    slots = _draw_slots(rng, settings)
    for number in range(MAX_ENCOUNTERS):
        waiting = [slot for slot in slots if not slot.done]
        if not waiting:
            break
        encounter, steps = simulate_encounter(rng, settings, [slot.stages for slot in waiting])
        for slot, candidates in zip(waiting, steps, strict=True):
            _fill(rng, settings, size, slot, encounter, candidates, number)
    for slot in slots[:count]:
        assert slot.best is not None
        best = slot.best
        # As often as among the others, lest a bright star tell that a galaxy is no merger.
        star_at = _star_distance(rng, best.stamp) if rng.random() < settings.p_star else None
        picture = take_picture(rng, best.image, best.stamp, settings.depth, star_at)
        yield Sighting(picture, best.facts, best.encounter)


def _fill(
    rng: np.random.Generator,
    settings: SimulatorSettings,
    size: int,
    slot: _Slot,
    encounter: Encounter,
    steps: list[int],
    number: int,
) -> None:
    """Try views of an encounter until one is accepted; remember the best."""
    for k in range(VIEWS_PER_SNAPSHOT * len(steps)):
        which = k % len(steps)
        attempt = _try_view(rng, settings, size, encounter, steps[which], slot.stages[which][0])
        asymmetry = attempt.facts["shape_asymmetry"]
        accepted = asymmetry > settings.as_min or rng.random() < settings.hard
        if accepted or slot.best is None or asymmetry > slot.best.facts["shape_asymmetry"]:
            slot.best = replace(attempt, encounter=number)
        if accepted:
            slot.done = True
            return


def _try_view(
    rng: np.random.Generator,
    settings: SimulatorSettings,
    size: int,
    encounter: Encounter,
    step: int,
    stage: str,
) -> _Try:
    """Draw side, distance and centred galaxy of one view, and render it without noise."""
    snapshot, galaxies = encounter.snapshots[step], encounter.galaxies
    # The survey's magnitude of such a pair is that of both; so no class is the brighter one.
    together = galaxies[0].luminosity + galaxies[1].luminosity
    at = place(rng, together)
    placements = (
        _member(at, galaxies[0].luminosity / together, 0.0),
        _member(at, galaxies[1].luminosity / together, rng.normal(0, 0.3)),
    )
    for _ in range(ORIENTATIONS):
        target = 0 if encounter.radial or rng.random() < P_PRIMARY else 1
        seen = [placements[target], placements[1 - target]]
        stamp = Stamp.around(rng, galaxies[target], seen, settings.stamp_width, size)
        view = random_rotation(rng)
        apart = np.linalg.norm((view @ (snapshot.nuclei[1] - snapshot.nuclei[0]))[:2]) * at.scale
        if apart < IN_FRAME * size * stamp.pixel:
            break
    image = draw_galaxies(
        stamp,
        snapshot,
        galaxies,
        placements,
        view=view,
        origin=snapshot.nuclei[target],
        activities=_activities(rng, step),
    )
    asymmetry = shape_asymmetry(image, stamp.pixel, settings.depth)
    facts = _facts(
        stage, stamp, placements[target], asymmetry, time=snapshot.time, mass_ratio=encounter.mass_ratio
    )
    return _Try(image, stamp, facts, 0)


def _member(pair: Placement, share: float, scatter: float) -> Placement:
    """Place one galaxy of a pair that was placed as a whole; ``scatter`` is in magnitudes."""
    return replace(pair, magnitude=pair.magnitude - 2.5 * float(np.log10(share)) + scatter)


def _activities(rng: np.random.Generator, step: int) -> tuple[Activity, Activity]:
    """Draw how an encounter acts on the light: young stars, glow, fading arms; none before pericentre."""
    turns = rng.uniform(0, 2 * np.pi, 2)
    if step < 0:
        return Activity(turn=float(turns[0])), Activity(turn=float(turns[1]))
    bursts = rng.uniform(1.0, 2.0, 2)
    glows = rng.choice([0.0, 0.0, 0.03, 0.08], 2)
    order = float(np.exp(-step / ORDER_STEPS))
    return (
        Activity(float(bursts[0]), float(glows[0]), float(turns[0]), order),
        Activity(float(bursts[1]), float(glows[1]), float(turns[1]), order),
    )
