"""Morphologies of galaxies on pictures, measured by statmorph, which rules and forests use.

Statmorph (Rodriguez-Gomez et al. 2019, MNRAS 483, 4140) measures concentration, asymmetry and smoothness
(Conselice 2003, ApJS 147, 1), Gini and M20 (Lotz, Primack & Madau 2004, AJ 128, 163), multimode, intensity
and deviation (Freeman et al. 2013, MNRAS 434, 282), shape asymmetry (Pawlik et al. 2016, MNRAS 456, 3032), a
Sersic fit, and sizes. Colour pictures have an asinh stretch, which is undone first, since Gini and the
asymmetry would otherwise measure the stretch.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

CASGM = ("concentration", "asymmetry", "smoothness", "gini", "m20")
# The names of statmorph; lengths are in units of the picture's side or of the Petrosian radius.
PLAIN = (
    *CASGM,
    "gini_m20_bulge",
    "gini_m20_merger",
    "multimode",
    "intensity",
    "deviation",
    "rms_asymmetry2",
    "outer_asymmetry",
    "shape_asymmetry",
    "ellipticity_centroid",
    "ellipticity_asymmetry",
    "sersic_n",
    "sersic_ellip",
    "sersic_chi2_dof",
    "sn_per_pixel",
)
PER_PETROSIAN = ("rhalf_circ", "rmax_circ", "sersic_rhalf")
FEATURES = (*PLAIN, *PER_PETROSIAN, "rpetro_circ", "off_centroid", "off_picture")
MEASURED = ("flag", *FEATURES)

GOOD = 1  # the largest flag of a reliable measurement; 2 to 4 are failures in statmorph
FAILED = 4
INVALID = -99.0  # stands for a value that could not be measured, in statmorph
LARGEST = 1e9  # the largest value, since fits can diverge, and forests take float32

SMOOTHING = 1.5  # pixels
THRESHOLD = 1.5  # in units of the noise of the sky
SMALLEST = 8  # the smallest number of pixels in a segment
CLIP = 3.0  # pixels brighter than this many sigmas are not sky
GROWTH = 6  # the width in pixels of the border of a source that is not taken for sky
PASSES = 3  # the number of times that sources are found, and the sky is taken between them
LEAST_SKY = 0.02  # the smallest fraction of the picture that is taken for sky
ROUNDING = 0.5 / 255  # rms error, sqrt(3/12) steps, of the sum of three channels rounded to 8 bits

Light = NDArray[np.float64]


def unstretch(pixels: NDArray[np.uint8], stretch: float | None) -> Light:
    """Undo the asinh stretch of a colour picture (Lupton et al. 2004, PASP 116, 133).

    The stretch maps the light R+G+B to r+g+b = arcsinh(n (R+G+B)) / n.

    Parameters
    ----------
    pixels
        The pixels r, g, b, from 0 to 255, shape (..., 3).
    stretch
        The nonlinearity n for channels from 0 to 1; None where the picture is linear.

    Returns
    -------
    ndarray
        The light R+G+B, shape (...), in the units of the picture.
    """
    total = pixels.sum(axis=-1, dtype=np.float64) / 255
    return total if stretch is None else np.asarray(np.sinh(stretch * total) / stretch)


def sky(light: Light) -> tuple[float, float]:
    """Return the level and the noise of the sky.

    The sky lies between the sources, which are in turn found above the sky. Otherwise the wings of a galaxy
    that fills the picture would be taken for sky.
    """
    level, sigma = _clipped(light)
    for _ in range(PASSES):
        is_source = ndimage.binary_dilation(_sources(light - level, sigma) > 0, iterations=GROWTH)
        if np.mean(~is_source) < LEAST_SKY:
            break
        level, sigma = _clipped(light[~is_source])
    return level, sigma


def _clipped(light: Light) -> tuple[float, float]:
    """Return the median of pixels and the width of their distribution, without bright ones.

    A picture has no negative pixels, which cuts off the noise below the sky. The width is therefore taken
    from the pixels above the median.
    """
    values = light.ravel()
    while True:
        level = float(np.median(values))
        above = values[values >= level]
        sigma = max(float(np.quantile(above, math.erf(math.sqrt(0.5)))) - level, ROUNDING)
        kept = values[values <= level + CLIP * sigma]
        if len(kept) == len(values):
            return level, sigma
        values = kept


def segment(light: Light, sigma: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Find the galaxy in the centre.

    Parameters
    ----------
    light
        The image without sky, shape (H, W).
    sigma
        The noise of the sky.

    Returns
    -------
    tuple of ndarray
        The pixels of the source nearest to the centre, and those of all others; None if there is no source.
    """
    labels = _sources(light, sigma)
    pixels = np.argwhere(labels > 0)
    if not len(pixels):
        return None
    offsets = pixels - (np.array(light.shape) - 1) / 2
    nearest = pixels[np.argmin((offsets**2).sum(axis=1))]
    central = labels == labels[tuple(nearest)]
    return central, (labels > 0) & ~central


def _sources(light: Light, sigma: float) -> NDArray[np.int32]:
    """Return the number of the source that each pixel belongs to, shape (H, W), and 0 for none."""
    bright = ndimage.gaussian_filter(light, SMOOTHING) > THRESHOLD * sigma
    labels, _ = ndimage.label(bright, structure=np.ones((3, 3)))
    small = np.bincount(labels.ravel()) < SMALLEST
    small[0] = False
    return np.where(small[labels], 0, labels)


def measure(pixels: NDArray[np.uint8], stretch: float | None) -> NDArray[np.float64]:
    """Measure the galaxy in the centre of a picture.

    Parameters
    ----------
    pixels
        The picture, uint8, shape (H, W, 3).
    stretch
        The stretch of the picture (see `unstretch`).

    Returns
    -------
    ndarray
        A value for each of `MEASURED`: the flag of statmorph (at most `GOOD` for a reliable measurement, and
        `FAILED` if nothing could be measured), and then the features, which are finite, and `INVALID` where
        one could not be measured.
    """
    return measure_light(unstretch(pixels, stretch))


def measure_light(light: Light) -> NDArray[np.float64]:
    """Measure the galaxy in the centre of an image that is linear in light, as `measure` does."""
    level, sigma = sky(light)
    light = light - level
    found = segment(light, sigma)
    morphology = None if found is None else _statmorph(light, sigma, *found)
    if morphology is None or morphology.flag >= FAILED:
        return np.array([FAILED, *[INVALID] * len(FEATURES)], dtype=np.float64)
    values = np.array([morphology.flag, *_features(morphology, light.shape)], dtype=np.float64)
    return np.where(np.isfinite(values), np.clip(values, -LARGEST, LARGEST), INVALID)


def _statmorph(light: Light, sigma: float, central: NDArray[np.bool_], others: NDArray[np.bool_]) -> Any:
    """Return the morphology of a segment by statmorph, or None where it can't be measured."""
    # The import takes seconds, and is not needed where all has been measured before.
    from astropy.utils.exceptions import AstropyUserWarning
    from statmorph import SourceMorphology

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyUserWarning)  # the flags tell the same
        warnings.simplefilter("ignore", RuntimeWarning)  # comes from steps of fits, and from empty annuli
        try:
            return SourceMorphology(
                light, central.astype(np.int64), 1, mask=others, weightmap=np.full(light.shape, sigma)
            )
        except (AssertionError, ArithmeticError, LookupError, RuntimeError, ValueError):
            return None  # a radius has no pixels, or an equation no root


def _features(morphology: Any, shape: tuple[int, ...]) -> list[float]:
    centre = np.array([morphology.xc_asymmetry, morphology.yc_asymmetry])
    centroid = np.array([morphology.xc_centroid, morphology.yc_centroid])
    middle = (np.array(shape[::-1]) - 1) / 2
    petrosian = morphology.rpetro_circ if morphology.rpetro_circ > 0 else np.nan
    return [
        *(morphology[name] for name in PLAIN),
        *(morphology[name] / petrosian for name in PER_PETROSIAN),
        petrosian / max(shape),
        float(np.linalg.norm(centroid - centre)) / petrosian,
        float(np.linalg.norm(middle - centre)) / petrosian,
    ]
