"""Measured morphologies against closed forms, and the undone stretch against simulated truth."""

from __future__ import annotations

import numpy as np
import pytest
from omegaconf import OmegaConf
from scipy.optimize import brentq

from mergerexp.config.paths import conf_dir
from mergerexp.models import morphology
from mergerexp.models.morphology import (
    FAILED,
    INVALID,
    MEASURED,
    measure,
    measure_light,
    segment,
    unstretch,
)
from mergerexp.simulator import sky
from mergerexp.simulator.colour import FACTORS, MINIMUM, Q, lupton_rgb, to_picture
from mergerexp.simulator.galaxies import flux_of
from mergerexp.simulator.photometry import NATIVE_PIXEL, stellar_fluxes
from mergerexp.simulator.sky import sersic

STRETCH = np.arcsinh(0.1 * Q) / 0.3  # of the simulator's pictures


def named(values: np.ndarray) -> dict[str, float]:
    return dict(zip(MEASURED, values.tolist(), strict=True))


def blob(x: float, y: float, sigma: float = 3.0, flux: float = 1.0, size: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return flux * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))


def noise(seed: int = 0, sigma: float = 1e-3, size: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, sigma, (size, size))


class TestKnownShapes:
    def test_gaussian(self):
        """C from the growth curve; G and M20 within the Petrosian radius, where u / (exp(u) - 1) = 0.2."""
        u = brentq(lambda u: u / np.expm1(u) - 0.2, 1, 5)
        gini = 1 - 2 / u + 2 / np.expm1(u)

        def second_moment(t: float) -> float:
            return 1 - np.exp(-u * t) * (1 + u * t)

        brightest = -np.log1p(0.2 * np.expm1(-u)) / u
        found = named(measure_light(blob(31.5, 31.5, 6) + noise()))
        assert found["flag"] == 0
        assert found["concentration"] == pytest.approx(2.5 * np.log10(np.log(5) / np.log(1.25)), abs=0.02)
        assert found["gini"] == pytest.approx(gini, abs=0.01)
        assert found["m20"] == pytest.approx(np.log10(second_moment(brightest) / second_moment(1)), abs=0.02)
        assert abs(found["asymmetry"]) < 0.01
        assert found["sersic_n"] == pytest.approx(0.5, abs=0.01)
        assert found["rpetro_circ"] == pytest.approx(6 * np.sqrt(2 * u) / 64, rel=0.02)
        assert found["off_picture"] < 0.01

    def test_uniform_patch_has_no_gini(self):
        rows, columns = np.mgrid[:64, :64]
        found = named(measure_light((np.hypot(rows - 31.5, columns - 31.5) < 12) + noise()))
        assert abs(found["gini"]) < 0.06

    @pytest.mark.parametrize("n", [1.0, 2.5])
    def test_sersic(self, n):
        light = 2000 * sersic(64, 32, 32, 5, n, 0.7, 0.5) + noise(sigma=0.02)
        found = named(measure_light(light))
        assert found["sersic_n"] == pytest.approx(n, rel=0.05)
        assert found["sersic_ellip"] == pytest.approx(0.3, abs=0.05)
        assert abs(found["asymmetry"]) < 0.03

    def test_double_nucleus(self):
        unequal = named(measure_light(blob(25, 31) + blob(38, 34, flux=0.5) + noise(sigma=0.01)))
        assert unequal["asymmetry"] > 0.4
        assert unequal["multimode"] > 0.5
        assert unequal["m20"] > -1.3
        equal = named(measure_light(blob(25, 31) + blob(38, 34) + noise(sigma=0.01)))
        assert abs(equal["asymmetry"]) < 0.05  # half a turn takes one for the other


class TestSegment:
    def test_nearest_to_the_centre_and_the_others_masked(self):
        light = blob(30, 33, flux=0.2) + blob(50, 50) + noise()
        own, others = segment(light, 1e-3)
        assert own[33, 30]
        assert others[50, 50]
        assert not (own & others).any()
        assert not own[50, 50]

    def test_a_neighbour_changes_little(self):
        galaxy = blob(31, 31, 2.5) + noise()
        alone, beside = named(measure_light(galaxy)), named(measure_light(galaxy + blob(54, 10, 1.5, 3)))
        for name, tolerance in (("gini", 0.01), ("m20", 0.05), ("concentration", 0.05), ("asymmetry", 0.05)):
            assert beside[name] == pytest.approx(alone[name], abs=tolerance)

    def test_specks_are_no_galaxies(self):
        light = np.zeros((32, 32))
        light[15, 15] = 0.03  # smoothed, five pixels above the threshold
        assert segment(light, 1e-3) is None
        light[15, 15] = 0.4
        assert segment(light, 1e-3) is not None


@pytest.mark.parametrize("width", [3, 8, 12])
def test_sky_of_a_picture_without_negative_pixels(width):
    """Also between the wings of a galaxy whose Petrosian radius is half the picture."""
    light = np.maximum(0.02 + noise(3, 0.02, 96) + blob(48, 48, width, size=96), 0)
    level, sigma = morphology.sky(light)
    assert level == pytest.approx(0.02, abs=0.003)
    assert sigma == pytest.approx(0.02, rel=0.1)


def test_sky_of_a_picture_without_any():
    """The galaxy goes over the edge: what is darkest has to do."""
    level, sigma = morphology.sky(blob(24, 24, 30, size=48) + noise(0, 0.01, 48))
    assert np.isfinite([level, sigma]).all()


def test_what_can_not_be_measured_is_failed():
    for pixels in (np.zeros((48, 48, 3), np.uint8), np.full((48, 48, 3), 77, np.uint8)):
        assert measure(pixels, STRETCH).tolist() == [FAILED, *[INVALID] * (len(MEASURED) - 1)]


def test_every_value_is_a_number_whatever_the_picture():
    """Of any size that a data set may have; forests take no others."""
    rng = np.random.default_rng(0)
    for size in (16, 33):
        for _ in range(3):
            light = blob(*rng.uniform(0, size, 2), rng.uniform(0.5, size / 3), size=size)
            pixels = np.clip(255 * (light + noise(1, 0.1, size)), 0, 255).astype(np.uint8)
            assert np.isfinite(measure(np.repeat(pixels[..., None], 3, axis=2), None)).all()


def test_statmorph_giving_up_is_a_failed_measurement(monkeypatch):
    def give_up(*args, **kwargs):
        raise AssertionError("Root not found within range.")

    monkeypatch.setattr("statmorph.SourceMorphology", give_up)
    assert measure_light(blob(31, 31) + noise())[0] == FAILED


class TestUnstretch:
    def test_is_the_inverse(self):
        """Of the stretch in SDSS's pipeline: colours times arcsinh(n (R+G+B)) / (n (R+G+B))."""
        light = np.random.default_rng(0).uniform(0, 0.8, (5, 3))
        total = light.sum(axis=1, keepdims=True)
        stretched = light * np.arcsinh(2.25 * total) / (2.25 * total)
        assert unstretch(255 * stretched, 2.25) == pytest.approx(total[:, 0])
        assert unstretch(255 * light, None) == pytest.approx(total[:, 0])

    def test_of_the_simulator_in_the_configs(self):
        simulated = OmegaConf.load(conf_dir() / "data" / "simulated.yaml")
        assert simulated.stretch == pytest.approx(STRETCH, abs=1e-4)

    def test_is_the_inverse_of_the_simulator(self):
        light = np.random.default_rng(0).uniform(0, 0.3, (3, 8, 8)).astype(np.float32)
        ratio = unstretch(lupton_rgb(*light), STRETCH) / (light - MINIMUM).sum(axis=0)
        assert ratio == pytest.approx(16 / 3 / STRETCH, rel=1e-4)


def simulated(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One or two galaxies: a picture as the simulator takes it, the light in it, and without the noise."""
    rng, pixel, size = np.random.default_rng(seed), 0.6, 64
    image = np.zeros((3, size, size), dtype=np.float32)
    for i in range(1 + seed % 2):
        at = size / 2 + rng.uniform(-6, 6, 2) * i
        n, radius = rng.choice([1.0, 2.5, 4.0]), rng.uniform(3, 6)
        shape = sersic(size, *at, radius, n, rng.uniform(0.4, 1), rng.uniform(0, np.pi))
        fluxes = stellar_fluxes(flux_of(rng.uniform(15.0, 16.5)), rng.uniform(0.4, 0.8))
        image += fluxes.astype(np.float32)[:, None, None] * shape
    seen = sky.convolve(image, pixel)
    noisy = sky.add_noise(rng, seen, pixel, 1.0)

    def light(bands: np.ndarray) -> np.ndarray:
        scaled = np.array(FACTORS)[:, None, None] * bands[::-1] * (NATIVE_PIXEL / pixel) ** 2
        return (scaled - MINIMUM).sum(axis=0)[::-1]

    return to_picture(noisy, pixel), light(noisy), light(seen)


def test_undoing_the_stretch_gives_back_the_light():
    """To a bias of -4 % and 8 % rms: like JPEGs, the pictures have other colours than the light."""
    ratios = []
    for seed in range(12):
        picture, light, truth = simulated(seed)
        bright = (truth > 0.25) & (picture.max(axis=-1) < 250)
        ratios.append(unstretch(picture, STRETCH)[bright] / light[bright] * (3 * STRETCH / 16))
    ratio = np.concatenate(ratios)
    assert abs(ratio.mean() - 1) < 0.05
    assert ratio.std() < 0.1


@pytest.mark.slow
def test_the_stretch_matters():
    """Undone, the morphology of the light is found again; as it is, a picture has less Gini and asymmetry."""

    def chosen(values: np.ndarray) -> list[float]:
        return [named(values)[name] for name in ("gini", "asymmetry", "concentration")]

    pairs = [simulated(seed) for seed in (1, 2, 3, 9, 11)]
    # A whiff of noise: without any there is no sky to be told from the galaxy.
    truth = np.array([chosen(measure_light(light + noise(sigma=0.005))) for _, _, light in pairs])
    undone = np.array([chosen(measure(picture, STRETCH)) for picture, _, _ in pairs])
    as_it_is = np.array([chosen(measure(picture, None)) for picture, _, _ in pairs])
    assert (np.abs(undone - truth) < (0.01, 0.06, 0.05)).all()
    assert (as_it_is[:, 0] < truth[:, 0] - 0.02).all()
    double = truth[:, 1] > 0.25
    assert double.sum() == 3
    assert (as_it_is[double, 1] < truth[double, 1] / 3).all()
