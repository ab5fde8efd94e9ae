"""Chunks of a survey's stamps: read, decoded as the training images were, and looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mergerexp.data.sources.folder.stamp import UnusableImage, make_stamp
from mergerexp.hashing import first63, hash63
from mergerexp.survey.inputs import Input, Item
from mergerexp.survey.statuses import Status

FLAT = 2  # grey levels: an image whose values all lie within so many has no objects in it


@dataclass(frozen=True)
class StampChunk:
    """A range of the objects of a survey, with their stamps.

    Attributes
    ----------
    start
        The row of the first object in the input.
    items
        The objects, without their bytes.
    stamps
        Their stamps, uint8, shape (n, size, size, 3); black where there is none.
    status
        What became of each object, `Status.RATED` for those that can be rated.
    reasons
        The reason where there is no stamp.
    sha256
        The hash of each image file in hexadecimal digits; None where there is no file.
    content, stamp
        The first 63 bits of the hashes of file and stamp, shape (n,); -1 where there is none.
    """

    start: int
    items: Sequence[Item]
    stamps: NDArray[np.uint8]
    status: list[Status]
    reasons: list[str]
    sha256: list[str | None]
    content: NDArray[np.int64]
    stamp: NDArray[np.int64]


def make_chunk(
    given: Input, start: int, stop: int, size: int, crop: float, image_size: tuple[int, int] | None
) -> StampChunk:
    """Read and decode a range of objects; an image that can't be used becomes a status with its reason.

    Parameters
    ----------
    given
        The input.
    start, stop
        The range.
    size
        The side of a stamp in pixels.
    crop
        The central fraction of an image that becomes a stamp.
    image_size
        The width and height that all images must have; None if any will do.
    """
    items = given.read(start, stop)
    n = len(items)
    stamps = np.zeros((n, size, size, 3), dtype=np.uint8)
    status, reasons = [item.status for item in items], [item.reason for item in items]
    hashes: list[str | None] = [None] * n
    content, stamp = np.full(n, -1, dtype=np.int64), np.full(n, -1, dtype=np.int64)
    for row, item in enumerate(items):
        if item.data is not None:
            found = hashlib.sha256(item.data)
            hashes[row], content[row] = found.hexdigest(), first63(found.digest())
        elif item.content is not None:
            content[row] = item.content
        if item.status is Status.RATED:
            status[row], reasons[row] = _fill(stamps[row], item, size, crop, image_size)
        if status[row] is Status.RATED:
            stamp[row] = hash63(stamps[row].tobytes())
    light = [Item(item.id, item.ra, item.dec, group=item.group) for item in items]
    return StampChunk(start, light, stamps, status, reasons, hashes, content, stamp)


def _fill(
    place: NDArray[np.uint8], item: Item, size: int, crop: float, image_size: tuple[int, int] | None
) -> tuple[Status, str]:
    """Put the stamp of an object into its place, and return what became of it."""
    if item.stamp is not None:
        stamp = item.stamp
    else:
        assert item.data is not None
        try:
            stamp, found = make_stamp(item.data, size, crop)
        except UnusableImage as error:
            return Status.UNREADABLE, str(error)
        if image_size is not None and found != image_size:
            wanted = f"{image_size[0]}×{image_size[1]}"
            return (
                Status.WRONG_SIZE,
                f"{found[0]}×{found[1]} px, and those of the training set have {wanted} px",
            )
    if int(stamp.max()) - int(stamp.min()) <= FLAT:
        return Status.NO_IMAGING, f"all values lie between {stamp.min()} and {stamp.max()}"
    place[:] = stamp
    return Status.RATED, ""
