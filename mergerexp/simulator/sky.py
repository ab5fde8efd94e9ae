"""The sky and the camera: Sersic profiles, foreground stars, faint galaxies, PSF and noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import gamma

from mergerexp.simulator.galaxies import flux_of
from mergerexp.simulator.photometry import (
    FWHM_PER_SIGMA,
    NATIVE_PIXEL,
    PSF_FWHM,
    Floats,
    band_fluxes,
    sky_noise,
)

# The numbers per square arcmin of stars with r = 14 to 21.5 and of galaxies with r = 17.5 to 22.
STAR_DENSITY = 2.5
GALAXY_DENSITY = 4.0
PSF_WING = (0.08, 3.0)  # part of the light in the wings, and their width relative to that of the core
NMGY_PER_ELECTRON = 0.0045  # in the r band and one exposure of 54 s
SERSIC_REACH = 12.0  # half-light radii beyond which a profile is not drawn


def sersic(size: int, x: float, y: float, radius: float, index: float, ratio: float, angle: float) -> Floats:
    """Draw a Sersic (1963) profile on the sky, whose total flux is 1 to infinity.

    Parameters
    ----------
    size
        The side of the image in pixels.
    x, y
        The centre in pixels from the lower left corner.
    radius
        The half-light radius along the major axis in pixels.
    index
        The Sersic index.
    ratio
        The axis ratio.
    angle
        The position angle of the major axis, from x toward y, in radians.

    Returns
    -------
    ndarray
        The image, float32, shape (size, size).
    """
    out = np.zeros((size, size), dtype=np.float32)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    b = 1.9992 * index - 0.3271  # Capaccioli 1989
    total = 2 * np.pi * radius**2 * ratio * index * np.exp(b) * b ** (-2 * index) * gamma(2 * index)
    # The cusp needs finer steps than the rest, so that pixels around it average 7x7 points.
    fine = 1.5 * radius if radius < 4 else 4.0
    for width, sub in ((SERSIC_REACH * radius + 2, 1), (fine + 2, 7)):
        (x0, x1), (y0, y1) = (_span(centre, width, size) for centre in (x, y))
        if x1 > x0 and y1 > y0:
            right = x0 + (np.arange((x1 - x0) * sub, dtype=np.float32) + 0.5) / sub - x
            up = y0 + (np.arange((y1 - y0) * sub, dtype=np.float32) + 0.5) / sub - y
            along = right[None] * cos + up[:, None] * sin
            across = (up[:, None] * cos - right[None] * sin) / np.float32(ratio)
            r = np.sqrt(along**2 + across**2) / np.float32(radius)
            light = np.exp(-b * (r ** np.float32(1 / index) - 1))
            out[y0:y1, x0:x1] = light.reshape(y1 - y0, sub, x1 - x0, sub).mean(axis=(1, 3)) / total
    return out


def _span(centre: float, reach: float, size: int) -> tuple[int, int]:
    return max(0, int(np.floor(centre - reach))), min(size, int(np.ceil(centre + reach)) + 1)


def _add_point(image: Floats, x: float, y: float, fluxes: NDArray[np.float64]) -> None:
    """Add a point source, shared between the four pixels around it, as it may lie between them."""
    size = image.shape[-1]
    column, row = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
    dx, dy = x - 0.5 - column, y - 0.5 - row
    for i, wx in ((column, 1 - dx), (column + 1, dx)):
        for j, wy in ((row, 1 - dy), (row + 1, dy)):
            if 0 <= i < size and 0 <= j < size:
                image[:, j, i] += (fluxes * (wx * wy)).astype(np.float32)


def _star_fluxes(rng: np.random.Generator, magnitude: float) -> NDArray[np.float64]:
    """Draw the fluxes of a turn-off star, a K dwarf or an M dwarf, whose r-i grows while g-r does not."""
    kind = rng.random()
    if kind < 0.8:
        colour = rng.normal(0.45, 0.12) if kind < 0.55 else rng.normal(0.9, 0.15)
        return band_fluxes(flux_of(magnitude), colour, 0.42 * colour - 0.03)
    return band_fluxes(flux_of(magnitude), rng.normal(1.42, 0.08), rng.uniform(0.55, 1.0))


def add_field(rng: np.random.Generator, image: Floats, pixel: float, star_at: float | None = None) -> None:
    """Add foreground stars and faint galaxies to an image.

    Parameters
    ----------
    rng
        The generator of random numbers.
    image
        The image in nMgy per pixel, float32, shape (3, size, size), which is changed in place.
    pixel
        The side of a pixel in arcsec.
    star_at
        The distance of a bright star from the centre in arcsec; None for no such star.
    """
    size = image.shape[-1]
    area = (size * pixel / 60) ** 2
    for _ in range(rng.poisson(STAR_DENSITY * area)):
        # Counts rise slowly toward faint stars.
        x, y = rng.uniform(0, size, 2)
        _add_point(image, x, y, _star_fluxes(rng, rng.triangular(14, 21.5, 21.5)))
    if star_at is not None:
        angle = rng.uniform(0, 2 * np.pi)
        x, y = star_at / pixel * np.array([np.cos(angle), np.sin(angle)]) + size / 2
        _add_point(image, x, y, _star_fluxes(rng, rng.uniform(13.5, 17.0)))
    for _ in range(rng.poisson(GALAXY_DENSITY * area)):
        x, y = rng.uniform(0, size, 2)
        magnitude = rng.triangular(17.5, 22.0, 22.0)
        colour = rng.uniform(0.4, 1.5)
        fluxes = band_fluxes(flux_of(magnitude), colour, 0.45 * colour)
        radius = 10 ** (rng.normal(0.1, 0.2) - 0.08 * (magnitude - 20)) / pixel
        index, ratio, angle = float(rng.choice([1.0, 4.0])), rng.uniform(0.3, 1), rng.uniform(0, np.pi)
        profile = sersic(size, x, y, radius, index, ratio, angle)
        image += fluxes.astype(np.float32)[:, None, None] * profile


def convolve(image: Floats, pixel: float, seeing: float = 1.0) -> Floats:
    """Convolve each band with its PSF, which is a Gaussian core with a wider Gaussian for the wings.

    The side of a pixel is given in arcsec, and ``seeing`` multiplies the median full widths at half maximum.
    """
    share, width = PSF_WING
    out = np.empty_like(image)
    for band, fwhm in enumerate(PSF_FWHM):
        sigma = fwhm * seeing / FWHM_PER_SIGMA / pixel
        core = gaussian_filter(image[band], sigma, mode="constant")
        wings = gaussian_filter(core, sigma * np.sqrt(width**2 - 1), mode="constant", truncate=3.0)
        out[band] = (1 - share) * core + share * wings
    return out


def add_noise(rng: np.random.Generator, image: Floats, pixel: float, depth: float) -> Floats:
    """Add the noise of the sky and the sources.

    A stamp whose pixels are finer than the camera's is a magnified one, in which the interpolation has
    smoothed the noise over about one native pixel.
    """
    sky = sky_noise(pixel, depth)[:, None, None]
    shot = np.maximum(image, 0) * (NMGY_PER_ELECTRON * depth**2)
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.sqrt(sky**2 + shot)
    magnified = NATIVE_PIXEL / pixel
    if magnified > 1:
        width = 0.45 * float(np.sqrt(magnified**2 - 1))
        noise = gaussian_filter(noise, (0, width, width), mode="reflect")
    return np.asarray(image + noise, dtype=np.float32)
