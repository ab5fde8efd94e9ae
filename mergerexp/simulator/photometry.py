"""The numbers that describe the survey: bands, colours, depth and sharpness of its images.

Images are float32, of shape (3, size, size) with the bands g, r and i, and in nanomaggies (nMgy) per pixel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

NATIVE_PIXEL = 0.396  # arcsec, SDSS
# Sky noise per native pixel in nMgy, from the 5-sigma depths of 23.13, 22.70 and 22.20 mag.
SKY_NOISE = (0.0216, 0.033, 0.052)
PSF_FWHM = (1.40, 1.32, 1.26)  # arcsec, medians
FWHM_PER_SIGMA = 2.3548
# Extinction of Milky Way dust relative to that in r (Cardelli, Clayton & Mathis 1989, ApJ 345, 245).
EXTINCTION = (1.40, 1.0, 0.76)
YOUNG_COLOURS = (0.08, -0.02)


def band_fluxes(r_flux: float, g_minus_r: float, r_minus_i: float) -> NDArray[np.float64]:
    """Return the fluxes in g, r and i, shape (3,), of a source with an r flux and colours in magnitudes."""
    return r_flux * np.array([10 ** (-0.4 * g_minus_r), 1.0, 10 ** (0.4 * r_minus_i)])


def stellar_fluxes(r_flux: float, g_minus_r: float) -> NDArray[np.float64]:
    """Return the fluxes in g, r and i, shape (3,), of stars whose r-i follows g-r as in galaxies."""
    return band_fluxes(r_flux, g_minus_r, 0.5 * g_minus_r)


def sky_noise(pixel: float, depth: float) -> NDArray[np.float64]:
    """Return the sky noise per pixel in nMgy, shape (3,).

    The noise is proportional to the side of a pixel, which ``pixel`` gives in arcsec, and ``depth``
    multiplies the noise of SDSS.
    """
    return np.array(SKY_NOISE) * (pixel / NATIVE_PIXEL * depth)
