"""What is measured of stamps, before anybody believes how they were rated."""

from __future__ import annotations

import numpy as np
import pytest

from mergerexp.survey.drift import AT_ONCE, LEVELS, drift, image_statistics, matching_crop, quantiles

SIZE = 64


def blobs(radius: float, n: int = 40, level: float = 4.0) -> np.ndarray:
    """Return stamps of round galaxies, on a sky with noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    light = level + 120 * np.exp(-(x**2 + y**2) / (2 * radius**2)) + rng.normal(0, 0.5, (n, SIZE, SIZE))
    return np.repeat(light[..., None], 3, axis=3).clip(0, 255).astype(np.uint8)


def test_it_does_not_matter_how_many_stamps_are_measured_at_once():
    many = blobs(5.0, 2 * AT_ONCE + 3)
    whole = image_statistics(many)
    assert len(whole) == len(many)
    for row in (0, AT_ONCE, len(many) - 1):
        assert image_statistics(many[row : row + 1]).iloc[0].to_dict() == whole.iloc[row].to_dict()
    assert list(image_statistics(many[:0])) == list(whole)


def test_the_radius_of_half_of_the_light_is_that_of_a_gaussian():
    for radius in (4.0, 8.0):
        found = image_statistics(blobs(radius))["half_light"].median()
        assert found == pytest.approx(radius * np.sqrt(2 * np.log(2)) / SIZE, rel=0.1)


@pytest.mark.parametrize(("wanted", "crop"), [(0.2, 0.5), (0.1, 1.0), (0.4, 0.25), (0.05, None), (3.0, None)])
def test_the_crop_that_matches_the_scale_is_found(wanted, crop):
    """Galaxies of 0.1 of the side of their images, no part of which shows more of the sky than the whole."""
    found = matching_crop(lambda crop: 0.1 / crop, wanted)
    assert found == (None if crop is None else pytest.approx(crop, abs=0.02))


def test_what_is_unusual_is_named_and_the_usual_is_not():
    trained = quantiles(image_statistics(np.concatenate([blobs(radius) for radius in (6.0, 8.0, 10.0)])))
    assert len(trained["half_light"]) == len(LEVELS)
    assert drift(image_statistics(blobs(8.0)), trained) == []
    (small,) = [line for line in drift(image_statistics(blobs(3.0)), trained) if "half_light" in line]
    assert "scale on the sky" in small
    assert any(
        line.startswith("background") for line in drift(image_statistics(blobs(8.0, level=30)), trained)
    )
