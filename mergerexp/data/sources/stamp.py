"""One image file to one RGB stamp, or the reason why not."""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

JPEG_MAGIC, PNG_MAGIC = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
PNG_BIT_DEPTH_AT = 24  # offset of the bit depth: signature, then length, type, width, height of IHDR
MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}
# A JPEG may be decoded at 1/2, 1/4 or 1/8 scale, thrice as quick, if this many times the stamp's pixels are
# left: on SDSS cutouts that changes a stamp by 0.5 grey levels rms, as much as bicubic and Lanczos differ.
DRAFT_MARGIN = 1.5
RESAMPLING = f"bicubic, JPEG draft {DRAFT_MARGIN}"
# What Pillow raises for damaged files.
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
)


class UnusableImage(ValueError):
    """An image file that gives no stamp; the message is the reason."""


def make_stamp(data: bytes, size: int, crop: float) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Decode a JPEG or PNG, cut its central square and resample that once.

    Orientation by EXIF is applied, transparency is laid over black, and the resampling averages over all
    pixels that it covers (bicubic, antialiased). A JPEG much larger than the stamp is decoded at reduced
    scale (`DRAFT_MARGIN`).

    Parameters
    ----------
    data
        The file's bytes.
    size
        Side of the stamp in pixels.
    crop
        Fraction of the central square's side that is kept.

    Returns
    -------
    stamp : ndarray
        uint8, shape (size, size, 3), RGB.
    dimensions : tuple of int
        Width and height of the image as stored in the file.

    Raises
    ------
    UnusableImage
        If the file is no whole 8-bit grey or RGB image of at least 2 by 2 pixels.
    """
    image, dimensions = _decode(data, DRAFT_MARGIN * size / crop)
    width, height = image.size
    # Whole pixels: a box between pixels would blur an image that needs no resampling.
    side = max(1, round(crop * min(width, height)))
    left, top = (width - side) // 2, (height - side) // 2
    stamp = image.resize(
        (size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side), reducing_gap=3.0
    )
    return np.asarray(stamp), dimensions


def _decode(data: bytes, side: float) -> tuple[Image.Image, tuple[int, int]]:
    """Decode to RGB, a JPEG perhaps at a reduced scale with at least `side` pixels; return also its size."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = _open(data)
            dimensions = image.size
            scale = side / min(dimensions)
            image.draft(None, (math.ceil(scale * image.width), math.ceil(scale * image.height)))
            return _to_rgb(image), dimensions
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise UnusableImage(f"decompression bomb: more than {Image.MAX_IMAGE_PIXELS} pixels") from error
        except UnusableImage:
            raise
        except DAMAGED as error:
            raise UnusableImage(f"truncated or corrupt: {error}") from error


def _open(data: bytes) -> Image.Image:
    """Open an image and refuse what cannot become 8-bit RGB, before its pixels are decoded."""
    if not data:
        raise UnusableImage("empty file (zero bytes)")
    if not data.startswith((JPEG_MAGIC, PNG_MAGIC)):
        raise UnusableImage("not an image (neither JPEG nor PNG, whatever its name)")
    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
    except UnidentifiedImageError as error:
        raise UnusableImage("truncated or corrupt: its header cannot be read") from error
    if min(image.size) < 2:
        raise UnusableImage(f"{image.width}×{image.height} px: at least 2×2 px are needed")
    if getattr(image, "n_frames", 1) > 1:
        raise UnusableImage(f"animated or multi-frame ({image.n_frames} frames)")  # type: ignore[attr-defined]
    # Pillow would silently cut 16-bit RGB to its upper 8 bits, so ask the file itself.
    if image.mode.startswith("I") or (data.startswith(PNG_MAGIC) and data[PNG_BIT_DEPTH_AT] == 16):
        raise UnusableImage("16-bit: convert it to 8 bits, with the stretch you want")
    if image.mode not in MODES:
        raise UnusableImage(f"colour mode {image.mode}: convert it to RGB")
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    """Decode, turn upright and lay over black."""
    ImageOps.exif_transpose(image, in_place=True)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return image if image.mode == "RGB" else image.convert("RGB")
