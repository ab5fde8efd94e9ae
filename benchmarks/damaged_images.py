"""Imitated images of galaxies in many file formats, and functions that damage such files."""

from __future__ import annotations

import io
import random
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

Damage = Callable[[random.Random, bytes], bytes]


def picture(rng: random.Random) -> bytes:
    """Return an image of a random galaxy as a file in a random format."""
    side = rng.randrange(80, 260)
    y, x = np.mgrid[:side, :side] / side - 0.5
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, 8, (side, side, 3))
    tilt, width = rng.uniform(0.3, 1.0), rng.uniform(5, 20)
    light = 230 * np.exp(-width * np.hypot(x, y / tilt)) * (1 + 0.3 * np.sin(30 * x))
    pixels = (light[..., None] * [1, 0.9, 0.8] + 12 + noise).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    ways: list[tuple[str, str | None, dict[str, Any]]] = [
        ("JPEG", None, {"quality": 90}),
        ("JPEG", None, {"quality": 75, "subsampling": 0}),
        ("JPEG", None, {"progressive": True}),
        ("JPEG", None, {"restart_marker_rows": 2}),
        ("JPEG", "L", {}),
        ("PNG", None, {}),
        ("PNG", "P", {}),
        ("PNG", "L", {}),
        ("PNG", "RGBA", {}),
    ]
    form, change, options = rng.choice(ways)
    buffer = io.BytesIO()
    (image.convert(change) if change else image).save(buffer, form, **options)
    return buffer.getvalue()


def _start_of_pixels(data: bytes) -> int:
    if not is_jpeg(data):
        return data.index(b"IDAT") + 4
    start = data.index(b"\xff\xda")
    return start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")


def is_jpeg(data: bytes) -> bool:
    """Tell whether a file is a JPEG; otherwise it is a PNG."""
    return data.startswith(b"\xff\xd8")


def _end(data: bytes) -> bytes:
    """Return the bytes that end a file of the same format."""
    return b"\xff\xd9" if is_jpeg(data) else struct.pack(">I", 0) + b"IEND\xae\x42\x60\x82"


def _somewhere(rng: random.Random, data: bytes, length: int = 0) -> int:
    """Return a random position in the compressed pixels, which has `length` bytes of them after it."""
    start, stop = _start_of_pixels(data), len(data) - len(_end(data)) - length
    return rng.randrange(start, max(start + 1, stop))


def flipped(data: bytes, at: int, rng: random.Random) -> bytes:
    """Return data with a random bit of one byte flipped.

    Parameters
    ----------
    data
        The data.
    at
        The position of the byte.
    rng
        The random numbers.
    """
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(2, len(data) - 1)]


def _cut_and_closed(rng: random.Random, data: bytes) -> bytes:
    return data[: _somewhere(rng, data, 16)] + _end(data)


def _zero_tail(rng: random.Random, data: bytes) -> bytes:
    at = _somewhere(rng, data, 64)
    return data[:at] + bytes(len(data) - at)


def _replaced(rng: random.Random, data: bytes, length: int, fill: Callable[[int], bytes]) -> bytes:
    at = _somewhere(rng, data, length)
    return data[:at] + fill(length) + data[at + length :]


def _block_missing(rng: random.Random, data: bytes) -> bytes:
    at = _somewhere(rng, data, 512)
    return data[:at] + data[min(at + 512, len(data) - len(_end(data))) :]


def _block_twice(rng: random.Random, data: bytes) -> bytes:
    at = _somewhere(rng, data, 512)
    return data[: at + 512] + data[at:]


def _other_size(rng: random.Random, data: bytes) -> bytes:
    """Return a file whose header states another size of the image, with a right checksum."""
    width, height = rng.choice([(9400, 9400), (3000, 3000), (500, 500), (40, 40), (60_000, 1), (0, 50)])
    if is_jpeg(data):
        found = re.search(rb"\xff[\xc0\xc2]", data)
        assert found
        return data[: found.start() + 5] + struct.pack(">HH", height, width) + data[found.start() + 9 :]
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def _part_missing(rng: random.Random, data: bytes) -> bytes:
    """Return a file without one of its segments or chunks, but with the first."""
    parts, at = [], 2 if is_jpeg(data) else 8
    while at < len(data) and not (is_jpeg(data) and data[at + 1] in (0xD9, 0xDA)):
        length = struct.unpack_from(">H", data, at + 2)[0] + 2 if is_jpeg(data) else 0
        length = length or struct.unpack_from(">I", data, at)[0] + 12
        parts.append((at, at + length))
        at += length
    start, stop = rng.choice(parts[1:])
    return data[:start] + data[stop:]


def _no_image(rng: random.Random, data: bytes) -> bytes:
    return rng.choice([b"", b"<html>404</html>", rng.randbytes(300), data[:4] + rng.randbytes(300)])


IMAGE_DAMAGE: dict[str, Damage] = {
    "cut": _cut,
    "cut and closed": _cut_and_closed,
    "zeros to the end": _zero_tail,
    "a flipped bit in the pixels": lambda rng, data: flipped(data, _somewhere(rng, data), rng),
    "a flipped bit in the header": lambda rng, data: flipped(
        data, rng.randrange(_start_of_pixels(data)), rng
    ),
    "a few other bytes in the pixels": lambda rng, data: _replaced(rng, data, 8, rng.randbytes),
    "a block of zeros": lambda rng, data: _replaced(rng, data, 512, bytes),
    "a block of noise": lambda rng, data: _replaced(rng, data, 512, rng.randbytes),
    "a block missing": _block_missing,
    "a block twice": _block_twice,
    "another size in the header": _other_size,
    "a segment or chunk missing": _part_missing,
    "no image": _no_image,
}
