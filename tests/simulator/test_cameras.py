"""Pictures of many cameras: what varies, what does not, and that no class has cameras of its own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp

from mergerexp.config.compose import compose_cell
from mergerexp.config.schema import TrainConfig
from mergerexp.data.sources.simulated.source import SimulatedSource
from mergerexp.simulator.cameras import SDSS, Camera, draw_camera, store
from mergerexp.simulator.scenes import noninteracting
from mergerexp.survey.drift import image_statistics

SMALL = (
    "data.simulator.n_mergers=12",
    "data.simulator.n_noninteracting=60",
    "data.simulator.n_particles=800",
)


def settings(*overrides: str, data: str = "simulated_wide"):
    cfg = compose_cell("train", [f"data={data}", "data.size=32", *SMALL, *overrides], TrainConfig)
    return cfg.data.simulator  # type: ignore[attr-defined]


def stamps(given, count: int = 60) -> np.ndarray:
    return np.stack([noninteracting(np.random.default_rng([3, n]), given, 32).image for n in range(count)])


def test_without_variety_nothing_is_drawn():
    rng = np.random.default_rng(0)
    assert draw_camera(rng, 0.0) is SDSS
    assert rng.random() == np.random.default_rng(0).random()


def test_cameras_reach_as_far_as_they_say_and_not_farther():
    rng = np.random.default_rng(1)
    cameras = [draw_camera(rng, 1.0) for _ in range(2000)]
    width = np.log10([camera.width for camera in cameras])
    assert np.abs(width).max() == pytest.approx(0.25, abs=0.002) and abs(width.mean()) < 0.01
    assert {camera.quality for camera in cameras} == set(range(60, 98))
    assert max(camera.background for camera in cameras) < 12
    half = [draw_camera(rng, 0.5).seeing for _ in range(500)]
    assert np.abs(np.log10(half)).max() == pytest.approx(0.1, abs=0.002)


def test_a_wider_set_has_a_wider_range_of_what_drift_looks_at():
    """The middle 96 % of every number that the drift of a survey is judged by."""
    wide, usual = (image_statistics(stamps(settings(data=name))) for name in ("simulated_wide", "simulated"))
    for name in ("half_light", "brightness", "background", "colour", "sharpness"):
        spread = [np.subtract(*each[name].quantile([0.98, 0.02])) for each in (wide, usual)]
        assert spread[0] > 1.15 * spread[1], name


def test_both_classes_have_the_same_cameras():
    """Otherwise a network could tell the classes by their cameras."""
    source = SimulatedSource(
        settings("data.simulator.n_mergers=90", "data.simulator.n_noninteracting=90"), 32
    )
    levels = {}
    for kind in ("merger", "noninteracting"):
        images = np.concatenate([source.make(chunk).images for chunk in source.chunks() if chunk[0] == kind])
        levels[kind] = image_statistics(images)["background"]
    assert ks_2samp(levels["merger"], levels["noninteracting"]).pvalue > 0.01


def test_compression_and_background():
    rng = np.random.default_rng(2)
    picture = rng.integers(0, 200, (32, 32, 3), dtype=np.uint8)
    assert store(picture, SDSS) is picture
    brighter = store(picture, Camera(background=10.0))
    assert (brighter.astype(int) - picture == 10).all()
    rough, fine = (store(picture, Camera(quality=quality)).astype(int) - picture for quality in (60, 97))
    assert np.abs(rough).mean() > np.abs(fine).mean() > 0
