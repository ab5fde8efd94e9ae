import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mergerexp.data.contact_sheet import contact_sheet, main

SIDE = 20


@pytest.fixture
def pictures():
    """Label 1 is red, label 0 is blue."""
    labels = np.array([0, 1] * 8 + [0, 0])
    images = np.zeros((len(labels), SIDE, SIDE, 3), dtype=np.uint8)
    images[labels == 1, ..., 0] = 200
    images[labels == 0, ..., 2] = 200
    return images, labels


def counts(sheet):
    pixels = np.asarray(sheet)
    half = pixels.shape[1] // 2
    red, blue = (200, 0, 0), (0, 0, 200)
    return [
        int((part == colour).all(axis=-1).sum()) // SIDE**2
        for part in (pixels[:, :half], pixels[:, half:])
        for colour in (red, blue)
    ]


def test_label_one_is_left_and_label_zero_right(pictures):
    assert counts(contact_sheet(*pictures, rows=2, columns=3)) == [6, 0, 0, 6]


def test_a_small_class_leaves_places_empty(pictures):
    assert counts(contact_sheet(*pictures, rows=3, columns=3)) == [8, 0, 0, 9]


def test_the_choice_depends_on_the_seed_only():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (40, SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.arange(40) % 2
    sheets = [np.asarray(contact_sheet(images, labels, rows=1, columns=3, seed=s)) for s in (0, 0, 1)]
    assert (sheets[0] == sheets[1]).all()
    assert (sheets[0] != sheets[2]).any()


def test_command_writes_png(pictures, tmp_path):
    images, labels = pictures
    np.save(tmp_path / "images.npy", images)
    pd.DataFrame({"objid": range(len(labels)), "label": labels}).to_parquet(tmp_path / "catalogue.parquet")
    main([str(tmp_path), str(tmp_path / "sheet.png"), "--rows", "2", "--columns", "2"])
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
        assert counts(sheet) == [4, 0, 0, 4]


def test_command_names_what_is_missing(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path), str(tmp_path / "sheet.png")])
    assert "images.npy" in capsys.readouterr().err
