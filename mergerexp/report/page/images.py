"""Images that are embedded in a page."""

from __future__ import annotations

import base64
import io
import re
from typing import NamedTuple

from PIL import Image


class Embedded(NamedTuple):
    """An image as a data URI, with its size in CSS pixels, of which 96 make an inch.

    An SVG image in this form can run no script and load nothing, as the browser shows it like any picture.
    """

    src: str
    width: int
    height: int


def embed(content: bytes, name: str) -> Embedded:
    """Embed the content of an image file; an SVG must have been written by Matplotlib.

    Raises
    ------
    ValueError
        If the content is no SVG, PNG or JPEG image; the message contains the name.
    """
    if drawn := re.search(rb'<svg [^>]*viewBox="0 0 ([\d.]+) ([\d.]+)"', content[:2000]):
        width, height = (round(float(points) * 96 / 72) for points in drawn.groups())
        return Embedded(_data_uri("svg+xml", content), width, height)
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
            kind, size = str(image.format).lower(), image.size
            dpi = image.info.get("dpi", (96, 96))
    except OSError as error:
        raise ValueError(f"{name}: neither an SVG, a PNG nor a JPEG image") from error
    width, height = (round(float(96 * pixels / dots)) for pixels, dots in zip(size, dpi, strict=True))
    return Embedded(_data_uri(kind, content), width, height)


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
