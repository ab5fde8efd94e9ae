"""Image files decoded to RGB stamps, or refused with a reason.

Pixels that a decoder guesses are not used. JPEGs are decoded by libjpeg-turbo, whose warnings count as errors
(Pillow hides them; the pixels are the same), the checksums of PNGs are compared, and a warning of Pillow is a
reason to refuse a file. Damage that turns a JPEG into another valid one remains unnoticed, since the format
has no checksum. A third of single bits that are flipped in its compressed pixels are noticed; one in eight is
not noticed and changes a stamp of 64 px by more than 3 grey levels rms, and the others change it by less. A
file that is cut off anywhere, or has lost a block, is noticed (``benchmarks/fuzz_inputs.py``).
"""

from __future__ import annotations

import io
import math
import re
import warnings

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from mergerexp.errors import describe

JPEG_MAGIC, PNG_MAGIC = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
PNG_BIT_DEPTH_AT = 24  # after the signature, and the length, type, width and height of IHDR
ARITHMETIC = re.compile(rb"\xff[\xc9\xca]\0[\x0b\x11]\x08")  # Huffman coding has C0 to C2 there
MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}
# Bounds the memory of a worker to 0.4 GB, as Pillow takes 16 bytes per pixel to put transparency over black.
MAX_PIXELS = 25_000_000
# A JPEG is decoded at 1/2, 1/4 or 1/8 of its scale, three times faster, if its side is still this many times
# that of the stamp. On SDSS cutouts this changes a stamp by 0.5 grey levels rms, as much as bicubic and
# Lanczos interpolation differ.
DRAFT_MARGIN = 1.5
# Part of a data set's recipe; the version is raised when the accepted files or the pixels change.
DECODING = f"bicubic, JPEG draft {DRAFT_MARGIN}, version 2"


class UnusableImage(ValueError):
    """Raised for an image file that gives no stamp, with the reason as its message."""


def make_stamp(data: bytes, size: int, crop: float) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Decode a JPEG or PNG, cut out its central square, and resample that once.

    The orientation in EXIF is applied, transparent pixels are put over black, and the resampling (bicubic,
    antialiased) averages over all pixels that it covers. A JPEG much larger than the stamp is decoded at a
    reduced scale (`DRAFT_MARGIN`).

    Parameters
    ----------
    data
        The bytes of the file.
    size
        The side of the stamp in pixels.
    crop
        The fraction of the side of the central square that is kept.

    Returns
    -------
    stamp : ndarray
        The stamp, uint8, shape (size, size, 3), RGB.
    dimensions : tuple of int
        The width and the height of the image in the file.

    Raises
    ------
    UnusableImage
        If the file is not a complete 8-bit grey or RGB image of 2 by 2 to `MAX_PIXELS` pixels.
    MemoryError
        If the machine has no memory left, whatever the file.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            image, dimensions = _decode(data, DRAFT_MARGIN * size / crop)
            stamp = _resample(image, size, crop)
    except (UnusableImage, MemoryError):
        raise
    except Exception as error:  # a damaged file makes a decoder raise exceptions of many kinds
        raise UnusableImage(f"truncated or corrupt ({describe(error)})") from error
    for warning in caught:
        if issubclass(warning.category, UserWarning):
            raise UnusableImage(f"corrupt, or not as its format demands ({warning.message}): save it again")
    return stamp, dimensions


def _resample(image: Image.Image, size: int, crop: float) -> NDArray[np.uint8]:
    width, height = image.size
    # The box has whole pixels, as one between pixels would blur an image that needs no resampling.
    side = max(1, round(crop * min(width, height)))
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0))


def _decode(data: bytes, side: float) -> tuple[Image.Image, tuple[int, int]]:
    """Decode to RGB, a JPEG at a reduced scale if ``side`` allows, and return also the size in the file."""
    image = _open(data)
    dimensions = image.size
    if data.startswith(JPEG_MAGIC):
        image = _decode_jpeg(data, image, side)
    else:
        image.verify()  # compares all checksums, and leaves the image unusable
        image = _open(data)
    return _to_rgb(image), dimensions


def _open(data: bytes) -> Image.Image:
    """Open an image, and refuse one that cannot become 8-bit RGB before its pixels are decoded."""
    if not data:
        raise UnusableImage("empty file (zero bytes)")
    if not data.startswith((JPEG_MAGIC, PNG_MAGIC)):
        raise UnusableImage("not an image (neither JPEG nor PNG, whatever its name)")
    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
    except UnidentifiedImageError as error:
        raise UnusableImage("truncated or corrupt: its header cannot be read") from error
    except Image.DecompressionBombError as error:
        raise UnusableImage(_too_large(str(error))) from error
    if min(image.size) < 2:
        raise UnusableImage(f"{image.width}×{image.height} px: at least 2×2 px are needed")
    if image.width * image.height > MAX_PIXELS:
        raise UnusableImage(_too_large(f"{image.width}×{image.height} px"))
    if getattr(image, "n_frames", 1) > 1:
        raise UnusableImage(f"animated or multi-frame ({image.n_frames} frames)")  # type: ignore[attr-defined]
    # Pillow would silently cut 16-bit RGB to its upper 8 bits, so the bit depth is read from the file.
    if image.mode.startswith("I") or (data.startswith(PNG_MAGIC) and data[PNG_BIT_DEPTH_AT] == 16):
        raise UnusableImage("16-bit: convert it to 8 bits, with the stretch you want")
    if image.mode not in MODES:
        raise UnusableImage(f"colour mode {image.mode}: convert it to RGB")
    if data.startswith(JPEG_MAGIC) and ARITHMETIC.search(data):
        raise UnusableImage("arithmetic coding, where decoders notice no damage: save it with Huffman codes")
    return image


def _too_large(found: str) -> str:
    return f"too large, or a corrupt header ({found}; at most {MAX_PIXELS:,} pixels): cut it out or shrink it"


def _decode_jpeg(data: bytes, image: Image.Image, side: float) -> Image.Image:
    """Decode a JPEG whose header Pillow has read, at the smallest of Pillow's scales that is sufficient."""
    scale = side / min(image.size)
    image.draft(None, (math.ceil(scale * image.width), math.ceil(scale * image.height)))
    pixels = simplejpeg.decode_jpeg(data, "RGB", min_width=image.width, min_height=image.height, strict=True)
    if pixels.shape[:2] != (image.height, image.width):
        raise UnusableImage("corrupt: its headers name several sizes")
    decoded = Image.fromarray(pixels)
    decoded.info = image.info  # holds its orientation
    return decoded


def _to_rgb(image: Image.Image) -> Image.Image:
    """Decode an image, turn it upright, and put it over black."""
    ImageOps.exif_transpose(image, in_place=True)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return image if image.mode == "RGB" else image.convert("RGB")
