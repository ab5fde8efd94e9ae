"""Degradations of images: noise, blur, compression, dimming, rotation, rescaling, a star beside the galaxy.

Each degradation is a function of a batch of images, which are float32, of shape (B, 3, S, S) and in 0..255,
and returns images of the same kind on the same device. The degradations act on pictures as they are
displayed, after their stretch, and not on fluxes. At the strength that stands for no degradation the images
are returned unchanged.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mergerexp.cores import usable_cores
from mergerexp.seeding import seed_for

WHITE = 255.0
FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))
SKY = 1 / 16  # the width of the border that is taken for sky, in sides
SIGMA_PER_MAD = 1.4826  # standard deviation over median absolute deviation, of a normal distribution
MOFFAT_BETA = 2.5
STAR_FWHM = 1 / 32  # in sides: SDSS's 1.3 arcsec on a stamp of 42 arcsec
STAR_DISTANCE = (0.15, 0.4)  # range of distances from the centre, in sides


def add_noise(images: Tensor, sigma: float, unit: Tensor) -> Tensor:
    """Add Gaussian noise, independent in each colour.

    Parameters
    ----------
    images
        The images, as the module's docstring describes them.
    sigma
        The standard deviation of the noise in grey levels. Values outside 0..255 are clipped.
    unit
        Noise with a standard deviation of 1, of the images' shape.
    """
    return (images + sigma * unit).clamp(0, WHITE)


def blur(images: Tensor, fwhm: float) -> Tensor:
    """Convolve with a Gaussian whose full width at half maximum, ``fwhm``, is given in pixels.

    Near the border the Gaussian is normalised over the pixels inside the image.
    """
    if fwhm == 0:
        return images
    place = torch.arange(images.shape[-1], device=images.device, dtype=images.dtype)
    sigma = fwhm / FWHM_PER_SIGMA
    weight = torch.exp(-((place[:, None] - place) ** 2) / (2 * sigma**2))
    mean = weight / weight.sum(1, keepdim=True)
    blurred: Tensor = mean @ images @ mean.T
    return blurred


def compress(images: Tensor, quality: float) -> Tensor:
    """Compress the images as JPEG and read them back, with Pillow on the CPU.

    Parameters
    ----------
    images
        The images, as the module's docstring describes them; they are rounded to whole grey levels.
    quality
        The quality as libjpeg counts it, 1 to 99, rounded; 100 means no compression.
    """
    if quality >= 100:
        return images
    pixels = images.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    with ThreadPoolExecutor(usable_cores()) as pool:
        decoded = np.stack(list(pool.map(lambda image: _through_jpeg(image, round(quality)), pixels)))
    return torch.from_numpy(decoded).to(images.device).permute(0, 3, 1, 2).float()


def _through_jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def dim(images: Tensor, factor: float) -> Tensor:
    """Multiply the grey levels by a factor.

    This is not the picture of a galaxy with less flux: as the stretch is not linear, the core of such a
    galaxy would lose less, and its outskirts would vanish in noise of the same level as before.
    """
    return images * factor


def rotate(images: Tensor, degrees: float) -> Tensor:
    """Rotate counter-clockwise about the centre, and fill the corners by reflection."""
    return _resample(images, degrees, 1.0) if degrees % 360 else images


def zoom_in(images: Tensor, factor: float) -> Tensor:
    """Enlarge about the centre by a factor above 1."""
    return images if factor == 1 else _resample(images, 0.0, factor)


def zoom_out(images: Tensor, factor: float, unit: Tensor) -> Tensor:
    """Shrink the picture about its centre, and fill the frame with sky.

    Pixels that fall on one pixel are averaged. Around the shrunken picture its mirror image fades into sky
    with the median and the scatter of the picture's upper and lower end, so that neither an edge nor a second
    galaxy appears.

    Parameters
    ----------
    images
        The images, as the module's docstring describes them.
    factor
        The factor of the side, below 1. It is rounded such that the side stays even or odd, which keeps the
        centre in its place.
    unit
        Noise with a standard deviation of 1, of the images' shape.
    """
    side = images.shape[-1]
    edge = min(round(side * (1 - factor) / 2), (side - 1) // 2)
    if edge == 0:
        return images
    inner = side - 2 * edge
    small = functional.interpolate(images, size=(inner, inner), mode="bicubic", antialias=True)
    width = max(1, round(SKY * inner))
    border = torch.cat([small[:, :, :width].flatten(2), small[:, :, -width:].flatten(2)], 2)
    level = border.median(2).values[..., None, None]
    scatter = SIGMA_PER_MAD * (border[..., None] - level).abs().median(2).values[..., None]
    mirrored = torch.from_numpy(np.pad(np.arange(inner), edge, mode="symmetric")).to(images.device)
    place = torch.arange(side, device=images.device)
    beyond = torch.maximum(edge - place, place - (side - 1 - edge)).clamp(min=0).to(images.dtype)
    share = torch.exp(-2 * (torch.maximum(beyond[:, None], beyond) / width) ** 2)
    picture = small[:, :, mirrored][:, :, :, mirrored]
    return (share * picture + (1 - share) * (level + scatter * unit)).clamp(0, WHITE)


def _resample(images: Tensor, degrees: float, zoom: float) -> Tensor:
    """Rotate and enlarge about the centre."""
    cosine, sine = math.cos(math.radians(degrees)) / zoom, math.sin(math.radians(degrees)) / zoom
    matrix = torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0]], device=images.device)
    grid = functional.affine_grid(matrix.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    moved = functional.grid_sample(
        images, grid, mode="bicubic", padding_mode="reflection", align_corners=False
    )
    return moved.clamp(0, WHITE)


def add_star(images: Tensor, peak: float, places: Tensor) -> Tensor:
    """Add a white star with the profile of Moffat (1969, A&A 3, 455) for β = 2.5.

    Parameters
    ----------
    images
        The images, as the module's docstring describes them.
    peak
        The star's brightest grey level in units of white. Above 1 the core is saturated and grows with the
        peak; before clipping, the sum over the star's pixels is π α² 255 peak / (β - 1), with
        α = FWHM / (2 √(2^(1/β) - 1)).
    places
        The place of the star in each image, shape (B, 2): x (to the right) and y (down) from the centre, in
        sides.
    """
    side = images.shape[-1]
    alpha = star_fwhm(side) / (2 * math.sqrt(2 ** (1 / MOFFAT_BETA) - 1))
    pixel = torch.arange(side, device=images.device, dtype=images.dtype) - (side - 1) / 2
    x, y = (pixel - side * places[:, axis, None] for axis in (0, 1))
    radius2 = x[:, None, :] ** 2 + y[:, :, None] ** 2
    profile = (1 + radius2 / alpha**2) ** -MOFFAT_BETA
    return (images + WHITE * peak * profile[:, None]).clamp(max=WHITE)


def star_fwhm(side: int) -> float:
    """Return the full width at half maximum of the star in pixels."""
    return max(2.0, STAR_FWHM * side)


def _draw_noise(side: int, generator: torch.Generator) -> Tensor:
    return torch.randn((3, side, side), generator=generator)


def _draw_place(side: int, generator: torch.Generator) -> Tensor:
    low, high = STAR_DISTANCE
    angle, distance = torch.rand(2, generator=generator).tolist()
    radius, angle = low + (high - low) * distance, 2 * math.pi * angle
    return torch.tensor([radius * math.cos(angle), radius * math.sin(angle)])


@dataclass(frozen=True)
class Degradation:
    """One kind of degradation.

    Attributes
    ----------
    apply
        The function that degrades a batch. It takes the images, the strength and, where there is a ``draw``,
        the random numbers that were drawn for each image.
    draw
        The function that draws the random numbers of one image from its side in pixels and a generator; they
        are the same at every strength. None where nothing is random.
    """

    apply: Callable[..., Tensor]
    draw: Callable[[int, torch.Generator], Tensor] | None = None


DEGRADATIONS = {
    "noise": Degradation(add_noise, _draw_noise),
    "blur": Degradation(blur),
    "jpeg": Degradation(compress),
    "dimming": Degradation(dim),
    "rotation": Degradation(rotate),
    "zoom_out": Degradation(zoom_out, _draw_noise),
    "zoom_in": Degradation(zoom_in),
    "star": Degradation(add_star, _draw_place),
}


def degraded(
    name: str, images: Tensor, strengths: Sequence[float], objids: Sequence[int], seed: int
) -> Iterator[Tensor]:
    """Degrade a batch to one strength after the other.

    Parameters
    ----------
    name
        The name of the degradation, a key of `DEGRADATIONS`.
    images
        The images, as the module's docstring describes them.
    strengths
        The strengths, in the unit of the degradation.
    objids
        The objid of each image. The random numbers of an image depend on the seed, the degradation and the
        objid alone, and not on the batch.
    seed
        The seed of the random numbers.

    Yields
    ------
    Tensor
        The images at each strength.
    """
    kind = DEGRADATIONS[name]
    drawn = []
    if kind.draw is not None:
        seeds = (seed_for(seed, name, objid) for objid in objids)
        each = [kind.draw(images.shape[-1], torch.Generator().manual_seed(one)) for one in seeds]
        drawn = [torch.stack(each).to(images.device)]
    for strength in strengths:
        yield kind.apply(images, strength, *drawn)
