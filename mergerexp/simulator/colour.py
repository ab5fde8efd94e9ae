"""Colour pictures of three bands, as SDSS shows them (Lupton et al. 2004, PASP 116, 133)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mergerexp.simulator.photometry import NATIVE_PIXEL, Floats

FACTORS = (0.80, 1.0, 1.45)  # the weights of i, r and g
MINIMUM = -0.008
STRETCH = 0.5
Q = 8.0
PALE = 0.6
CHROMA_BLUR = 0.6  # arcsec
SATURATION = 1.6  # brings the colours of galaxies to those of SDSS pictures
# Rec. 601, the luminance of JPEG.
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def lupton_rgb(red: Floats, green: Floats, blue: Floats, stretch: float = STRETCH, q: float = Q) -> Floats:
    """Map three bands to RGB with an asinh stretch of their mean.

    Parameters
    ----------
    red, green, blue
        Surface brightness in each band, shape (size, size).
    stretch, q
        Lupton's parameters.

    Returns
    -------
    ndarray
        The picture, float32, shape (size, size, 3), from 0 to 255. Where a band saturates, the hue is only
        partly kept, so that the cores of bright stars turn pale, as those of saturated stars do.
    """
    rgb = np.stack([red, green, blue], axis=-1) - np.float32(MINIMUM)
    intensity = rgb.mean(axis=-1, keepdims=True)
    # The slope lets a tenth of the stretch's range be nearly linear, as in Lupton's own code.
    slope = 0.1 * 255 / np.arcsinh(0.1 * q)
    positive = np.maximum(intensity, 1e-9)
    rgb = rgb * np.where(intensity > 0, np.arcsinh(positive * (q / stretch)) * slope / positive, 0)
    rgb = np.maximum(rgb, 0)
    hue_kept = rgb * (255 / np.maximum(rgb.max(axis=-1, keepdims=True), 255))
    return np.asarray(PALE * np.minimum(rgb, 255) + (1 - PALE) * hue_kept, dtype=np.float32)


def smooth_chroma(rgb: Floats, width: float) -> Floats:
    """Blur the colour but not the brightness, as JPEG does, and then strengthen the colour.

    The blur makes the noise less colourful. ``width`` is the sigma of the Gaussian in pixels, and ``rgb`` has
    the shape (size, size, 3).
    """
    luminance = (rgb @ LUMINANCE)[..., None]
    chroma = gaussian_filter(rgb - luminance, (width, width, 0), mode="nearest")
    return np.asarray(luminance + SATURATION * chroma)


def to_picture(
    image: Floats,
    pixel: float,
    stretch: float = STRETCH,
    q: float = Q,
    factors: tuple[float, float, float] = FACTORS,
) -> NDArray[np.uint8]:
    """Turn an image in the bands g, r and i into an RGB picture.

    Parameters
    ----------
    image
        The image in nMgy per pixel, float32, shape (3, size, size).
    pixel
        The side of a pixel in arcsec. The stretch acts on the flux per native pixel, so that brightness in
        the picture means surface brightness at any zoom.
    stretch, q, factors
        Lupton's parameters, and the weights of i, r and g.

    Returns
    -------
    ndarray
        The picture, uint8, shape (size, size, 3), with north (large y) up.
    """
    per_native = np.float32((NATIVE_PIXEL / pixel) ** 2)
    g, r, i = image * per_native
    rgb = lupton_rgb(i * factors[0], r * factors[1], g * factors[2], stretch, q)
    rgb = smooth_chroma(rgb, max(0.8, CHROMA_BLUR / pixel))
    return np.asarray(np.clip(rgb[::-1] + 0.5, 0, 255), dtype=np.uint8)
