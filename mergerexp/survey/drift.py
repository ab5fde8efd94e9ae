"""Whether a survey's stamps look like those that the networks were trained on.

A network rates whatever it is given. Where the stamps have another scale on the sky, depth or stretch than
those of its training set, its p_m means nothing, and nothing in p_m shows that. So some numbers that every
stamp has are compared with those of the training set, and a survey whose typical stamp is unusual there is
named before anybody believes the ratings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

LEVELS = (0.02, 0.25, 0.5, 0.75, 0.98)  # the quantiles that are kept of the training set
SMALLEST_CROP = 0.05
ALIKE = 0.1  # by which fraction a typical galaxy may be larger or smaller, without a word
CROP_STEP = 0.02  # within which the matching crop is looked for
AT_ONCE = 32  # stamps, in float64, of which there are several copies
MEANINGS = {
    "half_light": "radius of half of the light, as a fraction of the side of the stamp (scale on the sky)",
    "brightness": "mean grey level (depth, stretch)",
    "background": "median grey level at the edge of the stamp",
    "black": "fraction of pixels that are black",
    "colour": "mean of red less blue, in grey levels",
    "sharpness": "rms difference of neighbouring pixels, as a fraction of the rms of all (PSF, JPEG quality)",
}


def image_statistics(stamps: NDArray[np.uint8]) -> pd.DataFrame:
    """Return the numbers of `MEANINGS` for stamps, uint8, shape (n, size, size, 3), one row for each."""
    parts = [_statistics(stamps[start : start + AT_ONCE]) for start in range(0, len(stamps), AT_ONCE)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(MEANINGS))


def _statistics(stamps: NDArray[np.uint8]) -> pd.DataFrame:
    pixels = stamps.astype(np.float64)
    grey = pixels.mean(axis=3)
    size = grey.shape[1]
    edge = np.concatenate([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], axis=1)
    background = np.median(edge, axis=1)
    light = (grey - background[:, None, None]).clip(0)
    middle = (size - 1) / 2
    y, x = np.mgrid[:size, :size]
    radius = np.hypot(y - middle, x - middle).ravel()
    order = np.argsort(radius, kind="stable")
    inside = light.reshape(len(light), -1)[:, order].cumsum(axis=1)
    total = inside[:, -1:]
    half = np.argmax(inside >= 0.5 * total, axis=1)
    spread = grey.std(axis=(1, 2))
    steps = np.sqrt(
        (np.diff(grey, axis=1) ** 2).mean(axis=(1, 2)) / 2
        + (np.diff(grey, axis=2) ** 2).mean(axis=(1, 2)) / 2
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return pd.DataFrame(
            {
                "half_light": np.where(total[:, 0] > 0, radius[order][half] / size, np.nan),
                "brightness": grey.mean(axis=(1, 2)),
                "background": background,
                "black": (stamps == 0).all(axis=3).mean(axis=(1, 2)),
                "colour": (pixels[..., 0] - pixels[..., 2]).mean(axis=(1, 2)),
                "sharpness": np.where(spread > 0, steps / spread, np.nan),
            }
        )


def quantiles(statistics: pd.DataFrame) -> dict[str, list[float]]:
    """Return the quantiles `LEVELS` of each number, as ``model.json`` keeps them."""
    return {name: statistics[name].quantile(list(LEVELS)).tolist() for name in MEANINGS}


def drift(found: pd.DataFrame, trained: Mapping[str, list[float]]) -> list[str]:
    """Compare the stamps of a survey with those of the training set.

    Parameters
    ----------
    found
        The statistics of some stamps of the survey.
    trained
        The quantiles of the training set.

    Returns
    -------
    list of str
        A sentence for each number whose median in the survey lies outside the range of nearly all training
        stamps.
    """
    low, *_, high = range(len(LEVELS))
    share = round(100 * (LEVELS[high] - LEVELS[low]))
    sentences = []
    for name, meaning in MEANINGS.items():
        median = float(found[name].median())
        if not trained[name][low] <= median <= trained[name][high]:
            sentences.append(
                f"{name}: the survey's median is {median:.3g}, and {share} % of the training set lie between "
                f"{trained[name][low]:.3g} and {trained[name][high]:.3g}; {meaning}"
            )
    return sentences


def typical_size(found: pd.DataFrame) -> float:
    """Return the median radius of half of the light, as a fraction of the side of a stamp."""
    return float(found["half_light"].median())


def matching_crop(size_at: Callable[[float], float], wanted: float) -> float | None:
    """Return the crop that makes galaxies as large as in the training set; None if there is none.

    The size is measured anew at each crop: noise that a smaller crop leaves out has light, too, so that it
    is not simply in proportion.

    Parameters
    ----------
    size_at
        Returns the typical size of the survey's galaxies at a crop.
    wanted
        The typical size in the training set.
    """
    low, high = SMALLEST_CROP, 1.0
    if not size_at(high) <= wanted <= size_at(low):
        return None
    while high - low > CROP_STEP:
        middle = (low + high) / 2
        low, high = (middle, high) if size_at(middle) >= wanted else (low, middle)
    return round((low + high) / 2, 2)
