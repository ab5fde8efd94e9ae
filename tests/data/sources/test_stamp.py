"""Damage that decoders guess over, and memory."""

import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from mergerexp.data.build import prepare
from mergerexp.data.sources.folder import stamp
from mergerexp.data.sources.folder.source import FolderSource
from mergerexp.data.sources.folder.stamp import UnusableImage, make_stamp
from mergerexp.data.store import Dataset
from mergerexp.errors import DataError
from tests.data.sources.files import encoded

RNG = np.random.default_rng(0)
SMOOTH = Image.fromarray(RNG.integers(0, 256, (12, 16, 3), np.uint8)).resize((424, 318))
END = b"\xff\xd9"


def chunks(png):
    """Split a PNG into its signature and its chunks."""
    found, at = [png[:8]], 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big") + 12
        found.append(png[at : at + length])
        at += length
    return found


def without_chunk(png, kind):
    return b"".join(part for part in chunks(png) if part[4:8] != kind)


def with_flipped_bit(data, kind):
    at = data.index(kind) + 40
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def claiming(jpeg, width, height):
    """Let a JPEG's header name another size."""
    at = max(jpeg.find(b"\xff\xc0"), jpeg.find(b"\xff\xc2")) + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


CUT_EXIF = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x0e\x01\x02\0\xff\xff\0\0"
JPEG = encoded(SMOOTH, "JPEG", quality=90)
PROGRESSIVE = encoded(SMOOTH, "JPEG", progressive=True)
GREY = encoded(SMOOTH.convert("L"), "JPEG")
PNG = encoded(SMOOTH)
PALETTE = encoded(SMOOTH.quantize(16))
# Pillow decodes all but the last four to something, without a word.
DAMAGED = {
    **{f"cut at {tenths}0 %": JPEG[: len(JPEG) * tenths // 10] + END for tenths in range(2, 10)},
    "progressive, cut": PROGRESSIVE[: len(PROGRESSIVE) // 2] + END,
    "grey, cut": GREY[: len(GREY) // 2] + END,
    "claims to be larger": claiming(JPEG, 3000, 3000),
    "claims to be smaller": claiming(JPEG, 424, 100),
    "a block of zeros": JPEG[:3000] + bytes(512) + JPEG[3512:],
    "a block missing": JPEG[:3000] + JPEG[3512:],
    "a broken length of EXIF": encoded(SMOOTH, "JPEG", exif=CUT_EXIF),
    "pixels with a wrong checksum": with_flipped_bit(PNG, b"IDAT"),
    "no palette": without_chunk(PALETTE, b"PLTE"),
    "a palette with a wrong checksum": with_flipped_bit(PALETTE, b"PLTE"),
    "no pixels": without_chunk(PNG, b"IDAT"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_a_decoder_would_guess_is_refused(name):
    with pytest.raises(UnusableImage, match="corrupt"):
        make_stamp(DAMAGED[name], 64, 1.0)


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_one_damaged_file_is_named_and_stops_nothing_else(root, tmp_path, on_error):
    (root / "other/palette.png").write_bytes(DAMAGED["no palette"])
    (root / "other/cut.jpg").write_bytes(DAMAGED["cut at 50 %"])
    source = FolderSource(root, 16, on_error=on_error)
    if on_error == "stop":
        with pytest.raises(DataError, match=r"2 unusable .*") as caught:
            prepare(source, "toy", 16, tmp_path / "sets", workers=1)
        assert "other/palette.png: truncated or corrupt" in str(caught.value)
        assert "other/cut.jpg: truncated or corrupt" in str(caught.value)
    else:
        dataset = Dataset.open(prepare(source, "toy", 16, tmp_path / "sets", workers=1))
        assert len(dataset) == 16
        assert "other/palette.png" in (dataset.path / "problems.csv").read_text()


def test_a_kind_of_exception_that_nobody_has_seen_is_named(root, monkeypatch):
    def explode(data, side):
        raise AssertionError("a decoder's own check")

    monkeypatch.setattr(stamp, "_decode", explode)
    with pytest.raises(UnusableImage, match=r"AssertionError: a decoder's own check"):
        make_stamp(PNG, 16, 1.0)


def test_missing_memory_is_no_fault_of_the_file(root, monkeypatch):
    def exhaust(data, side):
        raise MemoryError

    monkeypatch.setattr(stamp, "_decode", exhaust)
    source = FolderSource(root, 16, on_error="skip")
    with pytest.raises(DataError, match=r"no memory was left to decode merger/1.png; .* fewer data.workers"):
        source.make(source.chunks()[0])


EXIF = Image.Exif()
EXIF[0x0112] = 6


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"subsampling": 0},
        {"subsampling": 1},
        {"progressive": True},
        {"restart_marker_blocks": 3},
        {"keep_rgb": True},
        {"exif": EXIF},
        {"image": SMOOTH.convert("L")},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_jpegs_are_the_pixels_that_pillow_makes_of_them(options, monkeypatch):
    data = encoded(**{"image": SMOOTH, "form": "JPEG", **options})

    def by_pillow(data, image, side):
        scale = side / min(image.size)
        image.draft(None, tuple(int(np.ceil(scale * length)) for length in image.size))
        return image

    for size, crop in [(16, 1.0), (64, 1.0), (150, 0.9), (128, 0.3)]:
        ours = make_stamp(data, size, crop)[0]
        with monkeypatch.context() as patched:
            patched.setattr(stamp, "_decode_jpeg", by_pillow)
            np.testing.assert_array_equal(ours, make_stamp(data, size, crop)[0])


def png_claiming(width, height):
    """Make a PNG of one row that claims to have many."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    row = zlib.compress(bytes(1 + 4 * width))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", row) + chunk(b"IEND", b"")


@pytest.mark.parametrize("data", [png_claiming(9400, 9400), claiming(JPEG, 9400, 9400)], ids=["PNG", "JPEG"])
def test_what_a_worker_takes_for_one_file_is_bounded(data):
    resource = pytest.importorskip("resource")
    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnusableImage, match=r"too large, or a corrupt header \(9400×9400 px"):
        make_stamp(data, 128, 1.0)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < 50e6


def test_a_large_file_and_large_stamps_are_bounded_too(root, monkeypatch):
    assert [len(chunk) for chunk in FolderSource(root, 2048).chunks()] == [5, 5, 5, 1]
    assert [len(chunk) for chunk in FolderSource(root, 299).chunks()] == [16]
    monkeypatch.setattr("mergerexp.data.sources.folder.source.MAX_FILE_BYTES", 3000)
    (root / "merger/9.png").write_bytes(bytes(3001))
    source = FolderSource(root, 16)
    (problem,) = source.make(source.chunks()[0]).problems
    assert (problem.file, problem.reason) == ("merger/9.png", "too large: 0 MB, at most 0 MB")
