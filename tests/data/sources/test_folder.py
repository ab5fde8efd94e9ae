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
from PIL import Image

from mergerexp.config.compose import compose_cell
from mergerexp.config.schema import PrepareConfig
from mergerexp.data.build import prepare_dataset
from mergerexp.data.sources import make_source
from mergerexp.data.sources.folder.source import FolderSource
from mergerexp.data.sources.folder.stamp import make_stamp
from mergerexp.data.store import Dataset
from mergerexp.errors import DataError
from mergerexp.hashing import hash63
from tests.data.sources.files import encoded, made

REPOSITORY = Path(__file__).parents[3]


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
    "arithmetic.jpg": (encoded(NOISE, "JPEG").replace(b"\xff\xc0", b"\xff\xc9"), "arithmetic coding"),
    "moving.png": (
        encoded(GREY, "PNG", save_all=True, append_images=[Image.new("RGB", (8, 8))]),
        "animated",
    ),
    "pixel.png": (encoded(Image.new("RGB", (1, 1))), "1×1 px"),
    "line.png": (encoded(Image.new("RGB", (1, 9))), "1×9 px"),
    "bomb.png": (encoded(Image.new("1", (20_000, 10_000))), "too large"),
    "large.png": (encoded(Image.new("1", (5001, 5000))), "too large, or a corrupt header (5001×5000 px"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_is_named_with_its_reason(root, name):
    data, reason = BAD_FILES[name]
    (root / "other" / name).write_bytes(data)
    rows, problems, images = made(FolderSource(root, 16))
    assert list(problems) == [f"other/{name}"]
    assert reason in problems[f"other/{name}"]
    assert len(rows) == len(images) == 16


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


def test_links_may_lead_below_roots_that_the_user_names(root, tmp_path, make_folder):
    elsewhere = make_folder(tmp_path / "archive", mergers=3, others=5, side=24)
    view = tmp_path / "view"
    view.mkdir()
    (view / "merger").symlink_to(elsewhere / "merger")
    (view / "other").mkdir()
    for name in ("101.png", "102.png", "103.png", "104.png"):
        (view / "other" / name).symlink_to(elsewhere / "other" / name)
    (view / "other/9.png").symlink_to(root / "other/109.png")
    with pytest.raises(
        DataError, match=rf"view/merger is a link to .*data.link_roots=\[{elsewhere}/merger\]"
    ):
        FolderSource(view, 16).recipe()
    source = FolderSource(view, 16, link_roots=(elsewhere,))
    rows, problems, _ = made(source)
    assert [row["file"] for row in rows if row["label"]] == ["merger/1.png", "merger/2.png", "merger/3.png"]
    assert len(rows) == 7
    assert (
        f"outside data.root: copy it there, or set data.link_roots=[{root}/other]" in problems["other/9.png"]
    )
    both = FolderSource(view, 16, link_roots=(elsewhere, root))
    assert len(made(both)[0]) == 8
    # What may be read decides what is left out.
    assert both.recipe() != source.recipe()
    (view / "list.csv").write_text(f"file,label\n{elsewhere}/merger/1.png,1\nother/101.png,0\n")
    assert len(made(FolderSource(view, 16, csv="list.csv", link_roots=(elsewhere,)))[0]) == 2


def test_a_folder_that_cannot_be_listed_is_named(root, monkeypatch):
    listed = os.scandir

    def refuse(path):
        if str(path).endswith("other"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"images/other cannot be listed: Permission denied"):
        FolderSource(root, 16).recipe()


def test_class_folders_within_a_split_are_pooled(root, tmp_path, caplog):
    split = tmp_path / "split"
    for part in ("train", "Test"):
        shutil.copytree(root, split / part)
    for file in (split / "Test").rglob("*.png"):
        Image.open(file).rotate(90).save(file)
    (split / "train/stray.png").write_bytes(encoded(GREY))
    source = FolderSource(split, 16)
    rows, problems, _ = made(source)
    assert source.class_names == ("other", "merger")
    assert Counter(row["label"] for row in rows) == {0: 20, 1: 12}
    assert len({row["objid"] for row in rows}) == 32
    assert problems == {"train/stray.png": "in no class folder: move it into one"}
    assert "Test, train are pooled" in caplog.text
    (split / "train/third").mkdir()
    with pytest.raises(DataError, match=r"Test, train are parts of a split, not classes"):
        FolderSource(split, 16).recipe()
    for part in ("train", "Test"):
        for file in (split / part).rglob("*.png"):
            shutil.move(file, split / part / f"{file.parent.name}{file.name}")
        for folder in [path for path in (split / part).iterdir() if path.is_dir()]:
            shutil.rmtree(folder)
    with pytest.raises(DataError, match=r"Test, train are parts of a split, not classes"):
        FolderSource(split, 16).recipe()


@pytest.mark.parametrize(
    ("parts", "is_pooled"),
    [
        (("train_set", "test_set"), True),
        (("fold1", "fold2"), True),
        (("Training images", "validation-data"), True),
        (("train", "spare"), False),
        (("north", "south"), False),
    ],
)
def test_parts_of_a_data_set_are_not_taken_for_classes(root, tmp_path, parts, is_pooled):
    whole = tmp_path / "whole"
    for part in parts:
        shutil.copytree(root, whole / part)
        for file in (whole / part).rglob("*.png"):
            Image.open(file).rotate(90 * parts.index(part)).save(file)
    source = FolderSource(whole, 16)
    if is_pooled:
        assert source.class_names == ("other", "merger")
        assert len(source.entries) == 32
    else:
        with pytest.raises(DataError, match=r"data\.positive"):
            source.recipe()
    if parts != ("train", "spare"):  # nor is there a doubt where an inner folder is said to be a class
        assert FolderSource(whole, 16, positive="merger").class_names == ("other", "merger")
    # Whoever says that a folder is a class is believed: mergers may be sorted by kind as others are.
    assert set(FolderSource(whole, 16, positive=parts[0]).class_names) == set(parts)


def test_files_that_are_called_the_same_get_ids_of_their_paths(root):
    before = {row["file"]: row["objid"] for row in made(FolderSource(root, 16))[0]}
    (root / "other/101.png").rename(root / "other/1.png")
    (root / "other/deep").mkdir()
    (root / "other/103.png").rename(root / "other/deep/102.png")
    after = {row["file"]: row["objid"] for row in made(FolderSource(root, 16))[0]}
    changed = {file: hash63(file.encode()) for file in after if after[file] != before.get(file)}
    assert {file: after[file] for file in changed} == changed
    assert set(changed) == {"merger/1.png", "other/1.png", "other/102.png", "other/deep/102.png"}
    assert len(set(after.values())) == 16


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
        (lambda root: (root / "third").mkdir(), "exactly two class folders, and has 3: merger, other, third"),
        (lambda root: shutil.rmtree(root / "other"), "exactly two class folders, and has 1: merger"),
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
    overrides = [f"data={name}", *(f"data.{key}={value}" for key, value in changes.items())]
    return compose_cell("prepare", overrides, PrepareConfig).data


def test_configs_make_the_source(root):
    source = make_source(config("folder", root=str(root), crop=0.5, on_error="skip"))
    assert source == FolderSource(root, 128, crop=0.5, on_error="skip")
    sdss = config("sdss", root=str(root))
    assert (sdss.name, sdss.size) == ("sdss", 299)
    assert make_source(sdss) == FolderSource(root, 299, positive="merger")


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
