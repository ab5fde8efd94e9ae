"""Cutouts from frames on this machine show the right place, the right way round, and as bright as it is."""

from __future__ import annotations

import bz2
import io
import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

import mergerexp.prepare
from mergerexp.archive.client import Refused
from mergerexp.archive.cutouts import Cutouts, Outcome, Wanted
from mergerexp.archive.frames import Frames, _grid, _sampled
from mergerexp.errors import DataError
from tests.archive.server import serving
from tests.archive.test_sdss import CUTOUT, MERGERS, WANTED, Archive, settings, sky

PIXEL = 0.396 / 3600
WIDTH, HEIGHT = 300, 220
SIZE = 64


def coordinates(ra, dec, angle=0.0, shift=(0.0, 0.0)):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [WIDTH / 2 + 0.5 + shift[0], HEIGHT / 2 + 0.5 + shift[1]]
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    wcs.wcs.cd = PIXEL * np.array([[-cos, sin], [sin, cos]])
    return wcs


def write_field(folder, sources, ra=150.0, dec=2.0, angle=0.0, run=1, field=11, bands="gri", width=3.0):
    """Write the frames of a field with Gaussian sources (ra, dec, flux in nMgy)."""
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for number, band in enumerate(bands):
        wcs = coordinates(ra, dec, angle, (1.3 * number, -0.7 * number))  # bands are not aligned
        pixels = np.zeros((HEIGHT, WIDTH), dtype=np.float32)
        for *place, flux in sources:
            x0, y0 = wcs.world_to_pixel_values(*place)
            r2 = (x - x0) ** 2 + (y - y0) ** 2
            pixels += flux / (2 * np.pi * width**2) * np.exp(-r2 / (2 * width**2))
        file = io.BytesIO()
        fits.PrimaryHDU(pixels, wcs.to_header()).writeto(file)
        name = f"frame-{band}-{run:06d}-3-{field:04d}.fits.bz2"
        (folder / name).write_bytes(bz2.compress(file.getvalue(), 1))


def picture(frames, ra, dec, scale, size=SIZE):
    with Image.open(io.BytesIO(frames.get(Wanted("1", ra, dec, scale), size))) as image:
        return np.asarray(image).astype(float)


@pytest.mark.parametrize("angle", [0.0, 90.0, 217.0])
def test_north_is_up_and_east_to_the_left_whatever_the_frame_is_like(angle, tmp_path):
    east, north = 150.0 + 8 / 3600 / np.cos(np.radians(2.0)), 2.0 + 4 / 3600
    write_field(tmp_path / "f", [(east, north, 60.0)], angle=angle)
    grey = picture(Frames(tmp_path / "f", tmp_path), 150.0, 2.0, 0.4).sum(axis=2)
    weights = np.clip(grey - 60, 0, None)
    y, x = np.mgrid[:SIZE, :SIZE]
    middle = (SIZE - 1) / 2
    assert (weights * x).sum() / weights.sum() == pytest.approx(middle - 20, abs=0.4)
    assert (weights * y).sum() / weights.sum() == pytest.approx(middle - 10, abs=0.4)


def test_brightness_does_not_depend_on_the_zoom(tmp_path):
    """A source that is much wider than a pixel has the same surface brightness at each scale."""
    write_field(tmp_path / "f", [(150.0, 2.0, 600.0)], width=12.0)
    frames = Frames(tmp_path / "f", tmp_path)
    peaks = [
        picture(frames, 150.0, 2.0, scale, 32)[15:17, 15:17].mean(axis=(0, 1)) for scale in (0.1, 0.396, 1.2)
    ]
    assert peaks[0] == pytest.approx(peaks[1], abs=4)
    assert peaks[2] == pytest.approx(peaks[1], abs=4)
    assert 60 < peaks[1].mean() < 250


def test_a_cutout_across_two_fields_has_no_seam(tmp_path):
    left, right = 150.0 + 0.45 * WIDTH * PIXEL, 150.0 - 0.45 * WIDTH * PIXEL
    source = [(150.0, 2.0, 600.0)]
    write_field(tmp_path / "two", source, ra=left, field=11, width=8.0)
    write_field(tmp_path / "two", source, ra=right, field=12, angle=180.0, width=8.0)
    write_field(tmp_path / "one", source, width=8.0)
    both = picture(Frames(tmp_path / "two", tmp_path / "two"), 150.0, 2.0, 0.4)
    whole = picture(Frames(tmp_path / "one", tmp_path / "one"), 150.0, 2.0, 0.4)
    assert np.abs(both - whole).max() < 8  # of JPEG


def test_a_place_without_frames_is_no_imaging_until_they_are_there(tmp_path):
    write_field(tmp_path / "f", [(150.0, 2.0, 60.0)])
    wanted = [Wanted("a", 150.0, 2.0, 0.3), Wanted("b", 151.0, 2.0, 0.3), Wanted("edge", 150.016, 2.0, 0.3)]
    found = Cutouts(Frames(tmp_path / "f", tmp_path), tmp_path / "c", SIZE).get(wanted)
    assert [found[each.id].outcome for each in wanted] == [
        Outcome.KEPT,
        Outcome.NO_IMAGING,
        Outcome.NO_IMAGING,
    ]
    write_field(tmp_path / "f", [(151.0, 2.0, 60.0)], ra=151.0, field=12)
    later = Cutouts(Frames(tmp_path / "f", tmp_path), tmp_path / "c", SIZE)
    assert later.get(wanted)["b"].outcome == Outcome.KEPT
    assert len(json.loads((tmp_path / "frames.json").read_text())["fields"]) == 2


def test_what_is_no_folder_of_frames_is_named(tmp_path):
    (tmp_path / "f").mkdir()
    with pytest.raises(DataError, match="no frames such as frame-r-"):
        Frames(tmp_path / "f", tmp_path)
    write_field(tmp_path / "f", [], bands="gr")
    with pytest.raises(DataError, match=r"frame-i-000001-3-0011.fits.bz2 is missing"):
        Frames(tmp_path / "f", tmp_path)
    write_field(tmp_path / "f", [])
    path = tmp_path / "f/frame-i-000001-3-0011.fits.bz2"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=r"frame-i-000001-3-0011.fits.bz2 is no frame"):
        Frames(tmp_path / "f", tmp_path).get(Wanted("1", 150.0, 2.0, 0.3), SIZE)
    (tmp_path / "f/frame-r-000001-3-0011.fits.bz2").write_bytes(b"")
    (tmp_path / "frames.json").unlink()
    with pytest.raises(DataError, match=r"frame-r-000001-3-0011.fits.bz2 is no frame"):
        Frames(tmp_path / "f", tmp_path)


def test_frames_far_away_cover_nothing(tmp_path):
    write_field(tmp_path / "f", [], ra=359.999)
    frames = Frames(tmp_path / "f", tmp_path)
    assert picture(frames, 0.001, 2.0, 0.2).shape == (SIZE, SIZE, 3)  # across the meridian
    with pytest.raises(Refused, match="no imaging"):
        frames.get(Wanted("1", 180.0, -2.0, 0.2), SIZE)


def test_the_sample_is_made_of_frames_without_the_cutout_service(run_verb, tmp_path):
    galaxies, darg = sky()
    places = galaxies[["ra", "dec"]].dropna()
    for number, (ra, dec) in enumerate(places.itertuples(index=False)):
        write_field(tmp_path / "frames", [(ra, dec, 200.0)], ra=ra, dec=dec, field=number)
    with serving(Archive(galaxies, darg=darg)) as archive:
        overrides = [*settings(archive, tmp_path / "root"), f"data.archive.frames={tmp_path / 'frames'}"]
        overrides = [each for each in overrides if CUTOUT not in each]
        assert run_verb(mergerexp.prepare, *overrides) == 0
        assert not any("width" in given for given in archive.asked)
    about = json.loads((tmp_path / "root/archive.json").read_text())
    assert about["sample"] == {"merger": MERGERS, "noninteracting": WANTED}
    origin = json.loads((tmp_path / "root/origin.json").read_text())
    assert origin["addresses"]["cutouts"] == "frames of SDSS in a folder"


def test_noise_is_not_smoothed_by_where_a_pixel_falls(tmp_path):
    write_field(tmp_path / "f/301/3", [])
    random = np.random.default_rng(0)
    for band in "gri":
        path = tmp_path / f"f/301/3/frame-{band}-000001-3-0011.fits.bz2"
        with fits.open(path) as parts:
            data, header = random.normal(0, 1, parts[0].data.shape), parts[0].header
        file = io.BytesIO()
        fits.PrimaryHDU(data.astype(np.float32), header).writeto(file)
        path.write_bytes(bz2.compress(file.getvalue(), 1))
    frames = Frames(tmp_path / "f", tmp_path)
    (field,) = frames.fields
    pixels, coordinates = frames._opened(field)
    for shift in (0.0, 0.25, 0.5):
        place = Wanted("1", 150.0 + shift * PIXEL, 2.0 + shift * PIXEL, 0.396)
        found = _sampled(pixels[1], coordinates[1], _grid(place, 100), 0.396)
        assert 0.75 < found.std() < 1.05


def test_an_index_that_is_damaged_is_made_again(tmp_path):
    write_field(tmp_path / "f", [])
    fields = Frames(tmp_path / "f", tmp_path).fields
    (tmp_path / "frames.json").write_text('{"fields": {')
    assert Frames(tmp_path / "f", tmp_path).fields == fields
