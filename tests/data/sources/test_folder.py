import io
import os
import pickle
import shutil
import struct
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from mergerexp.data.build import prepare_dataset
from mergerexp.data.sources.factory import make_source
from mergerexp.data.sources.folder import FolderSource
from mergerexp.data.sources.listing import Columns, hash63
from mergerexp.data.sources.stamp import make_stamp
from mergerexp.data.store import Dataset
from mergerexp.errors import DataError

REPOSITORY = Path(__file__).parents[3]
BIG_OBJID = 587_722_981_741_363_323  # needs more than a float's 53 bits


def made(source):
    """All rows and problems of a source, and its images."""
    parts = [source.make(chunk) for chunk in source.chunks()]
    rows = [row for part in parts for row in part.rows]
    problems = {problem.file: problem.reason for part in parts for problem in part.problems}
    return rows, problems, np.concatenate([part.images for part in parts])


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png_of_16_bits():
    """Make a 16-bit RGB PNG by hand; Pillow cannot write one."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(6 * 4) for _ in range(4))
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    end = chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + end


GREY = Image.new("RGB", (8, 8), (90, 90, 90))
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
BAD_FILES = {
    "empty.jpg": (b"", "zero bytes"),
    "text.jpg": (b"this is text", "not an image"),
    "gif.png": (encoded(GREY, "GIF"), "not an image"),
    "notes.txt": (b"notes", "not an image"),
    "cut.jpg": (encoded(NOISE, "JPEG")[:-400], "truncated"),
    "cut.png": (encoded(NOISE)[:-400], "truncated"),
    "header.jpg": (encoded(NOISE, "JPEG")[:20], "truncated"),
    "header.png": (encoded(NOISE)[:20], "truncated"),
    "deep.png": (encoded(Image.new("I;16", (8, 8))), "16-bit"),
    "deep_rgb.png": (png_of_16_bits(), "16-bit"),
    "cmyk.jpg": (encoded(Image.new("CMYK", (8, 8)), "JPEG"), "CMYK"),
    "moving.png": (
        encoded(GREY, "PNG", save_all=True, append_images=[Image.new("RGB", (8, 8))]),
        "animated",
    ),
    "pixel.png": (encoded(Image.new("RGB", (1, 1))), "1×1 px"),
    "line.png": (encoded(Image.new("RGB", (1, 9))), "1×9 px"),
    "bomb.png": (encoded(Image.new("1", (20_000, 10_000))), "decompression bomb"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_is_named_with_its_reason(root, name):
    data, reason = BAD_FILES[name]
    (root / "other" / name).write_bytes(data)
    rows, problems, images = made(FolderSource(root, 16))
    assert list(problems) == [f"other/{name}"]
    assert reason in problems[f"other/{name}"]
    assert len(rows) == len(images) == 16


def test_decompression_bomb_below_pillows_error_is_refused_too(root):
    side = int(np.sqrt(Image.MAX_IMAGE_PIXELS)) + 2
    (root / "other/bomb.png").write_bytes(encoded(Image.new("1", (side, side))))
    assert "decompression bomb" in made(FolderSource(root, 16))[1]["other/bomb.png"]


def test_special_files_are_named(root, tmp_path):
    outside = tmp_path / "outside.png"
    outside.write_bytes(encoded(GREY))
    (root / "merger/link.png").symlink_to(outside)
    (root / "merger/broken.png").symlink_to(root / "merger/nowhere.png")
    (root / "merger/loop.png").symlink_to(root / "merger/loop.png")
    (root / "merger/linked_folder.png").symlink_to(root / "other")
    os.mkfifo(root / "merger/pipe.png")
    (root / "stray.JPG").write_bytes(encoded(GREY))
    problems = made(FolderSource(root, 16, positive="merger"))[1]
    assert "outside data.root" in problems["merger/link.png"]
    assert "missing" in problems["merger/broken.png"]
    assert "cannot be read" in problems["merger/loop.png"] or "missing" in problems["merger/loop.png"]
    assert "not a file" in problems["merger/linked_folder.png"]
    assert "not a file" in problems["merger/pipe.png"]
    assert "in no class folder" in problems["stray.JPG"]
    assert len(problems) == 6


def test_file_without_permission_is_named(root, monkeypatch):
    # Tests may run as root, whom no permission stops.
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert made(FolderSource(root, 16))[1]["merger/1.png"] == "cannot be read: Permission denied"


def test_hidden_and_side_files_are_ignored_and_nested_files_found(root):
    for name in (".DS_Store", "merger/.DS_Store", "other/Thumbs.db", "catalogue.csv", "a.txt", "b.json"):
        (root / name).write_bytes(b"x")
    (root / ".cache").mkdir()
    (root / "merger/deep/er").mkdir(parents=True)
    shutil.move(root / "merger/3.png", root / "merger/deep/er/3.png")
    rows, problems, _ = made(FolderSource(root, 16))
    assert not problems
    assert len(rows) == 16
    assert "merger/deep/er/3.png" in [row["file"] for row in rows]


def test_labels_objids_and_groups_derived_from_files(root):
    shutil.copy(root / "other/101.png", root / "other/200.png")
    source = FolderSource(root, 16)
    rows = made(source)[0]
    assert source.class_names == ("other", "merger")
    assert {row["objid"]: row["label"] for row in rows}[3] == 1
    assert sorted(row["objid"] for row in rows) == [*range(1, 7), *range(101, 111), 200]
    groups = {row["objid"]: row["group"] for row in rows}
    assert groups[200] == groups[101]
    assert len(set(groups.values())) == 16
    assert FolderSource(root, 16, positive="other").class_names == ("merger", "other")

    (root / "merger/3.png").rename(root / "merger/three.png")
    rows = made(FolderSource(root, 16))[0]
    objids = {row["file"]: row["objid"] for row in rows}
    assert objids["merger/three.png"] == hash63(b"merger/three.png")
    assert len(set(objids.values())) == 17
    assert all(0 <= objid < 2**63 for objid in objids.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: shutil.rmtree(root), "images is not a folder"),
        (lambda root: (root / "third").mkdir(), "exactly two class folders, found 3: merger, other, third"),
        (lambda root: shutil.rmtree(root / "other"), "exactly two class folders, found 1: merger"),
        (lambda root: [f.unlink() for f in (root / "other").iterdir()], r"two classes, found: merger \(6\)"),
        (
            lambda root: [(root / f"other/{i}.png").unlink() for i in range(101, 105)],
            "as many files.*data.positive",
        ),
    ],
)
def test_refuses_a_folder_without_two_classes(root, change, message):
    change(root)
    with pytest.raises(DataError, match=message):
        FolderSource(root, 16).recipe()


def test_refuses_an_unknown_positive_class(root):
    with pytest.raises(DataError, match=r"data.positive='lens' .* merger \(6\), other \(10\)"):
        FolderSource(root, 16, positive="lens").recipe()


def with_csv(root, text, **options):
    (root / "list.csv").write_text(text)
    return FolderSource(root, 16, csv="list.csv", **options)


def test_csv_gives_labels_exact_objids_groups_and_columns(root):
    text = (
        "\ufefffile,label,objid,group,z,name\n"
        f"merger/1.png,1,{BIG_OBJID},pair 7,0.05,A\n"
        f"./other/../other/101.png,0,{BIG_OBJID + 1},pair 7,,B\n"
        f"{root}/other/102.png,0,-3,12,0.07,C\n"
    )
    source = with_csv(root, text)
    rows, problems, _ = made(source)
    assert not problems
    assert source.class_names == ("0", "1")
    assert [row["objid"] for row in rows] == [BIG_OBJID, BIG_OBJID + 1, -3]
    assert [row["label"] for row in rows] == [1, 0, 0]
    assert [row["group"] for row in rows] == [1, 1, 0]
    assert rows[1]["file"] == "other/101.png"
    assert [row["name"] for row in rows] == ["A", "B", "C"]
    assert rows[0]["z"] == 0.05
    assert np.isnan(rows[1]["z"])


def test_csv_of_class_names_and_other_columns(root):
    text = "path,class,file\nmerger/1.png,odd,x\nother/101.png,plain,y\nother/102.png,plain,z\n"
    columns = Columns("path", "class", None, None)
    source = with_csv(root, text, columns=columns)
    rows = made(source)[0]
    assert source.class_names == ("plain", "odd")
    assert [(row["file"], row["objid"], row["label"]) for row in rows] == [
        ("merger/1.png", 1, 1),
        ("other/101.png", 101, 0),
        ("other/102.png", 102, 0),
    ]
    assert with_csv(root, text, columns=columns, positive="plain").class_names == ("odd", "plain")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\n", "has no rows"),
        ("", "has no rows"),
        ("name,label\na.png,1\n", "no column 'file' .*its columns: name, label"),
        ("file,class\na.png,1\n", "no column 'label'"),
        ("file,label\na.png,1\nb.png,\n", "line 3: label '' is empty"),
        ("file,label\na.png,1\nb.png,NaN\n", "line 3: label 'NaN' is empty"),
        ("file,label\na.png,1\nb.png,0\nc.png,2\n", "line 4: label '2' is a third class, beside '1' and '0'"),
        ("file,label\na.png,1\n,0\n", "line 3: column 'file' is empty"),
        (",file,label\n0,a.png,1\n1,b.png,\n", "line 3: label '' is empty"),
        ("file,label\na.png,1\nb.png\n", "line 3: not 2 fields"),
        ("file,label\na.png,1\nb.png,0,0\n", "line 3: not 2 fields"),
        ("file,label,objid\na.png,1,5.877e17\n", "line 2: objid '5.877e17' is not a 64-bit integer"),
        ("file,label,objid\na.png,1,9223372036854775808\n", "line 2: objid '9223372036854775808'"),
        ("file,label,objid\na.png,1,\n", "line 2: objid '' is not a 64-bit integer"),
        ("file,label,group\na.png,1,a\nb.png,0,\n", "line 3: group '' is empty"),
        ("file,label\nmerger/1.png,1\nmerger/2.png,1\n", r"exactly two classes, found: 1 \(2\)"),
    ],
)
def test_csv_errors_name_the_line(root, text, message):
    with pytest.raises(DataError, match=message):
        with_csv(root, text).recipe()


def test_csv_refuses_unreadable_files_and_chosen_columns_that_are_absent(root):
    with pytest.raises(DataError, match=r"nowhere.csv cannot be read"):
        FolderSource(root, 16, csv="nowhere.csv").recipe()
    (root / "latin.csv").write_bytes("file,label\nmergé.png,1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"cannot be read.*utf-8"):
        FolderSource(root, 16, csv="latin.csv").recipe()
    with pytest.raises(DataError, match=r"no column 'dr7' \(data.columns.objid\)"):
        with_csv(root, "file,label\na,0\n", columns=Columns(objid="dr7")).recipe()


def test_csv_may_name_only_files_within_the_root(root, tmp_path):
    (tmp_path / "secret.png").write_bytes(encoded(GREY))
    text = (
        "file,label\nmerger/1.png,1\nother/101.png,0\nother/102.png,0\n"
        f"../secret.png,0\n{tmp_path}/secret.png,0\nother/999.png,0\nother,0\n"
    )
    rows, problems, _ = made(with_csv(root, text))
    assert len(rows) == 3
    assert "outside" in problems["../secret.png"]
    assert "outside" in problems[f"{tmp_path}/secret.png"]
    assert "missing" in problems["other/999.png"]
    assert "not a file" in problems["other"]


def test_every_mode_becomes_the_same_rgb():
    colour = (200, 40, 90)
    rgb = Image.new("RGB", (6, 6), colour)
    palette = rgb.quantize(4)
    clear = Image.new("RGBA", (6, 6), (*colour, 0))
    half = Image.new("LA", (6, 6), (100, 51))
    for image, expected in [
        (rgb, colour),
        (rgb.convert("RGBA"), colour),
        (palette, colour),
        (clear, (0, 0, 0)),
        (half, (20, 20, 20)),
        (Image.new("L", (6, 6), 77), (77, 77, 77)),
        (Image.new("1", (6, 6), 1), (255, 255, 255)),
    ]:
        stamp, _ = make_stamp(encoded(image), 4, 1.0)
        assert stamp.dtype == np.uint8
        assert np.abs(stamp.astype(int) - expected).max() <= 1, image.mode
    transparent = encoded(palette, transparency=palette.getpixel((0, 0)))
    assert make_stamp(transparent, 4, 1.0)[0].max() == 0


def test_crop_is_central_and_square():
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[5:15, 15:25] = 255
    data = encoded(Image.fromarray(pixels))
    np.testing.assert_array_equal(make_stamp(data, 20, 1.0)[0], pixels[:, 10:30])
    stamp, dimensions = make_stamp(data, 10, 0.5)
    assert stamp.min() == 255
    assert dimensions == (40, 20)
    assert make_stamp(encoded(Image.new("RGB", (2, 3))), 16, 0.05)[0].shape == (16, 16, 3)


def test_exif_orientation_is_applied():
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the first row is the right side
    data = encoded(Image.fromarray(pixels), "JPEG", exif=exif, quality=100)
    stamp = make_stamp(data, 8, 1.0)[0]
    assert stamp[:, 4:].min() > 240
    assert stamp[:, :4].max() < 15


def test_resampling_averages_and_a_reduced_jpeg_differs_little():
    checkers = np.indices((256, 256)).sum(axis=0) % 2 * 255
    grey = Image.fromarray(checkers.astype(np.uint8))
    assert np.abs(make_stamp(encoded(grey), 32, 1.0)[0].astype(int) - 127).max() <= 2

    y, x = np.mgrid[:424, :424] / 424 - 0.5
    galaxy = 255 * np.exp(-20 * np.hypot(x, 1.5 * y)) * (1 + 0.3 * np.sin(40 * x))
    image = Image.fromarray(galaxy.clip(0, 255).astype(np.uint8)).convert("RGB")
    jpeg = encoded(image, "JPEG", quality=95)
    whole = encoded(Image.open(io.BytesIO(jpeg)))
    reduced, full = (make_stamp(data, 128, 1.0)[0].astype(float) for data in (jpeg, whole))
    assert np.sqrt(np.mean((reduced - full) ** 2)) < 1


def test_recipe_follows_every_change_of_the_folder_and_is_quick(root, tmp_path):
    def listing(**options):
        return FolderSource(root, 16, **options).recipe()["listing"]

    first = listing()
    assert listing() == first
    moved = tmp_path / "moved"
    shutil.copytree(root, moved)
    assert FolderSource(moved, 16).recipe()["listing"] == first
    os.utime(root / "merger/1.png", ns=(0, 0))
    touched = listing()
    (root / "merger/1.png").rename(root / "merger/7.png")
    renamed = listing()
    (root / "merger/7.png").rename(root / "other/7.png")
    assert len({first, touched, renamed, listing()}) == 4
    assert FolderSource(root, 16, crop=0.5).recipe()["crop"] == 0.5


def test_workers_get_the_source_without_its_listing(root):
    source = FolderSource(root, 16)
    chunk = source.chunks()[0]
    sent = pickle.dumps(source)
    assert b"101.png" not in sent
    np.testing.assert_array_equal(pickle.loads(sent).make(chunk).images, source.make(chunk).images)


def config(name, **changes):
    # conf/data/sdss.yaml says only what differs from folder.yaml
    parts = [OmegaConf.load(REPOSITORY / f"conf/data/{file}.yaml") for file in ("folder", name)]
    return OmegaConf.merge(*parts, changes)


def test_configs_make_the_source(root):
    source = make_source(config("folder", root=str(root), crop=0.5, on_error="skip"))
    assert source == FolderSource(root, 128, crop=0.5, on_error="skip")
    sdss = config("sdss", root=str(root))
    assert (sdss.name, sdss.size) == ("sdss", 299)
    assert make_source(sdss) == FolderSource(root, 299, positive="merger")
    with pytest.raises(DataError, match=r"data.source='survey' is unknown"):
        make_source(config("folder", source="survey"))


def test_real_cutouts(tmp_path):
    odd = REPOSITORY.parent / "shared/data/gz2_odd"
    if not odd.is_dir():
        pytest.skip("the real SDSS cutouts (gz2_odd) are not beside the repository")
    for folder in ("odd", "ordinary"):
        (tmp_path / folder).mkdir()
        for file in sorted((odd / folder).iterdir())[: 20 if folder == "odd" else 40]:
            shutil.copy2(file, tmp_path / folder)
    cfg = config("folder", root=str(tmp_path), size=64, crop=0.5, workers=1)
    dataset = Dataset.open(prepare_dataset(cfg, tmp_path / "sets"))
    assert dataset.images.shape == (60, 64, 64, 3)
    assert Counter(dataset.labels.tolist()) == {0: 40, 1: 20}
    assert set(dataset.catalogue["width"]) == {424}
    # A galaxy is in the middle and the sky is dark.
    mean = dataset.images.mean(axis=(0, 3))
    assert mean[24:40, 24:40].mean() > 2 * mean[:4].mean()
