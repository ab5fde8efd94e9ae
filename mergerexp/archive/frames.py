"""Cutouts from the corrected frames of SDSS that lie in a folder on this machine.

A frame is one band of a field of 13.5 by 9.8 arcmin, as the data releases have them:
``frame-r-004263-4-0152.fits.bz2``, in nanomaggies, with the coordinates in its header. The picture of a
cutout is made of g, r and i as those of the simulator are, so its colours are close to, but not those of, the
pictures of the cutout service: a data set has one or the other.
"""

from __future__ import annotations

import bz2
import gzip
import io
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

from mergerexp.analysis.sky import unit_vectors
from mergerexp.archive.client import Refused
from mergerexp.archive.cutouts import Outcome, Wanted
from mergerexp.console import ProgressReport
from mergerexp.errors import DataError, UserError, describe
from mergerexp.files import read_json, write_json
from mergerexp.simulator.colour import to_picture
from mergerexp.simulator.photometry import NATIVE_PIXEL

if TYPE_CHECKING:
    from astropy.wcs import WCS

BANDS = ("g", "r", "i")
NAME = re.compile(r"frame-r-(\d{6})-(\d)-(\d{4})\.fits(\.bz2|\.gz)?")
MARGIN = 12  # pixels around the part of a frame that is resampled
QUALITY = 95  # of JPEG
OPEN = 6  # fields whose pixels are held, of 37 MB each
INDEX, NOTED = "frames.json", 50  # the list of fields, and after how many of them it is written


@dataclass(frozen=True)
class Field:
    """A field of the survey.

    Attributes
    ----------
    file
        Its frame in r, from the folder on.
    ra, dec
        Its centre in degrees.
    radius
        Half its diagonal in degrees.
    """

    file: str
    ra: float
    dec: float
    radius: float


def frame_in(band: str, file: str) -> str:
    """Return the file of a field's frame in a band, from that of its frame in r."""
    folder, slash, name = file.rpartition("/")
    return f"{folder}{slash}{name.replace('-r-', f'-{band}-', 1)}"


class Frames:
    """Makes cutouts from a folder of frames.

    Parameters
    ----------
    folder
        The folder.
    index
        A folder for a list of the fields, so that headers are read once.

    Raises
    ------
    DataError
        If the folder has no frames, or one of them can't be read, or lacks another band.
    """

    is_final = False  # further frames may be put into the folder

    def __init__(self, folder: Path, index: Path) -> None:
        self.folder, self.name = folder, str(folder)
        present = {path.relative_to(folder).as_posix() for path in folder.rglob("frame-*")}
        files = sorted(name for name in present if NAME.fullmatch(name.rpartition("/")[2]))
        if not files:
            raise DataError(
                f"data.archive.frames={folder}: no frames such as frame-r-004263-4-0152.fits.bz2 are there"
            )
        for file in files:
            for band in BANDS:
                if (other := frame_in(band, file)) not in present:
                    raise DataError(
                        f"data.archive.frames={folder}: {other} is missing, while {file} is there"
                    )
        self.fields = self._fields(files, index / INDEX)
        self._tree = cKDTree(
            unit_vectors([each.ra for each in self.fields], [each.dec for each in self.fields])
        )
        self._open: OrderedDict[str, tuple[NDArray[np.float32], list[WCS]]] = OrderedDict()

    def _fields(self, files: list[str], index: Path) -> list[Field]:
        """Return the fields, of which those that the index has are not read again."""
        known: dict[str, dict[str, Any]] = {}
        if index.is_file():
            with suppress(UserError):  # a damaged one is made again
                known = read_json(index)["fields"]
        missing = [file for file in files if file not in known]
        with ProgressReport("reading the headers of frames", len(files), len(files) - len(missing)) as report:
            for number, file in enumerate(missing, 1):
                known[file] = self._look(file)
                if number % NOTED == 0 or number == len(missing):
                    write_json(index, {"fields": known})
                report.advance(1)
        return [Field(file, **known[file]) for file in files]

    def _look(self, file: str) -> dict[str, float]:
        from astropy.io import fits  # takes a second
        from astropy.wcs import WCS

        path = self.folder / file
        opened: Callable[..., Any] = {".bz2": bz2.open, ".gz": gzip.open}.get(path.suffix, open)
        try:
            with warnings.catch_warnings(), opened(path, "rb") as handle:
                warnings.simplefilter("ignore")  # of old ways to write units
                header = fits.Header.fromfile(handle)
                wcs, width, height = WCS(header), header["NAXIS1"], header["NAXIS2"]
            centre, corner = wcs.pixel_to_world((width - 1) / 2, (height - 1) / 2), wcs.pixel_to_world(0, 0)
            radius = float(centre.separation(corner).deg)
        except Exception as error:  # the exceptions of astropy have no common base
            raise DataError(f"{path} is no frame of SDSS: {describe(error)}") from error
        return {"ra": float(centre.ra.deg), "dec": float(centre.dec.deg), "radius": radius}

    def _read(self, file: str) -> tuple[NDArray[np.float32], WCS]:
        from astropy.io import fits  # takes a second
        from astropy.wcs import WCS

        path = self.folder / file
        try:
            with warnings.catch_warnings(), fits.open(path) as parts:
                warnings.simplefilter("ignore")  # of old ways to write units
                wcs = WCS(parts[0].header)
                pixels = np.asarray(parts[0].data, dtype=np.float32)
            if pixels.ndim != 2 or not wcs.has_celestial:
                raise ValueError("it is no image with coordinates on the sky")
        except Exception as error:  # the exceptions of astropy have no common base
            raise DataError(f"{path} is no frame of SDSS: {describe(error)}") from error
        return pixels, wcs

    def _opened(self, field: Field) -> tuple[NDArray[np.float32], list[WCS]]:
        """Return the pixels of a field, shape (3, height, width), and the coordinates of each band."""
        if field.file not in self._open:
            read = [self._read(frame_in(band, field.file)) for band in BANDS]
            if len({pixels.shape for pixels, _ in read}) > 1:
                raise DataError(f"{self.folder / field.file}: the frames of g, r and i have different sizes")
            self._open[field.file] = np.stack([pixels for pixels, _ in read]), [wcs for _, wcs in read]
            if len(self._open) > OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(field.file)
        return self._open[field.file]

    def in_order(self, wanted: Sequence[Wanted]) -> list[Wanted]:
        """Return what is wanted field by field, so that each frame is read once."""
        if not wanted:
            return []
        places = unit_vectors([each.ra for each in wanted], [each.dec for each in wanted])
        nearest = self._tree.query(places)[1]
        return [wanted[each] for each in np.argsort(nearest, kind="stable")]

    def get(self, wanted: Wanted, size: int) -> bytes:
        """Return a cutout as JPEG, with north up and east to the left.

        Parameters
        ----------
        wanted
            The object, and the arcseconds of a pixel.
        size
            The side of the cutout in pixels.

        Raises
        ------
        Refused
            If the frames do not cover all of it.
        """
        sky = _grid(wanted, size)
        image = np.full((len(BANDS), size, size), np.nan, dtype=np.float32)
        for field in self._around(wanted, size):
            pixels, coordinates = self._opened(field)
            for band, wcs in enumerate(coordinates):
                missing = np.isnan(image[band])
                image[band][missing] = _sampled(pixels[band], wcs, sky, wanted.scale)[missing]
            if not np.isnan(image).any():
                break
        if np.isnan(image).any():
            raise Refused(str(Outcome.NO_IMAGING))
        file = io.BytesIO()
        Image.fromarray(to_picture(image, wanted.scale)).save(file, "JPEG", quality=QUALITY)
        return file.getvalue()

    def _around(self, wanted: Wanted, size: int) -> list[Field]:
        """Return the fields that may have a part of a cutout, the nearest first."""
        place = unit_vectors([wanted.ra], [wanted.dec])[0]
        reach = max(each.radius for each in self.fields) + wanted.scale * size / 3600
        near = self._tree.query_ball_point(place, 2 * np.sin(np.radians(reach) / 2))
        distance = np.linalg.norm(self._tree.data[near] - place, axis=1)
        return [self.fields[near[each]] for each in np.argsort(distance, kind="stable")]


def _grid(wanted: Wanted, size: int) -> Any:
    """Return the places of the pixels of a cutout on the sky, shape (size, size), the south first."""
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [wanted.ra, wanted.dec]
    wcs.wcs.crpix = [(size + 1) / 2, (size + 1) / 2]
    wcs.wcs.cdelt = [-wanted.scale / 3600, wanted.scale / 3600]
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    return wcs.pixel_to_world(x, y)


def _sampled(pixels: NDArray[np.float32], wcs: WCS, sky: Any, scale: float) -> NDArray[np.float32]:
    """Return the flux of the pixels of a cutout, NaN outside of the frame."""
    x, y = wcs.world_to_pixel(sky)
    height, width = pixels.shape
    ratio = scale / NATIVE_PIXEL
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    if not inside.any():
        return np.full(x.shape, np.nan, dtype=np.float32)
    x0, x1 = np.clip([np.floor(x.min()) - MARGIN, np.ceil(x.max()) + MARGIN + 1], 0, width).astype(int)
    y0, y1 = np.clip([np.floor(y.min()) - MARGIN, np.ceil(y.max()) + MARGIN + 1], 0, height).astype(int)
    part = pixels[y0:y1, x0:x1]
    if ratio > 1:  # a coarser pixel would skip some of the frame's
        part = gaussian_filter(part, 0.4 * np.sqrt(ratio**2 - 1), mode="nearest")
    # Cubic splines, as lines between pixels would smooth the noise where these do not coincide.
    found = map_coordinates(part, [y - y0, x - x0], order=3, mode="nearest") * np.float32(ratio**2)
    return np.where(inside, found, np.float32(np.nan))
