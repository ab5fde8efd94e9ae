"""What lies between the galaxies and the picture: Sersic light, stars, faint galaxies, PSF, noise."""

from __future__ import annotations

from dataclasses import dataclass

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

# Per square arcmin: stars of r=14 to 21.5 and galaxies of r=17.5 to 22.
STAR_DENSITY = 2.5
GALAXY_DENSITY = 4.0
PSF_WING = (0.08, 3.0)  # share of light in the wings, and their width relative to the core's
NMGY_PER_ELECTRON = 0.0045  # r band, one 54 s exposure
SERSIC_REACH = 12.0  # half-light radii beyond which a profile is not drawn


@dataclass(frozen=True)
class Sersic:
    """A Sersic (1963) profile on the sky.

    Attributes
    ----------
    x, y
        Centre in pixels from the lower left corner.
    radius
        Half-light radius along the major axis in pixels.
    index
        Sersic index.
    ratio
        Axis ratio.
    angle
        Position angle of the major axis, from x toward y, in radians.
    """

    x: float
    y: float
    radius: float
    index: float
    ratio: float
    angle: float

    def image(self, size: int) -> Floats:
        """Draw the profile with a total of 1 (to infinity), float32, shape (size, size)."""
        reach = SERSIC_REACH * self.radius + 2
        out = np.zeros((size, size), dtype=np.float32)
        x0, x1 = _span(self.x, reach, size)
        y0, y1 = _span(self.y, reach, size)
        if x1 > x0 and y1 > y0:
            out[y0:y1, x0:x1] = self._sample(x0, x1, y0, y1, 1)
        # The cusp needs finer steps than the rest: average 5x5 points in the pixels around it.
        fine = 1.5 * self.radius if self.radius < 4 else 4.0
        x0, x1 = _span(self.x, fine + 2, size)
        y0, y1 = _span(self.y, fine + 2, size)
        if x1 > x0 and y1 > y0:
            out[y0:y1, x0:x1] = self._sample(x0, x1, y0, y1, 7)
        return out

    def _sample(self, x0: int, x1: int, y0: int, y1: int, sub: int) -> Floats:
        x = x0 + (np.arange((x1 - x0) * sub, dtype=np.float32) + 0.5) / sub - self.x
        y = y0 + (np.arange((y1 - y0) * sub, dtype=np.float32) + 0.5) / sub - self.y
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        along = x[None] * cos + y[:, None] * sin
        across = (y[:, None] * cos - x[None] * sin) / np.float32(self.ratio)
        n = self.index
        b = 1.9992 * n - 0.3271  # Capaccioli 1989
        r = np.sqrt(along**2 + across**2) / np.float32(self.radius)
        light = np.exp(-b * (r ** np.float32(1 / n) - 1))
        total = 2 * np.pi * self.radius**2 * self.ratio * n * np.exp(b) * b ** (-2 * n) * gamma(2 * n)
        blocks = light.reshape(y1 - y0, sub, x1 - x0, sub).mean(axis=(1, 3))
        return np.asarray(blocks / total, dtype=np.float32)


def _span(centre: float, reach: float, size: int) -> tuple[int, int]:
    return max(0, int(np.floor(centre - reach))), min(size, int(np.ceil(centre + reach)) + 1)


def _add_point(image: Floats, x: float, y: float, fluxes: NDArray[np.float64]) -> None:
    """Share a point source between the four pixels around it, so that it may lie between them."""
    size = image.shape[-1]
    column, row = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
    dx, dy = x - 0.5 - column, y - 0.5 - row
    for i, wx in ((column, 1 - dx), (column + 1, dx)):
        for j, wy in ((row, 1 - dy), (row + 1, dy)):
            if 0 <= i < size and 0 <= j < size:
                image[:, j, i] += (fluxes * (wx * wy)).astype(np.float32)


def _star_fluxes(rng: np.random.Generator, magnitude: float) -> NDArray[np.float64]:
    """Draw a star: the turn-off's, a K dwarf or an M dwarf, whose g-r no longer grows but r-i does."""
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
        Random stream.
    image
        float32, shape (3, size, size), nMgy per pixel; changed in place.
    pixel
        Side of a pixel in arcsec.
    star_at
        If given, a bright star is put at this distance (arcsec) from the centre.
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
        profile = Sersic(
            x, y, radius, float(rng.choice([1.0, 4.0])), rng.uniform(0.3, 1), rng.uniform(0, np.pi)
        )
        image += fluxes.astype(np.float32)[:, None, None] * profile.image(size)


def convolve(image: Floats, pixel: float, seeing: float = 1.0) -> Floats:
    """Blur each band with its PSF: a Gaussian core and a wider Gaussian for the wings.

    ``seeing`` multiplies the median full widths at half maximum.
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
    """Add the noise of sky and sources.

    A stamp whose pixels are finer than the camera's is a magnified one: the interpolation has smoothed
    its noise over about a native pixel.
    """
    sky = sky_noise(pixel, depth)[:, None, None]
    shot = np.maximum(image, 0) * (NMGY_PER_ELECTRON * depth**2)
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.sqrt(sky**2 + shot)
    magnified = NATIVE_PIXEL / pixel
    if magnified > 1:
        width = 0.45 * float(np.sqrt(magnified**2 - 1))
        noise = gaussian_filter(noise, (0, width, width), mode="reflect")
    return np.asarray(image + noise, dtype=np.float32)
