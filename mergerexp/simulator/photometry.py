"""Bands, colours, depth and sharpness of the images: one place for all numbers of the survey.

Images are float32, shape (3, size, size), bands g, r, i, in nanomaggies (nMgy) per pixel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

NATIVE_PIXEL = 0.396  # arcsec, SDSS
# Sky noise per native pixel in nMgy, from the 5-sigma depths 23.13, 22.70, 22.20.
SKY_NOISE = (0.0216, 0.033, 0.052)
PSF_FWHM = (1.40, 1.32, 1.26)  # arcsec, medians
FWHM_PER_SIGMA = 2.3548
# Extinction relative to r of a Milky Way dust (Cardelli, Clayton & Mathis 1989).
EXTINCTION = (1.40, 1.0, 0.76)
YOUNG_COLOURS = (0.08, -0.02)


def band_fluxes(r_flux: float, g_minus_r: float, r_minus_i: float) -> NDArray[np.float64]:
    """Fluxes in g, r, i, shape (3,), of a source of r flux and colours (magnitudes)."""
    return r_flux * np.array([10 ** (-0.4 * g_minus_r), 1.0, 10 ** (0.4 * r_minus_i)])


def stellar_fluxes(r_flux: float, g_minus_r: float) -> NDArray[np.float64]:
    """Fluxes in g, r, i of a stellar population; r-i follows g-r along the galaxy sequence."""
    return band_fluxes(r_flux, g_minus_r, 0.5 * g_minus_r)


def sky_noise(pixel: float, depth: float) -> NDArray[np.float64]:
    """Sky noise per pixel in nMgy, shape (3,): it grows as the side of a pixel (arcsec).

    ``depth`` multiplies the noise of SDSS.
    """
    return np.array(SKY_NOISE) * (pixel / NATIVE_PIXEL * depth)


def empty(size: int) -> Floats:
    """Blank image."""
    return np.zeros((3, size, size), dtype=np.float32)
