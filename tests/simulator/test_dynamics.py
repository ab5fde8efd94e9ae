"""Orbits and discs follow the laws that they are made from."""

from __future__ import annotations

import numpy as np
import pytest

from mergerexp.simulator.discs import G, Halo, random_rotation, sample_disc
from mergerexp.simulator.dynamics import (
    TIME_STEP,
    follow_discs,
    two_body_orbit,
)


def test_hernquist_halo_agrees_with_its_own_density():
    halo = Halo(mass=20.0, scale=10.0)
    radius = np.linspace(1e-4, 30, 300_001)
    density = np.array([halo.density(r) for r in radius[::100]])
    mass = np.trapezoid(4 * np.pi * radius[::100] ** 2 * density, radius[::100])
    for radius, enclosed in ((30.0, mass), (halo.scale, halo.mass / 4)):
        assert halo.circular_velocity(radius) ** 2 == pytest.approx(G * enclosed / radius, rel=1e-3)


@pytest.mark.parametrize("pericentre", [1.5, 4.0, 9.0])
@pytest.mark.parametrize("radial", [False, True])
def test_orbit_without_friction_conserves_energy_and_angular_momentum(pericentre, radial):
    haloes = (Halo(20.0, 10.0), Halo(8.0, 6.0))
    orbit = two_body_orbit(haloes, pericentre, 30.0, 60, friction=0.0, radial=radial)
    apart = orbit.positions[:, 0] - orbit.positions[:, 1]
    speed = orbit.velocities[:, 0] - orbit.velocities[:, 1]
    distance = np.linalg.norm(apart, axis=1)
    potential = G * 28.0 / (distance + 8.0)
    energy = 0.5 * (speed**2).sum(axis=1) - potential
    momentum = np.cross(apart, speed)[:, 2]
    # Leapfrog's error is largest at pericentre, and gone after it.
    assert np.ptp(energy) < 0.02 * potential.max()
    assert energy[-1] == pytest.approx(energy[0], abs=0.002 * potential.max())
    assert np.ptp(momentum) < 1e-9 * momentum[0]
    assert distance[0] == pytest.approx(30.0)
    assert distance.argmin() == orbit.pericentre or radial
    assert distance[orbit.pericentre] == pytest.approx(pericentre, rel=0.1)
    centre = (20.0 * orbit.positions[:, 0] + 8.0 * orbit.positions[:, 1]) / 28.0
    assert np.abs(centre).max() < 1e-6


def test_friction_makes_the_nuclei_merge():
    haloes = (Halo(20.0, 10.0), Halo(10.0, 8.0))
    orbits = [two_body_orbit(haloes, 3.0, 30.0, 250, friction=f) for f in (0.0, 0.8)]
    last = [np.linalg.norm(np.ptp(orbit.positions[-1], axis=0)) for orbit in orbits]
    assert last[0] > 30.0
    assert last[1] < 1.0


def test_lone_disc_stays_as_it_is():
    rng = np.random.default_rng(0)
    halo, nothing = Halo(20.0, 10.0), Halo(1e-9, 1.0)
    disc = sample_disc(rng, 2000, 3.0, halo, np.eye(3))
    empty_disc = sample_disc(rng, 0, 3.0, nothing, np.eye(3))
    orbit = two_body_orbit((halo, nothing), 500.0, 1000.0, 0)
    snapshots = follow_discs(orbit, (halo, nothing), (disc, empty_disc), [-60, 0])
    radii = [
        np.median(np.linalg.norm(s.positions - s.nuclei[0][:, None], axis=0)) for s in snapshots.values()
    ]
    assert radii[1] == pytest.approx(radii[0], rel=0.05)
    assert snapshots[-60].time == pytest.approx(-60 * TIME_STEP * 0.978, rel=1e-3)


def test_disc_is_exponential_and_on_circular_orbits():
    halo = Halo(20.0, 10.0)
    disc = sample_disc(np.random.default_rng(1), 20_000, 3.0, halo, random_rotation(np.random.default_rng(2)))
    along = disc.axes @ disc.positions
    radius = np.hypot(along[0], along[1])
    # Half the light of an exponential disc lies within 1.678 scale lengths; ours ends at 5.5.
    assert np.median(radius) / 3.0 == pytest.approx(1.68, abs=0.06)
    speed = np.linalg.norm(disc.velocities, axis=0)
    assert np.median(speed / halo.circular_velocity(radius)) == pytest.approx(1.0, abs=0.01)
    spin = np.cross(disc.positions.T, disc.velocities.T).mean(axis=0)
    assert spin / np.linalg.norm(spin) == pytest.approx(disc.axes[2], abs=0.02)
