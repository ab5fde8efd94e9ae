"""Pictures of single galaxies, chance projections, overlaps with stars, and encounters.

Each galaxy and each block of encounters has a stream of random numbers of its own, so that the pictures do
not depend on how the work is divided.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mergerexp.simulator.cameras import Camera, draw_camera
from mergerexp.simulator.discs import random_rotation
from mergerexp.simulator.dynamics import Snapshot, lone_snapshot
from mergerexp.simulator.encounters import (
    STAGES,
    Encounter,
    Moment,
    draw_disc,
    simulate_encounter,
    time_step,
)
from mergerexp.simulator.galaxies import Galaxy, Placement, draw_galaxy, place
from mergerexp.simulator.particles import Activity
from mergerexp.simulator.photometry import Floats
from mergerexp.simulator.settings import SimulatorSettings
from mergerexp.simulator.stamps import Stamp, draw_galaxies, draw_stamp, shape_asymmetry, take_picture

# For each image, several views of two snapshots are tried, and then the next encounter of its block.
SNAPSHOTS_PER_SLOT = 2
VIEWS_PER_SNAPSHOT = 3
MAX_ENCOUNTERS = 8
ORIENTATIONS = 8
P_PRIMARY = 0.75
# The number of time steps on which tides destroy the arms and the bar of a disc.
ORDER_STEPS = 40.0
# A companion farther than this fraction of the side from the centre is out of the picture.
IN_FRAME = 0.42


@dataclass(frozen=True)
class Sighting:
    """One simulated picture.

    Attributes
    ----------
    image
        The picture, uint8, shape (size, size, 3).
    facts
        The columns of the catalogue that describe the picture.
    encounter
        The number of the encounter in its block; 0 for a single galaxy.
    """

    image: NDArray[np.uint8]
    facts: dict[str, Any]
    encounter: int = 0


def _facts(kind: str, stamp: Stamp, at: Placement, asymmetry: float, **encounter: float) -> dict[str, Any]:
    """Return the columns that describe a picture, where those of an encounter are NaN if there is none."""
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
    return lone_snapshot(draw_disc(rng, galaxy, particles, np.eye(3)))


def noninteracting(rng: np.random.Generator, settings: SimulatorSettings, size: int) -> Sighting:
    """Simulate a galaxy that is alone, or has an unrelated galaxy or a star in front of it or behind it.

    Parameters
    ----------
    rng
        The generator of random numbers, which only this galaxy uses.
    settings
        The settings of the data set.
    size
        The side of the image in pixels.
    """
    camera = draw_camera(rng, settings.variety)
    galaxy = draw_galaxy(rng)
    at = place(rng, galaxy.luminosity)
    starred = min(settings.p_star, 1 - settings.p_proj)
    shares = [1 - settings.p_proj - starred, settings.p_proj, starred]
    kind = str(rng.choice(["iso", "proj", "star"], p=shares))
    other = _draw_unrelated(rng, at) if kind == "proj" else None
    seen = [at] if other is None else [at, other[1]]
    stamp = draw_stamp(rng, galaxy, seen, settings.stamp_width, size, camera)
    alone, view = _lone(rng, galaxy, settings.n_particles), random_rotation(rng)
    image = draw_galaxies(stamp, alone, [galaxy], [at], view=view, origin=np.zeros(3))
    if other is not None:
        image += _draw_projection(rng, settings, stamp, *other)
    star_at = _star_distance(rng, stamp) if kind == "star" else None
    asymmetry = shape_asymmetry(image, stamp.pixel, settings.depth)
    picture = take_picture(rng, image, stamp, settings.depth, star_at, camera)
    return Sighting(picture, _facts(kind, stamp, at, asymmetry))


def _draw_unrelated(rng: np.random.Generator, at: Placement) -> tuple[Galaxy, Placement]:
    """Draw a galaxy at another redshift, at most 2.2 mag fainter than the one that it is seen beside."""
    other = draw_galaxy(rng)
    return other, place(rng, other.luminosity, limit=at.magnitude + 2.2, z_max=0.25)


def _draw_projection(
    rng: np.random.Generator, settings: SimulatorSettings, stamp: Stamp, other: Galaxy, there: Placement
) -> Floats:
    """Draw an unrelated galaxy near the centre of a stamp, with a uniform distribution in area."""
    side = stamp.size * stamp.pixel / there.scale
    distance, angle = np.sqrt(rng.random()) * 0.36 * side, rng.uniform(0, 2 * np.pi)
    view = random_rotation(rng)
    origin = -(np.array([np.cos(angle), np.sin(angle), 0.0]) * distance) @ view
    snapshot = _lone(rng, other, max(settings.n_particles // 2, 1))
    return draw_galaxies(stamp, snapshot, [other], [there], view=view, origin=origin)


def _star_distance(rng: np.random.Generator, stamp: Stamp) -> float:
    """Draw the distance (arcsec) from the centre of a star that overlaps the galaxy."""
    return rng.uniform(0.0, 0.25) * stamp.size * stamp.pixel


@dataclass
class _Slot:
    """An image of a block that is to be made, its camera, and the best attempt so far."""

    moments: list[Moment]
    camera: Camera
    done: bool = False
    best: _Attempt | None = None


@dataclass(frozen=True)
class _Attempt:
    """A view of an encounter, without noise, and the facts about it."""

    image: Floats
    stamp: Stamp
    facts: dict[str, Any]
    encounter: int


def _draw_slots(rng: np.random.Generator, settings: SimulatorSettings) -> list[_Slot]:
    shares = np.array(settings.stages) / sum(settings.stages)
    slots = []
    for _ in range(settings.views_per_encounter):
        stage = str(rng.choice(list(STAGES), p=shares))
        moments = [(stage, float(rng.random())) for _ in range(SNAPSHOTS_PER_SLOT)]
        slots.append(_Slot(moments, draw_camera(rng, settings.variety)))
    return slots


def mergers(
    rng: np.random.Generator, settings: SimulatorSettings, size: int, count: int
) -> Iterator[Sighting]:
    """Make the images of one block, which normally show the same encounter.

    If the merger does not show in an image, other views are tried, and then further encounters, up to
    `MAX_ENCOUNTERS`; if it shows in none of them, the most asymmetric image is taken.

    Parameters
    ----------
    rng
        The generator of random numbers, which only this block uses.
    settings
        The settings of the data set.
    size
        The side of the image in pixels.
    count
        The number of images to return, at most ``views_per_encounter``.

    Yields
    ------
    Sighting
        Each image with the facts about it.
    """
    # All images are made, even if fewer are returned, so that the draws do not depend on the count.
    slots = _draw_slots(rng, settings)
    for number in range(MAX_ENCOUNTERS):
        waiting = [slot for slot in slots if not slot.done]
        if not waiting:
            break
        moments = [moment for slot in waiting for moment in slot.moments]
        encounter = simulate_encounter(rng, settings, moments, number)
        for slot in waiting:
            _fill(rng, settings, size, slot, encounter)
    for slot in slots[:count]:
        assert slot.best is not None
        best = slot.best
        # A bright star is as frequent as among the other class, so that it does not reveal the class.
        star_at = _star_distance(rng, best.stamp) if rng.random() < settings.p_star else None
        picture = take_picture(rng, best.image, best.stamp, settings.depth, star_at, slot.camera)
        yield Sighting(picture, best.facts, best.encounter)


def _fill(
    rng: np.random.Generator, settings: SimulatorSettings, size: int, slot: _Slot, encounter: Encounter
) -> None:
    """Try views of an encounter until one is accepted, and keep the best."""
    for moment in VIEWS_PER_SNAPSHOT * slot.moments:
        attempt = _try_view(rng, settings, size, encounter, moment, slot.camera)
        asymmetry = attempt.facts["shape_asymmetry"]
        accepted = asymmetry > settings.as_min or rng.random() < settings.hard
        if accepted or slot.best is None or asymmetry > slot.best.facts["shape_asymmetry"]:
            slot.best = attempt
        if accepted:
            slot.done = True
            return


def _try_view(
    rng: np.random.Generator,
    settings: SimulatorSettings,
    size: int,
    encounter: Encounter,
    moment: Moment,
    camera: Camera,
) -> _Attempt:
    """Draw the orientation, the redshift and the centred galaxy of a view, and render it without noise."""
    step = time_step(moment, encounter.radial)
    snapshot, galaxies = encounter.snapshots[step], encounter.galaxies
    # The survey's magnitude of such a pair is that of both galaxies, so that no class is the brighter one.
    together = galaxies[0].luminosity + galaxies[1].luminosity
    at = place(rng, together)
    placements = (
        _member(at, galaxies[0].luminosity / together, 0.0),
        _member(at, galaxies[1].luminosity / together, rng.normal(0, 0.3)),
    )
    for _ in range(ORIENTATIONS):
        target = 0 if encounter.radial or rng.random() < P_PRIMARY else 1
        seen = [placements[target], placements[1 - target]]
        stamp = draw_stamp(rng, galaxies[target], seen, settings.stamp_width, size, camera)
        view = random_rotation(rng)
        apart = np.linalg.norm((view @ (snapshot.nuclei[1] - snapshot.nuclei[0]))[:2]) * at.scale
        if apart < IN_FRAME * size * stamp.pixel:
            break
    origin, activities = snapshot.nuclei[target], _activities(rng, step)
    image = draw_galaxies(
        stamp, snapshot, galaxies, placements, view=view, origin=origin, activities=activities
    )
    asymmetry = shape_asymmetry(image, stamp.pixel, settings.depth)
    ratio = galaxies[1].halo.mass / galaxies[0].halo.mass
    facts = _facts(moment[0], stamp, seen[0], asymmetry, time=snapshot.time, mass_ratio=ratio)
    return _Attempt(image, stamp, facts, encounter.number)


def _member(pair: Placement, share: float, scatter: float) -> Placement:
    """Return the placement of one galaxy of a pair, with a scatter in magnitudes."""
    return replace(pair, magnitude=pair.magnitude - 2.5 * float(np.log10(share)) + scatter)


def _activities(rng: np.random.Generator, step: int) -> list[Activity]:
    """Draw the effects of an encounter on the light of both galaxies, which begin at pericentre."""
    turns = rng.uniform(0, 2 * np.pi, 2)
    if step < 0:
        return [Activity(turn=float(turn)) for turn in turns]
    bursts = rng.uniform(1.0, 2.0, 2)
    glows = rng.choice([0.0, 0.0, 0.03, 0.08], 2)
    order = float(np.exp(-step / ORDER_STEPS))
    return [Activity(b, g, t, order) for b, g, t in np.stack([bursts, glows, turns], axis=1).tolist()]
