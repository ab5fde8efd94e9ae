"""The renderer for both classes: it draws the galaxies of a snapshot, and takes the picture of a stamp."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mergerexp.simulator import sky
from mergerexp.simulator.cameras import SDSS, Camera, store
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
    sky_noise,
    stellar_fluxes,
)
from mergerexp.simulator.sky import sersic

SMALLEST_STAMP = 24.0  # side in arcsec
WIDTH_SCATTER = 0.12  # dex
BLENDING = 0.25  # power with which the radius of a blend grows with its light
# The isophote of the asymmetry in sigma of a smoothed sky, and the smoothing in pixels of a 128-pixel stamp.
ISOPHOTE_SIGMA = 2.5
ISOPHOTE_SMOOTHING = 1.5


@dataclass(frozen=True)
class Stamp:
    """The geometry of a picture.

    Attributes
    ----------
    size
        The side of the picture in pixels.
    pixel
        The side of a pixel in arcsec.
    """

    size: int
    pixel: float


def draw_stamp(
    rng: np.random.Generator,
    galaxy: Galaxy,
    placements: Sequence[Placement],
    width: float,
    size: int,
    camera: Camera = SDSS,
) -> Stamp:
    """Draw a stamp whose side is some Petrosian radii of a galaxy, with scatter, and 24 arcsec or more.

    Parameters
    ----------
    rng
        The generator of random numbers.
    galaxy
        The galaxy in the centre.
    placements
        The placement of this galaxy and, if there is one, that of a companion, bound or not. A blend has a
        larger radius, as the pipeline of the survey would measure it.
    width
        The side of the stamp in Petrosian radii.
    size
        The side of the stamp in pixels.
    camera
        What the picture is taken with, which may show less or more of the sky.
    """
    fluxes = [flux_of(at.magnitude) for at in placements]
    radius = galaxy.petrosian_radius * (sum(fluxes) / fluxes[0]) ** BLENDING
    side = width * radius * placements[0].scale * 10 ** rng.normal(0, WIDTH_SCATTER)
    return Stamp(size, camera.width * max(side, SMALLEST_STAMP) / size)


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
        The geometry of the picture.
    snapshot
        The particles and the nuclei.
    galaxies
        The galaxy of each nucleus.
    placements
        The placement of each nucleus; all galaxies of a snapshot are seen at the scale of the first one.
    view
        The rotation to the sky, shape (3, 3), whose rows are x, y and the direction toward the observer.
    origin
        The point in kpc that is at the centre of the stamp, shape (3,).
    activities
        The effects of the encounter on each galaxy; None for undisturbed galaxies.

    Returns
    -------
    ndarray
        The image in nMgy per pixel, float32, shape (3, size, size).
    """
    image = np.zeros((3, stamp.size, stamp.size), dtype=np.float32)
    to_pixels = placements[0].scale / stamp.pixel
    for k, galaxy in enumerate(galaxies):
        activity = activities[k] if activities else Activity()
        flux = flux_of(placements[k].magnitude)
        nucleus, axes, members = snapshot.nuclei[k], snapshot.axes[k], snapshot.owner == k
        if members.any():  # an elliptical has no particles
            offsets = snapshot.positions[:, members] - nucleus.astype(np.float32)[:, None]
            in_disc = (axes / galaxy.disc_scale).astype(np.float32) @ offsets
            light = disc_light(galaxy, in_disc, snapshot.age[members], axes @ view[2], flux, activity)
            offsets += (nucleus - origin).astype(np.float32)[:, None]
            pixels = (view[:2] * to_pixels).astype(np.float32) @ offsets + np.float32(stamp.size / 2)
            image += deposit(pixels, light, stamp.size)
        x, y = (view[:2] @ (nucleus - origin) * to_pixels + stamp.size / 2).tolist()
        spin = (view @ axes.T)[:, 2]
        image += _core(stamp.size, galaxy, (x, y), to_pixels, spin, flux, activity)
    return image


def _core(
    size: int,
    galaxy: Galaxy,
    centre: tuple[float, float],
    to_pixels: float,
    spin: NDArray[np.float64],
    flux: float,
    activity: Activity,
) -> Floats:
    """Draw the bulge, seen through the dust of its disc, and the glow of a central starburst."""
    radius = max(galaxy.bulge_radius * to_pixels, 0.3)
    bulge = sersic(size, *centre, radius, galaxy.bulge_index, galaxy.bulge_ratio, galaxy.bulge_angle)
    fluxes = stellar_fluxes(flux * galaxy.bulge_fraction, galaxy.bulge_colour).astype(np.float32)
    image = fluxes[:, None, None] * bulge
    if not galaxy.early:
        image *= _bulge_dust(size, galaxy, centre, to_pixels, spin)
    if activity.glow > 0:
        spot = sersic(size, *centre, max(0.12 * galaxy.disc_scale * to_pixels, 0.3), 1.0, 0.9, 0.0)
        glow = band_fluxes(flux * activity.glow, YOUNG_COLOURS[0] + 0.1, YOUNG_COLOURS[1] + 0.08)
        image += glow.astype(np.float32)[:, None, None] * spot
    return np.asarray(image)


def _bulge_dust(
    size: int, galaxy: Galaxy, centre: tuple[float, float], to_pixels: float, spin: NDArray[np.float64]
) -> Floats:
    """Return the transmission, shape (3, size, size), of the bulge's light through the dust of its disc."""
    unit = galaxy.disc_scale * to_pixels
    x = (np.arange(size, dtype=np.float32) + 0.5 - centre[0])[None] / unit
    y = (np.arange(size, dtype=np.float32) + 0.5 - centre[1])[:, None] / unit
    # The height of the dust plane toward the observer; the part of the bulge behind it is dimmed.
    toward = 1.0 if spin[2] >= 0 else -1.0
    above = outside_layer(np.float32(spin[0]) * x + np.float32(spin[1]) * y)
    plane = -above / np.float32(toward * max(abs(spin[2]), GRAZING))
    behind = 0.5 * (1 + np.tanh(1.5 * plane * galaxy.disc_scale / galaxy.bulge_radius))
    column = galaxy.pattern.dust / max(abs(float(spin[2])), STEEPEST)
    depth = column * np.exp(-np.sqrt(x**2 + y**2 + plane**2) / DUST_LENGTH)
    extinction = np.array(EXTINCTION)[:, None, None]
    return np.asarray(1 - behind * (1 - np.exp(-extinction * depth)), dtype=np.float32)


def shape_asymmetry(image: Floats, pixel: float, depth: float) -> float:
    """Return the shape asymmetry (Pawlik et al. 2016, MNRAS 456, 3032) of the noise-free r image.

    It is the fraction of the pixels above an isophote, from 0 to 1, for which the pixel opposite the centre
    is not above it.

    Parameters
    ----------
    image
        The image before PSF and noise, float32, shape (3, size, size).
    pixel
        The side of a pixel in arcsec.
    depth
        The noise in units of that of SDSS; the isophote depends on it.
    """
    smoothing = ISOPHOTE_SMOOTHING * image.shape[-1] / 128
    blurred = gaussian_filter(image[1], np.hypot(smoothing, PSF_FWHM[1] / FWHM_PER_SIGMA / pixel))
    threshold = ISOPHOTE_SIGMA * sky_noise(pixel, depth)[1] / (2 * np.sqrt(np.pi) * smoothing)
    mask = blurred > threshold
    return float((mask ^ mask[::-1, ::-1]).sum() / (2 * max(int(mask.sum()), 1)))


def take_picture(
    rng: np.random.Generator,
    image: Floats,
    stamp: Stamp,
    depth: float,
    star_at: float | None = None,
    camera: Camera = SDSS,
) -> NDArray[np.uint8]:
    """Take a picture of galaxies, with stars and galaxies around them, a draw of the seeing, and noise.

    Parameters
    ----------
    rng
        The generator of random numbers.
    image
        The galaxies, as `draw_galaxies` draws them.
    stamp
        The geometry of the picture.
    depth
        The noise in units of that of SDSS.
    star_at
        The distance of a bright star from the centre in arcsec; None for no such star.
    camera
        What the picture is taken with.

    Returns
    -------
    ndarray
        The picture in colour, uint8, shape (size, size, 3).
    """
    scene = image.copy()
    sky.add_field(rng, scene, stamp.pixel, star_at)
    seen = sky.convolve(scene, stamp.pixel, seeing=camera.seeing * 10 ** rng.normal(0, 0.05))
    noisy = sky.add_noise(rng, seen, stamp.pixel, depth * camera.depth)
    return store(to_picture(noisy, stamp.pixel, camera.stretch, camera.q, camera.factors), camera)
