"""Degradations against closed forms, SciPy, Pillow and torch's own rotation."""

from __future__ import annotations

import dataclasses
import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from mergerexp.config.compose import compose_cell
from mergerexp.config.schema import RobustnessConfig
from mergerexp.degradations.degrade import (
    DEGRADATIONS,
    MOFFAT_BETA,
    SKY,
    STAR_DISTANCE,
    add_noise,
    add_star,
    blur,
    compress,
    degraded,
    dim,
    rotate,
    star_fwhm,
    zoom_in,
    zoom_out,
)
from mergerexp.degradations.settings import Strengths

SIDE = 64
STRENGTHS = {"noise": 20.0, "blur": 4.0, "jpeg": 30.0, "dimming": 0.5, "rotation": 25.0}
STRENGTHS |= {"zoom_out": 0.6, "zoom_in": 1.7, "star": 3.0}


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Six smooth random pictures of whole grey levels."""
    noise = np.random.default_rng(0).normal(size=(6, 3, SIDE, SIDE))
    smooth = ndimage.gaussian_filter(noise, (0, 0, 3, 3))
    return torch.from_numpy(np.clip(110 + 400 * smooth, 0, 255).round()).float()


def blob(x: float, y: float, sigma: float, side: int = SIDE, peak: float = 200.0) -> torch.Tensor:
    """A Gaussian on black at (x, y) from the centre, right and down, in pixels."""
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    light = peak * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return torch.from_numpy(light).float().expand(1, 3, -1, -1)


def moments(image: torch.Tensor) -> tuple[float, float, float]:
    """Centre (x, y) from the picture's, and mean width, of the first colour."""
    light = image[0, 0].double().numpy()
    rows, columns = np.mgrid[: light.shape[0], : light.shape[1]] - (light.shape[0] - 1) / 2
    x, y = (light * columns).sum() / light.sum(), (light * rows).sum() / light.sum()
    width2 = (light * ((columns - x) ** 2 + (rows - y) ** 2)).sum() / light.sum() / 2
    return x, y, math.sqrt(width2)


def strongest(name: str, batch: torch.Tensor, objids: list[int], seed: int = 0) -> torch.Tensor:
    (result,) = degraded(name, batch, [STRENGTHS[name]], objids, seed)
    return result


def test_the_config_knows_every_degradation():
    assert [field.name for field in dataclasses.fields(Strengths)] == list(DEGRADATIONS)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_none_is_the_identity_to_the_bit(name, images):
    cfg = compose_cell("robustness", [], RobustnessConfig)
    none, first, *_ = getattr(cfg.strengths, name)
    unchanged, changed = degraded(name, images, [none, first], list(range(6)), 0)
    assert torch.equal(unchanged, images)
    assert not torch.equal(changed, images)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_shape_range_and_input_are_kept(name, images):
    before = images.clone()
    result = strongest(name, images, list(range(6)))
    assert (result.shape, result.dtype) == (images.shape, images.dtype)
    assert 0 <= result.min() <= result.max() <= 255
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_the_batch_does_not_matter(name, images):
    """The same galaxy is spoiled in the same way, alone or among others in another order."""
    objids = [587722982, 3, -1, 2**62, 0, 7]
    together = strongest(name, images, objids)
    order = [4, 2, 0, 5, 1, 3]
    parts = [strongest(name, images[part], [objids[i] for i in part]) for part in (order[:1], order[1:])]
    assert torch.allclose(torch.cat(parts), together[order], atol=1e-3)


@pytest.mark.parametrize("name", ["noise", "star", "zoom_out"])
def test_randomness_depends_on_seed_and_object(name, images):
    same = images[:1].expand(3, -1, -1, -1)
    first, again, other = strongest(name, same, [5, 5, 6])
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(strongest(name, same[:1], [5], seed=1)[0], first)


def test_noise_is_the_same_at_every_strength_but_for_its_scale():
    grey = torch.full((1, 3, SIDE, SIDE), 128.0)
    weak, strong = (noisy - grey for noisy in degraded("noise", grey, [2.0, 8.0], [1], 0))
    assert torch.allclose(4 * weak, strong, atol=1e-3)


def test_noise_level():
    grey = torch.full((8, 3, SIDE, SIDE), 128.0)
    noise = (strongest("noise", grey, list(range(8))) - grey).double().numpy()
    n = noise.size
    assert noise.std() == pytest.approx(20, abs=5 * 20 / math.sqrt(2 * n))
    assert abs(noise.mean()) < 5 * 20 / math.sqrt(n)
    colours = np.corrcoef(noise.transpose(1, 0, 2, 3).reshape(3, -1))
    assert np.abs(colours - np.eye(3)).max() < 0.03
    neighbours = np.corrcoef(noise[..., :-1].ravel(), noise[..., 1:].ravel())[0, 1]
    assert abs(neighbours) < 0.03
    unit = torch.ones(1, 3, SIDE, SIDE)
    assert add_noise(grey[:1], 1000.0, -unit).max() == 0  # clipped, as in any picture


@pytest.mark.parametrize("fwhm", [2.0, 5.0, 12.0])
def test_blur_has_the_width_it_says(fwhm):
    point = torch.zeros(1, 3, SIDE + 1, SIDE + 1)
    point[..., SIDE // 2, SIDE // 2] = 255
    spread = blur(point, fwhm)
    assert spread[0, 0].sum() == pytest.approx(255, rel=1e-4)
    profile = spread[0, 0, SIDE // 2].double().numpy()
    fine = np.linspace(0, SIDE, 100 * SIDE + 1)
    shape = np.exp(np.interp(fine, np.arange(SIDE + 1), np.log(np.maximum(profile, 1e-30))))
    measured = np.ptp(fine[shape >= profile.max() / 2])
    assert measured == pytest.approx(fwhm, rel=0.06)  # between pixels the profile is interpolated
    assert moments(spread)[2] == pytest.approx(fwhm / 2.35482, rel=0.01)


def test_blur_is_scipys_inside_and_keeps_what_is_even(images):
    sigma = 6.0 / 2.35482
    expected = ndimage.gaussian_filter(images.numpy(), (0, 0, sigma, sigma), truncate=8)
    inside = slice(16, -16)
    result = blur(images, 6.0).numpy()
    assert np.abs(result - expected)[:, :, inside, inside].max() < 0.02
    even = torch.full((1, 3, 33, 33), 77.0)
    assert torch.allclose(blur(even, 9.0), even, atol=1e-3)


def test_jpeg_is_pillows(images):
    for quality in (90, 40, 5):
        result = compress(images, float(quality))
        for image, own in zip(images, result, strict=True):
            file = io.BytesIO()
            Image.fromarray(image.byte().permute(1, 2, 0).numpy()).save(file, format="JPEG", quality=quality)
            expected = np.asarray(Image.open(file))
            assert np.array_equal(own.permute(1, 2, 0).numpy(), expected)
    loss = [(compress(images, quality) - images).abs().mean() for quality in (90.0, 40.0, 5.0)]
    assert loss == sorted(loss)


def test_dimming_is_a_factor_on_grey_levels(images):
    assert torch.equal(dim(images, 0.25), images / 4)


def test_quarter_turn_is_torchs(images):
    for degrees, turns in ((90, 1), (180, 2), (270, 3)):
        expected = torch.rot90(images, turns, dims=(2, 3))
        assert (rotate(images, float(degrees)) - expected).abs().max() < 0.05


def test_rotation_is_counter_clockwise_and_leaves_no_dark_corners():
    x, y, width = moments(rotate(blob(12, 0, 3.0), 30.0))
    assert (x, y) == pytest.approx((12 * math.cos(math.pi / 6), -12 * math.sin(math.pi / 6)), abs=0.05)
    assert width == pytest.approx(3.0, rel=0.02)
    even = torch.full((1, 3, SIDE, SIDE), 90.0)
    assert torch.allclose(rotate(even, 45.0), even, atol=1e-3)


def test_zoom_in_enlarges_about_the_centre():
    x, y, width = moments(zoom_in(blob(6, -4, 2.5), 2.5))
    assert (x, y) == pytest.approx((15, -10), abs=0.1)
    assert width == pytest.approx(2.5 * 2.5, rel=0.02)


@pytest.mark.parametrize("side", [64, 65])
def test_zoom_out_shrinks_about_the_centre(side):
    factor = 32 / 64 if side == 64 else 33 / 65
    unit = torch.zeros(1, 3, side, side)
    x, y, width = moments(zoom_out(blob(12, -8, 5.0, side), factor, unit))
    assert (x, y) == pytest.approx((12 * factor, -8 * factor), abs=0.05)
    assert width == pytest.approx(5.0 * factor, rel=0.03)


def test_zoom_out_averages_pixels_rather_than_dropping_them():
    stripes = torch.zeros(1, 3, SIDE, SIDE)
    stripes[..., ::2] = 200
    middle = zoom_out(stripes, 0.25, torch.zeros_like(stripes))[..., 28:36, 28:36]
    assert (middle - 100).abs().max() < 5


def test_zoom_out_shows_more_of_the_same_sky_and_no_second_galaxy():
    rng = np.random.default_rng(3)
    sky = ndimage.gaussian_filter(rng.normal(size=(4, 3, 128, 128)), (0, 0, 1, 1)) * 20 + 30
    galaxy = blob(0, 0, 14.0, 128).expand(4, -1, -1, -1)
    (small,) = degraded("zoom_out", torch.from_numpy(sky).float() + galaxy, [0.5], list(range(4)), 0)
    around = torch.ones(128, 128, dtype=torch.bool)
    around[8:120, 8:120] = False
    outer, former = small[:, :, around], small[:, :, 32:36, 32:96]  # new sky, and the picture's own border
    assert outer.mean() == pytest.approx(30, abs=0.5)
    assert outer.std() == pytest.approx(float(former.std()), rel=0.15)
    assert outer.max() < 60


@pytest.mark.parametrize(("x", "y"), [(0.2, -0.1), (-0.25, 0.21)])
def test_star_has_its_place_and_flux(x, y):
    side = 256
    star = add_star(torch.zeros(1, 3, side, side), 0.4, torch.tensor([[x, y]]))
    alpha = star_fwhm(side) / (2 * math.sqrt(2 ** (1 / MOFFAT_BETA) - 1))
    total = math.pi * alpha**2 * 255 * 0.4 / (MOFFAT_BETA - 1)
    assert star[0, 1].sum() == pytest.approx(total, rel=0.03)  # wings beyond the picture's edge
    peak = np.unravel_index(int(star[0, 0].argmax()), (side, side))
    assert np.abs(np.subtract(peak, (side - 1) / 2 + side * np.array([y, x]))).max() <= 0.5
    row = star[0, 0, peak[0]].numpy()
    assert np.count_nonzero(row >= row.max() / 2) == pytest.approx(star_fwhm(side), abs=1.01)


def test_star_saturates_and_lies_beside_the_galaxy():
    dark = torch.zeros(50, 3, SIDE, SIDE)
    faint, bright = degraded("star", dark, [1.0, 50.0], list(range(50)), 0)
    assert bright.max() == 255
    assert (bright == 255).sum() > 5 * 50 * 3
    rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    peaks = faint[:, 0].flatten(1).argmax(1).numpy()
    distance = np.hypot(rows.ravel()[peaks], columns.ravel()[peaks]) / SIDE
    assert distance.min() > STAR_DISTANCE[0] - 0.02
    assert distance.max() < STAR_DISTANCE[1] + 0.02
    assert len(set(peaks.tolist())) > 40


def test_a_zoom_too_weak_for_a_pixel_changes_nothing(images):
    assert torch.equal(zoom_out(images, 0.99, torch.zeros_like(images)), images)
    assert round(SKY * SIDE) == 4
