"""One renderer for both classes: galaxies of a snapshot to a stamp, its asymmetry, its picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mergerexp.simulator import sky
from mergerexp.simulator.colour import to_picture
from mergerexp.simulator.dynamics import Snapshot
from mergerexp.simulator.galaxies import Galaxy, Placement, flux_of
from mergerexp.simulator.particles import (
    DUST_LENGTH,
    GRAZING,
    STEEPEST,
    Activity,
    deposit,
    disc_light,
    outside_layer,
)
from mergerexp.simulator.photometry import (
    EXTINCTION,
    FWHM_PER_SIGMA,
    PSF_FWHM,
    YOUNG_COLOURS,
    Floats,
    band_fluxes,
    empty,
    sky_noise,
    stellar_fluxes,
)
from mergerexp.simulator.sky import Sersic

SMALLEST_STAMP = 24.0  # arcsec
WIDTH_SCATTER = 0.12  # dex
BLENDING = 0.25  # power of the blend's light by which its radius grows
# The asymmetry's isophote, in sigma of a sky smoothed by this many pixels of a 128-pixel stamp.
ISOPHOTE_SIGMA = 2.5
ISOPHOTE_SMOOTHING = 1.5


@dataclass(frozen=True)
class Stamp:
    """Geometry of a picture.

    Attributes
    ----------
    size
        Side in pixels.
    pixel
        Side of a pixel in arcsec.
    """

    size: int
    pixel: float

    @classmethod
    def around(
        cls,
        rng: np.random.Generator,
        galaxy: Galaxy,
        placements: Sequence[Placement],
        width: float,
        size: int,
    ) -> Stamp:
        """Fit a stamp to a galaxy: ``width`` Petrosian radii, with scatter, and not below 24 arcsec.

        Parameters
        ----------
        rng
            Random stream.
        galaxy
            The galaxy in the centre.
        placements
            Where it is seen, then where a companion is, bound or not. The survey's pipeline measures a
            larger radius for a blend, and so does this rule.
        width
            Side in Petrosian radii.
        size
            Side in pixels.
        """
        fluxes = [flux_of(at.magnitude) for at in placements]
        radius = galaxy.petrosian_radius * (sum(fluxes) / fluxes[0]) ** BLENDING
        side = width * radius * placements[0].scale * 10 ** rng.normal(0, WIDTH_SCATTER)
        return cls(size, max(side, SMALLEST_STAMP) / size)


def draw_galaxies(
    stamp: Stamp,
    snapshot: Snapshot,
    galaxies: Sequence[Galaxy],
    placements: Sequence[Placement],
    *,
    view: NDArray[np.float64],
    origin: NDArray[np.float64],
    activities: Sequence[Activity] | None = None,
) -> Floats:
    """Draw the galaxies of a snapshot, without PSF and noise.

    Parameters
    ----------
    stamp
        The picture's geometry.
    snapshot
        Particles and nuclei.
    galaxies, placements, activities
        One entry a nucleus; all galaxies of a snapshot are seen at the first one's scale.
    view
        Rotation to the sky, shape (3, 3): rows are x, y and the direction toward the observer.
    origin
        The point (kpc) that comes to the stamp's centre, shape (3,).

    Returns
    -------
    ndarray
        float32, shape (3, size, size), nMgy per pixel.
    """
    image = empty(stamp.size)
    to_pixels = placements[0].scale / stamp.pixel
    for k, galaxy in enumerate(galaxies):
        activity = activities[k] if activities else Activity()
        flux = flux_of(placements[k].magnitude)
        image += _disc(stamp.size, galaxy, snapshot, k, view, origin, to_pixels, flux, activity)
        centre = view[:2] @ (snapshot.nuclei[k] - origin) * to_pixels + stamp.size / 2
        image += _core(stamp.size, galaxy, centre, to_pixels, view @ snapshot.axes[k].T, flux, activity)
    return image


def _disc(
    size: int,
    galaxy: Galaxy,
    snapshot: Snapshot,
    which: int,
    view: NDArray[np.float64],
    origin: NDArray[np.float64],
    to_pixels: float,
    flux: float,
    activity: Activity,
) -> Floats:
    """Light of the particles that were born in one galaxy's disc."""
    own = snapshot.owner == which
    if galaxy.early or not own.any():
        return empty(size)
    nucleus, axes = snapshot.nuclei[which], snapshot.axes[which]
    offsets = snapshot.positions[:, own] - nucleus.astype(np.float32)[:, None]
    light = disc_light(
        galaxy,
        (axes / galaxy.disc_scale).astype(np.float32) @ offsets,
        snapshot.age[own],
        axes @ view[2],
        flux=flux * (1 - galaxy.bulge_fraction),
        activity=activity,
    )
    offsets += (nucleus - origin).astype(np.float32)[:, None]
    pixels = (view[:2] * to_pixels).astype(np.float32) @ offsets + np.float32(size / 2)
    return deposit(pixels, light, size)


def _core(
    size: int,
    galaxy: Galaxy,
    centre: NDArray[np.float64],
    to_pixels: float,
    disc_to_sky: NDArray[np.float64],
    flux: float,
    activity: Activity,
) -> Floats:
    """Bulge, seen through its disc's dust, and the glow of a central starburst."""
    x, y = float(centre[0]), float(centre[1])
    radius = max(galaxy.bulge_radius * to_pixels, 0.3)
    bulge = Sersic(x, y, radius, galaxy.bulge_index, galaxy.bulge_ratio, galaxy.bulge_angle).image(size)
    fluxes = stellar_fluxes(flux * galaxy.bulge_fraction, galaxy.bulge_colour).astype(np.float32)
    image = fluxes[:, None, None] * bulge
    if not galaxy.early:
        image *= _bulge_dust(size, galaxy, (x, y), to_pixels, disc_to_sky[:, 2])
    if activity.glow > 0:
        spot = Sersic(x, y, max(0.12 * galaxy.disc_scale * to_pixels, 0.3), 1.0, 0.9, 0.0).image(size)
        glow = band_fluxes(flux * activity.glow, YOUNG_COLOURS[0] + 0.1, YOUNG_COLOURS[1] + 0.08)
        image += glow.astype(np.float32)[:, None, None] * spot
    return np.asarray(image)


def _bulge_dust(
    size: int, galaxy: Galaxy, centre: tuple[float, float], to_pixels: float, spin: NDArray[np.float64]
) -> Floats:
    """Transmission, shape (3, size, size), of the bulge's light through the thin dust of its disc."""
    unit = galaxy.disc_scale * to_pixels
    x = (np.arange(size, dtype=np.float32) + 0.5 - centre[0])[None] / unit
    y = (np.arange(size, dtype=np.float32) + 0.5 - centre[1])[:, None] / unit
    # Height of the dust plane toward the observer; the bulge behind it is dimmed.
    toward = 1.0 if spin[2] >= 0 else -1.0
    above = outside_layer(np.float32(spin[0]) * x + np.float32(spin[1]) * y)
    plane = -above / np.float32(toward * max(abs(spin[2]), GRAZING))
    behind = 0.5 * (1 + np.tanh(1.5 * plane * galaxy.disc_scale / galaxy.bulge_radius))
    column = galaxy.pattern.dust / max(abs(float(spin[2])), STEEPEST)
    depth = column * np.exp(-np.sqrt(x**2 + y**2 + plane**2) / DUST_LENGTH)
    extinction = np.array(EXTINCTION)[:, None, None]
    return np.asarray(1 - behind * (1 - np.exp(-extinction * depth)), dtype=np.float32)


def shape_asymmetry(image: Floats, pixel: float, depth: float) -> float:
    """Shape asymmetry (Pawlik et al. 2016, MNRAS 456, 3032) of the noise-free r image about its centre.

    The share of pixels above an isophote that are not matched after half a turn, from 0 to 1.

    Parameters
    ----------
    image
        float32, shape (3, size, size), before PSF and noise.
    pixel, depth
        Side of a pixel in arcsec and noise in units of SDSS's; they set the isophote.
    """
    smoothing = ISOPHOTE_SMOOTHING * image.shape[-1] / 128
    blurred = gaussian_filter(image[1], np.hypot(smoothing, PSF_FWHM[1] / FWHM_PER_SIGMA / pixel))
    threshold = ISOPHOTE_SIGMA * sky_noise(pixel, depth)[1] / (2 * np.sqrt(np.pi) * smoothing)
    mask = blurred > threshold
    return float((mask ^ mask[::-1, ::-1]).sum() / (2 * max(int(mask.sum()), 1)))


def take_picture(
    rng: np.random.Generator, image: Floats, stamp: Stamp, depth: float, star_at: float | None = None
) -> NDArray[np.uint8]:
    """Put galaxies into a field, blur them by a draw of the seeing, add noise, show them in colour.

    ``star_at`` puts a bright star at that distance (arcsec) from the centre. Returns uint8, shape
    (size, size, 3).
    """
    scene = image.copy()
    sky.add_field(rng, scene, stamp.pixel, star_at)
    seen = sky.convolve(scene, stamp.pixel, seeing=10 ** rng.normal(0, 0.05))
    return to_picture(sky.add_noise(rng, seen, stamp.pixel, depth), stamp.pixel)
