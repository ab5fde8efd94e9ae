"""The cameras and archives that simulated pictures are taken with: SDSS's, or a wide range around it.

A network that has seen the pictures of one survey alone may fail on those of another one. With ``variety``
above 0, each picture has its own scale, seeing, depth, stretch, colour balance, background and JPEG quality.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mergerexp.simulator.colour import FACTORS, STRETCH, Q

# How far each property reaches at variety=1: half the range of its logarithm (base 10), around SDSS's.
WIDTH = 0.25  # factor on the side of the stamp
SEEING = 0.20
DEPTH = 0.35
STRETCH_RANGE = 0.30  # both of the stretch and of Q
GAIN = 0.12  # of each colour
BACKGROUND = 12.0  # grey levels that are added or, where too much sky was subtracted, taken away
QUALITIES = (60, 97)  # of JPEG, of which every picture has one


@dataclass(frozen=True)
class Camera:
    """What a picture is taken with.

    Attributes
    ----------
    width
        A factor on the side of the stamp on the sky.
    seeing
        A factor on the width of the PSF.
    depth
        A factor on the noise.
    stretch, q
        Lupton's parameters of the picture.
    factors
        The weights of i, r and g, which become red, green and blue.
    background
        The grey levels that are added to the sky's; negative where an archive has subtracted too much.
    quality
        The JPEG quality that the picture was stored with; None for a picture that was not compressed.
    """

    width: float = 1.0
    seeing: float = 1.0
    depth: float = 1.0
    stretch: float = STRETCH
    q: float = Q
    factors: tuple[float, float, float] = FACTORS
    background: float = 0.0
    quality: int | None = None


SDSS = Camera()


def draw_camera(rng: np.random.Generator, variety: float) -> Camera:
    """Draw a camera.

    Parameters
    ----------
    rng
        The generator of random numbers.
    variety
        How far from SDSS's it may be: 0 for none, 1 for the ranges of this module. Nothing is drawn for 0.
    """
    if variety == 0:
        return SDSS

    def factor(reach: float) -> float:
        return float(10 ** (variety * reach * rng.uniform(-1, 1)))

    low, high = QUALITIES
    return Camera(
        width=factor(WIDTH),
        seeing=factor(SEEING),
        depth=factor(DEPTH),
        stretch=STRETCH * factor(STRETCH_RANGE),
        q=Q * factor(STRETCH_RANGE),
        factors=tuple(weight * factor(GAIN) for weight in FACTORS),  # type: ignore[arg-type]
        background=variety * BACKGROUND * rng.uniform(-1, 1),
        quality=int(rng.integers(low, high + 1)),
    )


def store(picture: NDArray[np.uint8], camera: Camera) -> NDArray[np.uint8]:
    """Return a picture as an archive gives it back: with its background, and compressed.

    Parameters
    ----------
    picture
        The picture, uint8, shape (size, size, 3).
    camera
        What it was taken with.
    """
    if camera.background:
        brighter = picture.astype(np.float32) + np.float32(camera.background)
        picture = np.clip(brighter + 0.5, 0, 255).astype(np.uint8)
    if camera.quality is None:
        return picture
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=camera.quality)
    return np.asarray(Image.open(file))
