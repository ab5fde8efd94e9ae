"""Images that are embedded in a page."""

from __future__ import annotations

import base64
import io
from typing import NamedTuple

from PIL import Image


class Embedded(NamedTuple):
    """An image as a data URI, with its size in CSS pixels, of which 96 make an inch."""

    src: str
    width: int
    height: int


def embed(content: bytes, name: str) -> Embedded:
    """Embed the content of an image file.

    Raises
    ------
    ValueError
        If the content is neither a PNG nor a JPEG image; the message contains the name.
    """
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
            kind, size = str(image.format).lower(), image.size
            dpi = image.info.get("dpi", (96, 96))
    except OSError as error:
        raise ValueError(f"{name}: neither a PNG nor a JPEG image") from error
    width, height = (round(float(96 * pixels / dots)) for pixels, dots in zip(size, dpi, strict=True))
    return Embedded(f"data:image/{kind};base64,{base64.b64encode(content).decode()}", width, height)
