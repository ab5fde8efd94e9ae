import dataclasses
import json
import pickle

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata

from mergerexp import cosmology
from mergerexp.data.sources.simulated.source import SimulatedSource
from mergerexp.simulator import sky
from mergerexp.simulator.colour import MINIMUM, lupton_rgb, smooth_chroma, to_picture
from mergerexp.simulator.discs import G, Halo, random_rotation, sample_disc
from mergerexp.simulator.dynamics import (
    TIME_STEP,
    follow_discs,
    lone_snapshot,
    two_body_orbit,
)
from mergerexp.simulator.galaxies import R_RANGE, draw_galaxy, flux_of, place
from mergerexp.simulator.particles import Activity, deposit, disc_weights, dust_depth
from mergerexp.simulator.photometry import NATIVE_PIXEL, SKY_NOISE
from mergerexp.simulator.settings import SimulatorSettings
from mergerexp.simulator.stamps import Stamp, draw_galaxies, shape_asymmetry

SETTINGS = {
    "n_mergers": 7,
    "n_noninteracting": 9,
    "seed": 4,
    "views_per_encounter": 3,
    "n_particles": 800,
    "stamp_width": 6.0,
    "as_min": 0.2,
    "hard": 0.05,
    "stages": [0.2, 0.6, 0.2],
    "p_proj": 0.1,
    "p_star": 0.06,
    "depth": 1.0,
    "label_noise": 0.0,
}
SIZE = 48


def source(size=SIZE, **changes):
    return SimulatedSource(SimulatorSettings(**{**SETTINGS, **changes}), size)


def everything(maker, chunks=None):
    parts = [maker.make(chunk) for chunk in (chunks or maker.chunks())]
    return np.concatenate([part.images for part in parts]), [row for part in parts for row in part.rows]


def same_rows(a, b):
    return json.dumps(a) == json.dumps(b)  # NaN equals NaN there


@pytest.fixture(scope="module")
def sample():
    return everything(source())


@pytest.fixture(scope="module")
def larger_sample():
    return everything(source(n_mergers=120, n_noninteracting=160))


# ---------------------------------------------------------------- physics


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


# ---------------------------------------------------------------- light


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


# ---------------------------------------------------------------- data set


def test_counts_and_columns(sample):
    images, rows = sample
    assert images.shape == (16, SIZE, SIZE, 3)
    assert images.dtype == np.uint8
    assert [row["label"] for row in rows] == [1] * 7 + [0] * 9
    assert len({row["objid"] for row in rows}) == 16
    assert len({tuple(row) for row in rows}) == 1
    for row in rows:
        json.dumps(row)
        assert isinstance(row["objid"], int)
        assert isinstance(row["group"], int)
        assert 0 <= row["shape_asymmetry"] <= 1
        assert row["pixel_arcsec"] * SIZE >= 24 * 0.999
        merger = row["true_label"] == 1
        assert (row["kind"] in ("approach", "first_passage", "late")) == merger
        assert np.isnan(row["time_gyr"]) != merger
        assert np.isnan(row["mass_ratio"]) != merger


def test_pictures_show_something(sample):
    images, _ = sample
    middle = slice(SIZE // 2 - 3, SIZE // 2 + 3)
    centre = images[:, middle, middle].mean(axis=(1, 2, 3))
    assert (centre > np.median(images, axis=(1, 2, 3)) + 10).mean() > 0.8
    assert images.max() > 150
    assert np.median(images) < 60


def test_same_seed_same_pictures_other_seed_others(sample):
    images, rows = everything(source())
    assert (images == sample[0]).all()
    assert same_rows(rows, sample[1])
    others, _ = everything(source(seed=5))
    assert (others != images).any(axis=(1, 2, 3)).all()


def test_chunking_does_not_matter(sample):
    maker = pickle.loads(pickle.dumps(source()))
    pieces = [("merger", 2, 3), ("merger", 0, 2), ("noninteracting", 4, 9), ("noninteracting", 0, 4)]
    images, rows = everything(maker, pieces)
    by_id = {row["objid"]: k for k, row in enumerate(sample[1])}
    order = [by_id[row["objid"]] for row in rows]
    assert (images == sample[0][order]).all()
    assert same_rows(rows, [sample[1][k] for k in order])


def test_counts_do_not_change_the_pictures_they_share(sample):
    images, rows = everything(source(n_mergers=5, n_noninteracting=3))
    keep = [*range(5), *range(7, 10)]
    assert (images == sample[0][keep]).all()
    assert same_rows(rows, [sample[1][k] for k in keep])


def test_chunks_cover_the_set_once():
    chunks = source(n_mergers=1000, n_noninteracting=1234).chunks()
    for kind, total in (("merger", 334), ("noninteracting", 1234)):
        ranges = [range(start, stop) for k, start, stop in chunks if k == kind]
        assert [index for one in ranges for index in one] == list(range(total))
    assert len(chunks) > 20


def test_one_encounter_is_one_group(larger_sample):
    rows = larger_sample[1]
    mergers = [row for row in rows if row["true_label"] == 1]
    alone = [row["group"] for row in rows if row["true_label"] == 0]
    assert len(set(alone)) == len(alone)
    assert not set(alone) & {row["group"] for row in mergers}
    ratios = {}
    for row in mergers:
        ratios.setdefault(row["group"], set()).add(row["mass_ratio"])
    assert all(len(found) == 1 for found in ratios.values())
    assert len({next(iter(found)) for found in ratios.values()}) == len(ratios)
    assert 40 <= len(ratios) < 80  # 40 blocks of three views; some slots needed another encounter
    times = {(row["group"], row["time_gyr"]) for row in mergers}
    assert len(times) > 0.9 * len(mergers)


def test_acceptance_rule():
    _, rows = everything(source(n_mergers=24, hard=0.0), [("merger", 0, 8)])
    assert all(row["shape_asymmetry"] > 0.2 for row in rows)
    _, rows = everything(source(n_mergers=24, hard=1.0, as_min=1.0), [("merger", 0, 8)])
    assert min(row["shape_asymmetry"] for row in rows) < 0.2


def test_unreachable_asymmetry_ends_with_the_best_try():
    images, rows = everything(source(n_mergers=3, hard=0.0, as_min=1.0), [("merger", 0, 1)])
    assert len(images) == 3
    assert all(row["shape_asymmetry"] > 0.2 for row in rows)


def test_stages_are_drawn_as_asked():
    _, rows = everything(source(n_mergers=12, stages=[1, 0, 0]), [("merger", 0, 4)])
    assert {row["kind"] for row in rows} == {"approach"}
    assert all(row["time_gyr"] < 0 for row in rows)


def test_kinds_of_noninteracting(larger_sample):
    kinds = [row["kind"] for row in larger_sample[1] if row["true_label"] == 0]
    assert 4 <= kinds.count("proj") <= 30
    assert 2 <= kinds.count("star") <= 22
    _, rows = everything(source(p_proj=0.0, p_star=1.0), [("noninteracting", 0, 4)])
    assert {row["kind"] for row in rows} == {"star"}


def test_label_noise_flips_labels_and_nothing_else(sample):
    images, rows = everything(source(label_noise=0.4))
    assert (images == sample[0]).all()
    flipped = [row["label"] != row["true_label"] for row in rows]
    assert 0 < sum(flipped) < len(rows) * 0.8
    kept = [{**row, "label": row["true_label"]} for row in rows]
    assert same_rows(kept, sample[1])


def test_depth_sets_the_noise():
    deep, _ = everything(source(depth=0.3), [("noninteracting", 0, 4)])
    shallow, _ = everything(source(depth=2.0), [("noninteracting", 0, 4)])
    noise = [
        (images.mean(axis=-1) - gaussian_filter(images.mean(axis=-1), (0, 2, 2))).std()
        for images in (deep, shallow)
    ]
    assert noise[1] > 1.3 * noise[0]  # the dark sky clips some of it


def test_no_trivial_statistic_separates_the_classes(larger_sample):
    images, rows = larger_sample
    labels = np.array([row["true_label"] for row in rows])
    light = images.astype(np.float32)
    grey = light.mean(axis=-1)
    corner = np.concatenate([grey[:, :8, :8], grey[:, -8:, -8:]], axis=1).reshape(len(grey), -1)
    statistics = {
        "mean": grey.mean(axis=(1, 2)),
        "background": np.median(corner, axis=1),
        "noise": np.abs(np.diff(corner, axis=1)).mean(axis=1),
        "colour": (light[..., 0] - light[..., 2]).mean(axis=(1, 2)),
        "peak": grey.max(axis=(1, 2)),
        "pixel": np.array([row["pixel_arcsec"] for row in rows]),
        "magnitude": np.array([row["mag_r"] for row in rows]),
    }
    positives, negatives = labels.sum(), (1 - labels).sum()
    for name, value in statistics.items():
        ranks = rankdata(value)[labels == 1].sum()
        auroc = (ranks - positives * (positives + 1) / 2) / (positives * negatives)
        assert 0.26 < auroc < 0.74, (name, auroc)


# ---------------------------------------------------------------- settings


def test_recipe_is_json_and_changes_with_the_settings():
    recipes = [json.dumps(source(**c).recipe()) for c in ({}, {"seed": 9}, {"stages": [0.5, 0.25, 0.25]})]
    assert len(set(recipes)) == 3
    assert json.dumps(source(size=SIZE + 2).recipe()) != recipes[0]
    assert json.loads(recipes[0])["simulator"] == SETTINGS


@pytest.mark.parametrize("stages", [[0.2, 0.8], [0, 0, 0], [0.5, 0.8, -0.3]])
def test_impossible_stages_are_refused(stages):
    problem = source(stages=stages).settings.problem()
    assert problem is not None
    assert problem.startswith(f"stages={stages}: three fractions that sum to 1")


def test_source_names():
    assert source().class_names == ("noninteracting", "merger")
    assert source().on_error == "stop"


@pytest.mark.parametrize("size", [16, 33, 150])
def test_any_size(size):
    maker = source(size=size)
    for chunk in (("merger", 0, 1), ("noninteracting", 0, 3)):
        assert maker.make(chunk).images.shape == (3, size, size, 3)
