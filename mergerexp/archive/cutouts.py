"""Cutouts of images: each is asked for once and checked, and kept, or named with what is wrong."""

from __future__ import annotations

import enum
import hashlib
import io
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import requests
from PIL import Image

from mergerexp.archive.client import Client, NoAnswer, Refused, Retry
from mergerexp.console import ProgressReport
from mergerexp.errors import DataError
from mergerexp.files import written

log = logging.getLogger(__name__)
GIVE_UP = 3  # calls in which a cutout fails, before it is named as failed
PROBES = 3  # cutouts that are asked for to see whether a service has any
IN_A_ROW = 5  # cutouts that fail one after another, before it is taken for the service's fault
MANIFEST = "manifest.jsonl"
UNDECODABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what Pillow raises


class Outcome(enum.StrEnum):
    """What became of a cutout."""

    KEPT = "kept"
    NO_IMAGING = "no imaging"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True)
class Wanted:
    """A cutout that is wanted.

    Attributes
    ----------
    id
        The id of the object, which names the file.
    ra, dec
        Its position in degrees.
    scale
        Arcseconds of a pixel.
    """

    id: str
    ra: float
    dec: float
    scale: float


@dataclass(frozen=True)
class Line:
    """A line of the manifest: what became of a cutout.

    Attributes
    ----------
    id, scale, size
        The object, the arcseconds of a pixel, and the pixels of a side.
    outcome
        An `Outcome`.
    sha256
        The hash of the file; empty where there is none.
    reason
        Why there is none.
    """

    id: str
    scale: float
    size: int
    outcome: str
    sha256: str = ""
    reason: str = ""


class Images(Protocol):
    """What cutouts come from.

    Attributes
    ----------
    name
        An address or a folder.
    is_final
        Whether a place without imaging has none later either.
    """

    name: str
    is_final: bool

    def in_order(self, wanted: Sequence[Wanted]) -> list[Wanted]:
        """Return what is wanted in the order in which it is got best."""

    def get(self, wanted: Wanted, size: int) -> bytes:
        """Return a JPEG, whose side in pixels is given.

        Raises
        ------
        NoAnswer
            If it can't be had now.
        Refused
            If there is none; the message says why.
        """


class Service:
    """The service that makes cutouts.

    Parameters
    ----------
    client
        The client.
    address
        The address of the service, which takes ra, dec, scale, width and height.
    """

    is_final = True

    def __init__(self, client: Client, address: str) -> None:
        self.client, self.name = client, address

    def in_order(self, wanted: Sequence[Wanted]) -> list[Wanted]:
        """Return what is wanted as it is."""
        return list(wanted)

    def get(self, wanted: Wanted, size: int) -> bytes:
        """Ask for a cutout; see `Images`."""
        parameters = {
            "ra": f"{wanted.ra:.7f}", "dec": f"{wanted.dec:.7f}", "scale": f"{wanted.scale:.6f}",
            "width": str(size), "height": str(size),
        }  # fmt: skip
        return self.client.get(self.name, parameters, lambda answer: read_image(answer, size))


class Cutouts:
    """Gets cutouts into a folder, in which a manifest says what became of each.

    Parameters
    ----------
    images
        What they come from.
    folder
        The folder of the images.
    size
        The side of the images in pixels.
    """

    def __init__(self, images: Images, folder: Path, size: int) -> None:
        self.images, self.folder, self.size = images, folder, size
        folder.mkdir(parents=True, exist_ok=True)
        self.lines: dict[str, Line] = {}
        self._failures: Counter[tuple[str, float, int]] = Counter()
        self._good: Wanted | None = None  # the last one that was there
        for line in self._read():
            self._count(line)

    def path(self, object_id: str) -> Path:
        """Return the path of a cutout."""
        return self.folder / f"{object_id}.jpg"

    def get(self, wanted: Sequence[Wanted], progress: bool = True) -> dict[str, Line]:
        """Get the cutouts that are not there, and return what became of all.

        Raises
        ------
        DataError
            If the service stops answering, or some cutouts have failed, in fewer calls than three. What is
            there stays, and the next call goes on.
        """
        missing = [each for each in wanted if not self._is_done(each)]
        self._remember(wanted)
        with ProgressReport("getting cutouts", len(wanted), len(wanted) - len(missing), progress) as report:
            waiting: list[Line] = []  # of answers that may be about the service, and not about the object
            for each in self.images.in_order(missing):
                line = self._get(each)
                if line.outcome == Outcome.KEPT:
                    self._good = each
                if line.outcome in (Outcome.KEPT, Outcome.NO_IMAGING):
                    for earlier in waiting:
                        self._note(earlier)
                    waiting.clear()
                    self._note(line)
                else:
                    waiting.append(line)
                if len(waiting) >= IN_A_ROW:
                    if not self._answers(wanted, waiting):
                        raise DataError(
                            f"{self.images.name}: the last {IN_A_ROW} cutouts failed, that of {line.id} "
                            f"with: {line.reason}; look at the address, or let the same command go on later"
                        )
                    for earlier in waiting:
                        self._note(earlier)
                    waiting.clear()
                report.advance(1)
            for line in waiting:
                self._note(line)
        if failed := [each.id for each in wanted if self._is_waiting(each.id)]:
            raise DataError(
                f"{self.images.name}: {len(failed)} of {len(wanted)} cutouts failed, among them that of "
                f"{failed[0]}: {self.lines[failed[0]].reason}; the same command asks again, {GIVE_UP} times "
                "in all"
            )
        return {each.id: self.lines[each.id] for each in wanted}

    def _remember(self, wanted: Sequence[Wanted]) -> None:
        """Remember a cutout that is there, to ask for it again where it is doubtful if anything is there."""
        for each in reversed(wanted):
            if self._good is None and self.line(each) is not None and self.path(each.id).is_file():
                self._good = each

    def _answers(self, wanted: Sequence[Wanted], waiting: Sequence[Line]) -> bool:
        """Tell whether the service has another cutout, so that it is not to blame for those that failed.

        One that is there already is asked for, or else some of the others, which are not kept.
        """
        failed = {line.id for line in waiting}
        others = [each for each in reversed(wanted) if each.id not in failed]
        for probe in [self._good] if self._good is not None else others[:PROBES]:
            try:
                self.images.get(probe, self.size)
                return True
            except Refused as error:
                if str(error) == Outcome.NO_IMAGING:
                    return True
            except NoAnswer:
                return False
        return False

    def line(self, wanted: Wanted) -> Line | None:
        """Return what became of a cutout with this scale and of this size; None if it is not known."""
        line = self.lines.get(wanted.id)
        return line if line is not None and (line.scale, line.size) == (wanted.scale, self.size) else None

    def _is_waiting(self, object_id: str) -> bool:
        """Tell whether a cutout failed, and is to be asked for again in another call."""
        line = self.lines[object_id]
        return line.outcome == Outcome.FAILED and self._failures[line.id, line.scale, line.size] < GIVE_UP

    def _is_done(self, wanted: Wanted) -> bool:
        """Tell whether nothing has to be asked for; a file whose line a kill has lost is only looked at."""
        line, path = self.line(wanted), self.path(wanted.id)
        if line is not None:
            if line.outcome == Outcome.FAILED:
                return not self._is_waiting(wanted.id)
            if line.outcome == Outcome.NO_IMAGING:
                return self.images.is_final
            return line.outcome != Outcome.KEPT or path.is_file()
        if wanted.id not in self.lines and path.is_file():
            try:
                check_image(path.read_bytes(), self.size)
            except (Retry, Refused):
                path.unlink()
                return False
            self._note(self._kept(wanted, path.read_bytes()))
            return True
        return False

    def _get(self, wanted: Wanted) -> Line:
        try:
            body = self.images.get(wanted, self.size)
        except NoAnswer as error:
            return Line(wanted.id, wanted.scale, self.size, str(Outcome.FAILED), reason=str(error))
        except Refused as error:
            outcome = Outcome.NO_IMAGING if str(error) == Outcome.NO_IMAGING else Outcome.REFUSED
            return Line(wanted.id, wanted.scale, self.size, str(outcome), reason=str(error))
        with written(self.path(wanted.id)) as partial:
            partial.write_bytes(body)
        return self._kept(wanted, body)

    def _kept(self, wanted: Wanted, body: bytes) -> Line:
        return Line(wanted.id, wanted.scale, self.size, str(Outcome.KEPT), hashlib.sha256(body).hexdigest())

    def _note(self, line: Line) -> None:
        """Append a line to the manifest, which survives a kill."""
        with (self.folder / MANIFEST).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(line)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._count(line)

    def _count(self, line: Line) -> None:
        self.lines[line.id] = line
        self._failures[line.id, line.scale, line.size] += line.outcome == Outcome.FAILED

    def _read(self) -> Iterator[Line]:
        """Yield the lines of the manifest; a last one that a kill has cut off is removed."""
        path = self.folder / MANIFEST
        if not path.is_file():
            return
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            with written(path) as partial:
                partial.write_bytes(whole)
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                yield Line(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise DataError(f"{path}, line {number}: this is no line of a manifest") from error


def read_image(answer: requests.Response, size: int) -> bytes:
    """Return the body of an answer that is an image of the right size, and shows something.

    Raises
    ------
    Retry
        If it is no such image.
    Refused
        If it is black, or of one colour: there is no imaging at this place.
    """
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind and not kind.startswith("image/") and kind != "application/octet-stream":
        raise Retry(f"an answer of the type {kind}")
    check_image(answer.content, size)
    return answer.content


def check_image(body: bytes, size: int) -> None:
    """Check the bytes of an image, by decoding all of it; see `read_image`."""
    try:
        with Image.open(io.BytesIO(body)) as image:
            if image.format != "JPEG":
                raise Retry(f"an image of the format {image.format}")
            pixels = np.asarray(image.convert("RGB"))
    except UNDECODABLE as error:
        raise Retry(f"a damaged image: {error}") from error
    if pixels.shape[:2] != (size, size):
        raise Retry(f"an image of {pixels.shape[1]} x {pixels.shape[0]} instead of {size} x {size} pixels")
    if np.ptp(pixels.reshape(-1, 3), axis=0).max() <= 1:  # of a JPEG
        raise Refused(str(Outcome.NO_IMAGING))
