"""Light on a picture: where it falls, how much there is of it, and what noise, blur and colour do to it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.integrate import quad

from mergerexp import cosmology
from mergerexp.simulator import sky
from mergerexp.simulator.colour import MINIMUM, lupton_rgb, smooth_chroma, to_picture
from mergerexp.simulator.discs import random_rotation, sample_disc
from mergerexp.simulator.dynamics import (
    lone_snapshot,
)
from mergerexp.simulator.galaxies import R_RANGE, draw_galaxy, flux_of, place
from mergerexp.simulator.particles import Activity, deposit, disc_weights, dust_depth
from mergerexp.simulator.photometry import NATIVE_PIXEL, SKY_NOISE
from mergerexp.simulator.stamps import Stamp, draw_galaxies, shape_asymmetry


@pytest.mark.parametrize("redshift", [0.05, 0.1, 0.25])
def test_comoving_distance_is_the_integral_of_the_expansion(redshift):
    integral = quad(lambda z: 1 / np.sqrt(0.3 * (1 + z) ** 3 + 0.7), 0, redshift)[0]
    distance = 299_792.458 / 70 * integral
    assert cosmology.comoving_distance(redshift) == pytest.approx(distance, rel=1e-5)
    assert cosmology.redshift_at(distance) == pytest.approx(redshift, rel=1e-5)
    modulus = 5 * np.log10(distance * (1 + redshift)) + 25
    assert cosmology.distance_modulus(redshift) == pytest.approx(modulus, abs=1e-4)


def test_comoving_distance_has_its_known_value():
    assert cosmology.comoving_distance(0.1) == pytest.approx(418.5, abs=0.1)


def test_angular_scale():
    assert cosmology.arcsec_per_kpc(0.1) == pytest.approx(1 / 1.844, rel=3e-3)


def test_placement_keeps_the_flux_limits():
    rng = np.random.default_rng(0)
    for luminosity in (0.2, 1.0, 3.0):
        for _ in range(50):
            at = place(rng, luminosity)
            assert 0.01 <= at.redshift <= 0.1001
            assert R_RANGE[0] - 0.1 < at.magnitude < R_RANGE[1] + 0.1


@pytest.mark.parametrize("index", [1.0, 2.5, 4.0])
@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_sersic_has_unit_flux_and_half_of_it_within_its_radius(index, ratio):
    radius = 6.0
    image = sky.sersic(240, 120.2, 119.7, radius, index, ratio, 0.6)
    assert image.sum() == pytest.approx(1.0, abs=0.04)
    y, x = np.mgrid[:240, :240] + 0.5
    u = (x - 120.2) * np.cos(0.6) + (y - 119.7) * np.sin(0.6)
    w = ((y - 119.7) * np.cos(0.6) - (x - 120.2) * np.sin(0.6)) / ratio
    assert image[np.hypot(u, w) < radius].sum() == pytest.approx(0.5, abs=0.03)


def test_deposit_conserves_flux():
    rng = np.random.default_rng(0)
    pixels = rng.normal(100, 12, (2, 5000)).astype(np.float32)
    light = rng.random((3, 5000)).astype(np.float32)
    image = deposit(pixels, light, 200)
    assert image.sum(axis=(1, 2)) == pytest.approx(light.sum(axis=1), rel=1e-3)
    assert image.min() >= 0
    column = (image.sum(axis=(0, 1)) * (np.arange(200) + 0.5)).sum() / image.sum()
    assert column == pytest.approx((pixels[0] * light.sum(axis=0)).sum() / light.sum(), abs=0.1)


def test_galaxy_has_its_magnitude():
    rng = np.random.default_rng(3)
    galaxy = draw_galaxy(rng, luminosity=1.0, early=False)
    clear = dataclasses.replace(galaxy.pattern, dust=0.0)
    at = place(rng, 1.0)
    disc = sample_disc(rng, 5000, galaxy.disc_scale, galaxy.halo, np.eye(3))
    stamp = Stamp(128, 12 * galaxy.petrosian_radius * at.scale / 128)
    view = random_rotation(rng)
    fluxes = [
        draw_galaxies(
            stamp,
            lone_snapshot(disc),
            [dataclasses.replace(galaxy, pattern=pattern)],
            [at],
            view=view,
            origin=np.zeros(3),
        )[1].sum()
        for pattern in (clear, galaxy.pattern)
    ]
    # HII regions shine on top of the disc's light; dust takes away.
    assert fluxes[0] == pytest.approx(flux_of(at.magnitude), rel=0.1)
    assert fluxes[1] < fluxes[0]


def test_dust_hides_what_lies_behind_the_disc():
    height = np.array([[1.0, 1.0], [0.0, 0.0], [0.5, -0.5]], dtype=np.float32)
    face_on = dust_depth(height, np.array([0.0, 0.0, 1.0]), 1.0)
    assert face_on[0] < 1e-3
    assert face_on[1] == pytest.approx(np.exp(-1 / 1.3), rel=0.01)
    inclined = dust_depth(height, np.array([0.0, 0.866, 0.5]), 1.0)
    assert inclined[1] > 1.2 * face_on[1]


def test_spiral_pattern_has_its_arms_and_fades_off_the_plane():
    galaxy = draw_galaxy(np.random.default_rng(0), early=False)
    pattern = dataclasses.replace(galaxy.pattern, arms=2, arm_strength=0.8, bar_strength=0, lopsidedness=0)
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    ring = np.stack([2 * np.cos(angle), 2 * np.sin(angle), 0 * angle]).astype(np.float32)
    weights = disc_weights(ring, pattern, Activity(), np.zeros(400, np.float32))
    assert np.abs(np.fft.rfft(weights))[1:5].argmax() == 1
    ring[2] = 2.0
    assert np.ptp(disc_weights(ring, pattern, Activity(), np.zeros(400, np.float32))) < 1e-3


def test_psf_conserves_flux_and_has_its_width():
    image = np.zeros((3, 101, 101), dtype=np.float32)
    image[:, 50, 50] = 1
    blurred = sky.convolve(image, pixel=0.2)
    assert blurred.sum(axis=(1, 2)) == pytest.approx(1, abs=0.01)
    half = (blurred[1, 50] > blurred[1].max() / 2).sum() * 0.2
    assert half == pytest.approx(1.32, abs=0.25)


@pytest.mark.parametrize("depth", [1.0, 2.0])
def test_sky_noise_per_area_does_not_depend_on_zoom(depth):
    rng = np.random.default_rng(0)
    for pixel in (0.15, NATIVE_PIXEL, 0.8):
        noise = sky.add_noise(rng, np.zeros((3, 200, 200), dtype=np.float32), pixel, depth)
        # Averaged over the same area of 3.2 arcsec, far beyond any correlation.
        block = round(3.2 / pixel)
        n = 200 // block
        sums = noise[:, : n * block, : n * block].reshape(3, n, block, n, block).sum(axis=(2, 4))
        wanted = np.array(SKY_NOISE) * depth * block * pixel / NATIVE_PIXEL
        assert sums.std(axis=(1, 2)) == pytest.approx(wanted, rel=0.25)
    native = sky.add_noise(rng, np.zeros((3, 200, 200), dtype=np.float32), NATIVE_PIXEL, depth)
    assert native.std(axis=(1, 2)) == pytest.approx(np.array(SKY_NOISE) * depth, rel=0.02)


def test_shape_asymmetry_of_symmetric_and_one_sided_light():
    image = np.zeros((3, 64, 64), dtype=np.float32)
    y, x = np.mgrid[:64, :64] - 31.5
    image[1] = 5 * np.exp(-np.hypot(x, y) / 4)
    assert shape_asymmetry(image, 0.4, 1.0) == 0
    image[1, :, 36:60] += np.exp(-np.abs(y[:, 36:60]) / 6)
    assert shape_asymmetry(image, 0.4, 1.0) > 0.2


def test_lupton_picture():
    flat = np.full((4, 4), 0.3, dtype=np.float32)
    grey = lupton_rgb(flat, flat, flat)
    # An asinh stretch whose first tenth is linear: 25.5 at I = 0.1 * stretch above the minimum.
    assert grey == pytest.approx(25.5 * np.arcsinh((0.3 - MINIMUM) * 16) / np.arcsinh(0.8), rel=1e-4)
    sky = lupton_rgb(0 * flat, 0 * flat, 0 * flat)
    assert sky == pytest.approx(25.5 * np.arcsinh(-MINIMUM * 16) / np.arcsinh(0.8), rel=1e-3)
    red = lupton_rgb(2 * flat, flat, flat)[0, 0]
    assert red[0] / red[1] == pytest.approx((0.6 - MINIMUM) / (0.3 - MINIMUM), rel=1e-4)
    assert lupton_rgb(1e5 * flat, 1e4 * flat, flat).max() <= 255.001
    assert (lupton_rgb(-flat, -flat, -flat) == 0).all()


def test_chroma_smoothing_keeps_brightness():
    rgb = np.random.default_rng(0).uniform(0, 200, (40, 40, 3)).astype(np.float32)
    smooth = smooth_chroma(rgb, 2.0)
    luminance = np.array([0.299, 0.587, 0.114])
    assert smooth @ luminance == pytest.approx(rgb @ luminance, rel=1e-3)
    assert (smooth[..., 0] - smooth[..., 2]).std() < 0.5 * (rgb[..., 0] - rgb[..., 2]).std()


def test_brightness_is_surface_brightness_at_any_zoom():
    coarse = to_picture(np.full((3, 8, 8), 0.4, np.float32), 0.4)
    fine = to_picture(np.full((3, 8, 8), 0.1, np.float32), 0.2)
    assert np.abs(coarse.astype(int) - fine).max() <= 1
