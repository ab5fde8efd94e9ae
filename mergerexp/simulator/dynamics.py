"""Restricted three-body encounters of disc galaxies (Toomre & Toomre 1972, ApJ 178, 623).

Two rigid haloes of Hernquist (1990, ApJ 356, 359) move on a near-parabolic orbit and lose energy to
dynamical friction (Chandrasekhar 1943, ApJ 97, 255); massless particles on circular orbits form the
discs. Bridges, tails and, after a radial plunge, shells result from the tides alone.

The units are kpc, km/s and 1e10 solar masses, so that the unit of time is kpc/(km/s) = 0.978 Gyr.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mergerexp.simulator.discs import Disc, Floats, G, Halo

GYR_PER_TIME_UNIT = 0.97779
TIME_STEP = 0.0035
COULOMB_LOGARITHM = 0.8
CUSP_SHIFT = 0.3  # in scale radii
FASTEST_DRAG = 0.3  # largest part of the speed lost in one step, so that friction never overshoots
SOFTENING = 0.1
# Friction also acts on the disc that is bound to a nucleus; it fades beyond this many scale lengths.
FRICTION_REACH = 4.0
# The time (in time units) on which a stripped companion dissolves after its first pericentre.
STRIPPING_TIME = 0.05
MAX_APPROACH_STEPS = 3000


@dataclass(frozen=True)
class Snapshot:
    """Particles and nuclei of one or two galaxies at one time.

    Attributes
    ----------
    time
        The time since pericentre in Gyr; NaN for a galaxy that is alone.
    positions
        The position of each particle in kpc, float32, shape (3, n).
    age
        The rank of each particle in age (see `Disc`), float32, shape (n,).
    owner
        The galaxy, 0 or 1, that each particle belonged to at the start, int8, shape (n,).
    nuclei
        The position of each nucleus in kpc, float64, shape (k, 3).
    axes
        The axes of each disc (see `Disc`) at the start, float64, shape (k, 3, 3).
    """

    time: float
    positions: Floats
    age: Floats
    owner: NDArray[np.int8]
    nuclei: NDArray[np.float64]
    axes: NDArray[np.float64]


@dataclass(frozen=True)
class Orbit:
    """The path of the two nuclei, sampled at every time step.

    Attributes
    ----------
    positions
        The position of each nucleus in kpc, float64, shape (steps, 2, 3).
    velocities
        The velocity of each nucleus in km/s, float64, shape (steps, 2, 3).
    friction
        The part of the acceleration of each nucleus that is due to friction, float64, shape (steps, 2, 3).
    survival
        The fraction of the second halo's mass that is still bound to it, float64, shape (steps,).
    pericentre
        The step of the first pericentre.
    """

    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]
    friction: NDArray[np.float64]
    survival: NDArray[np.float64]
    pericentre: int


def two_body_orbit(
    haloes: tuple[Halo, Halo],
    pericentre: float,
    start: float,
    steps_after: int,
    *,
    friction: float = COULOMB_LOGARITHM,
    radial: bool = False,
) -> Orbit:
    """Follow two nuclei past their first pericentre.

    The haloes attract each other with the central force ``G M1 M2 / (r + a)^2``, where a is their mean scale
    radius. Without friction, energy and angular momentum are therefore conserved, and the distance at
    pericentre is the one given. The orbit lies in the x-y plane.

    Parameters
    ----------
    haloes
        The two haloes.
    pericentre
        The distance of closest approach in kpc that the nuclei would have without friction.
    start
        The distance at the start in kpc.
    steps_after
        The number of time steps to follow after pericentre.
    friction
        The Coulomb logarithm of the friction; 0 switches it off.
    radial
        False for a parabolic orbit. True for a companion that falls from rest (apart from the motion that
        makes it miss by ``pericentre``) and whose halo dissolves after pericentre, so that its stars form
        shells.
    """
    first, second = haloes
    total, scale = first.mass + second.mass, 0.5 * (first.scale + second.scale)
    # Complex numbers stand for vectors in the orbital plane; plain floats are fastest for one body.
    inward, tangential = _start_velocity(total, scale, pericentre, start, radial)
    separation, speed = complex(start, 0.0), complex(-inward, tangential)
    x = [separation * second.mass / total, -separation * first.mass / total]
    v = [speed * second.mass / total, -speed * first.mass / total]
    force = _forces(x, v, haloes, friction)
    path = [(*x, *v, *force[2:])]
    turned: int | None = None
    while turned is None or len(path) <= turned + steps_after:
        v = [v[k] + 0.5 * TIME_STEP * force[k] for k in (0, 1)]
        apart = abs(x[0] - x[1])
        x = [x[k] + TIME_STEP * v[k] for k in (0, 1)]
        force = _forces(x, v, haloes, friction)
        v = [v[k] + 0.5 * TIME_STEP * force[k] for k in (0, 1)]
        path.append((*x, *v, *force[2:]))
        if turned is None and (abs(x[0] - x[1]) > apart or len(path) > MAX_APPROACH_STEPS):
            turned = len(path) - 2
    return _tabulate(np.array(path), turned, radial)


def _forces(
    x: list[complex], v: list[complex], haloes: tuple[Halo, Halo], friction: float
) -> tuple[complex, complex, complex, complex]:
    """Return the accelerations of both nuclei, and then the part of each that is due to friction."""
    first, second = haloes
    d, w = x[0] - x[1], v[0] - v[1]
    r = abs(d) + 1e-3
    pull = -G / (r + 0.5 * (first.scale + second.scale)) ** 2 * d / r
    drag0 = -friction * _drag(first.mass, second, r, abs(w)) * w
    drag1 = friction * _drag(second.mass, first, r, abs(w)) * w
    return pull * second.mass + drag0, -pull * first.mass + drag1, drag0, drag1


def _start_velocity(
    mass: float, scale: float, pericentre: float, start: float, radial: bool
) -> tuple[float, float]:
    """Return the inward and the tangential relative speed at ``start`` that lead to ``pericentre``."""
    escape = math.sqrt(2 * G * mass / (start + scale))
    escape_within = math.sqrt(2 * G * mass / (pericentre + scale))
    if radial:  # start is the orbit's apocentre
        gained = (escape_within**2 - escape**2) / (start**2 - pericentre**2)
        return 0.0, pericentre * math.sqrt(gained)
    tangential = pericentre * escape_within / start
    return math.sqrt(max(escape**2 - tangential**2, 1.0)), tangential


def _drag(mass: float, through: Halo, radius: float, speed: float) -> float:
    """Return the rate, per time unit and Coulomb logarithm, at which friction slows a mass within a halo.

    This is Chandrasekhar's formula for Maxwellian background velocities with a dispersion of v_c / sqrt(2).
    """
    # The density is taken a little farther out, since a nucleus is not a point, and the cusp would stop it.
    radius += CUSP_SHIFT * through.scale
    x = speed / float(through.circular_velocity(radius))
    slower = math.erf(x) - 2 * x / math.sqrt(math.pi) * math.exp(-x * x)
    rate = 4 * math.pi * G**2 * mass * through.density(radius) * slower / max(speed, 1e-3) ** 3
    return min(rate, FASTEST_DRAG / TIME_STEP)


def _tabulate(path: NDArray[np.complex128], pericentre: int, radial: bool) -> Orbit:
    vectors = np.zeros((len(path), 6, 3))
    vectors[..., 0], vectors[..., 1] = path.real, path.imag
    elapsed = np.maximum(np.arange(len(path)) - pericentre, 0) * TIME_STEP
    survival = np.exp(-elapsed / STRIPPING_TIME) if radial else np.ones(len(path))
    return Orbit(vectors[:, 0:2], vectors[:, 2:4], vectors[:, 4:6], survival, pericentre)


def follow_discs(
    orbit: Orbit, haloes: tuple[Halo, Halo], discs: tuple[Disc, Disc], steps: Sequence[int]
) -> dict[int, Snapshot]:
    """Integrate both discs along the orbit with leapfrog steps, and keep some snapshots.

    Parameters
    ----------
    orbit
        The path of the two nuclei.
    haloes
        The halo of each nucleus.
    discs
        The disc of each nucleus.
    steps
        The time steps to keep, counted from pericentre; steps before the start of the orbit stand for its
        start.

    Returns
    -------
    dict
        The snapshot of each entry of ``steps``.
    """
    at = {step: max(0, orbit.pericentre + step) for step in steps}
    swarm = _Swarm(orbit, haloes, discs)
    kept: dict[int, Snapshot] = {}
    for k in range(max(at.values()) + 1):
        if k:
            swarm.advance(k)
        if k in at.values():
            kept[k] = swarm.snapshot(k)
    return {step: kept[k] for step, k in at.items()}


class _Swarm:
    """The particles of both discs, in float32, since the errors of 1e-7 in 200 steps remain invisible."""

    def __init__(self, orbit: Orbit, haloes: tuple[Halo, Halo], discs: tuple[Disc, Disc]) -> None:
        self.orbit, self.haloes, self.discs = orbit, haloes, discs
        counts = [len(disc.age) for disc in discs]
        self.parts = (slice(0, counts[0]), slice(counts[0], sum(counts)))
        self.owner = np.repeat(np.arange(2, dtype=np.int8), counts)
        at, moving = (path[0, :, :, None].astype(np.float32) for path in (orbit.positions, orbit.velocities))
        self.positions = np.concatenate([disc.positions + x for disc, x in zip(discs, at, strict=True)], 1)
        self.velocities = np.concatenate([d.velocities + v for d, v in zip(discs, moving, strict=True)], 1)
        self.acceleration = self._accelerations(0)

    def _accelerations(self, k: int) -> Floats:
        total = np.zeros_like(self.positions)
        for i, halo in enumerate(self.haloes):
            mass = halo.mass * (self.orbit.survival[k] if i else 1.0)
            offset = self.positions - self.orbit.positions[k, i].astype(np.float32)[:, None]
            square = np.einsum("ij,ij->j", offset, offset)
            r = np.sqrt(square + np.float32(SOFTENING**2))
            total += offset * (np.float32(-G * mass) / (r * (r + np.float32(halo.scale)) ** 2))
            # Friction acts on a disc only while it acts on its nucleus.
            drag = self.orbit.friction[k, i].astype(np.float32)
            if len(self.discs[i].age) and np.abs(drag).max() > 1.0:
                disc = self.parts[i]
                reach = np.float32((FRICTION_REACH * self.discs[i].scale_length) ** 2)
                total[:, disc] += drag[:, None] * np.exp(-square[disc] / reach)
        return total

    def advance(self, k: int) -> None:
        """Advance the particles from step k - 1 to step k by a kick, a drift and a kick."""
        half = np.float32(0.5 * TIME_STEP)
        self.velocities += half * self.acceleration
        self.positions += np.float32(TIME_STEP) * self.velocities
        self.acceleration = self._accelerations(k)
        self.velocities += half * self.acceleration

    def snapshot(self, k: int) -> Snapshot:
        """Return a copy of the state, which is that of step k."""
        return Snapshot(
            time=(k - self.orbit.pericentre) * TIME_STEP * GYR_PER_TIME_UNIT,
            positions=self.positions.copy(),
            age=np.concatenate([disc.age for disc in self.discs]),
            owner=self.owner,
            nuclei=self.orbit.positions[k].copy(),
            axes=np.stack([disc.axes for disc in self.discs]),
        )


def lone_snapshot(disc: Disc) -> Snapshot:
    """Return the snapshot of an undisturbed galaxy, with its nucleus at the origin."""
    return Snapshot(
        time=math.nan,
        positions=disc.positions,
        age=disc.age,
        owner=np.zeros(len(disc.age), dtype=np.int8),
        nuclei=np.zeros((1, 3)),
        axes=disc.axes[None],
    )
