import json
import os

import numpy as np
import pandas as pd
import pytest

import mergerexp.prepare
from mergerexp.data.sources import Problem
from mergerexp.data.store import Dataset, find_dataset, save, verify
from mergerexp.errors import DataError
from mergerexp.files import read_json, write_json
from mergerexp.seals import sha256

LARGE = 2**63 - 1


def write(path, *, pixel=0, label=1, group=7, objid=LARGE, reverse_columns=False, name="toy"):
    images = np.arange(5 * 16 * 16 * 3, dtype=np.uint64).astype(np.uint8).reshape(5, 16, 16, 3)
    images[4, 3, 2, 1] += pixel
    catalogue = pd.DataFrame(
        {
            "objid": [10, 11, 12, 13, objid],
            "label": [0, 0, 1, 0, label],
            "group": [1, 2, 3, 4, group],
            "z": [0.1, 0.2, 0.3, 0.4, np.nan],
        }
    )
    if reverse_columns:
        catalogue = catalogue[catalogue.columns[::-1]]
    save(
        path,
        [images[:2], images[2:2], images[2:]],
        catalogue,
        name=name,
        source="Toy",
        recipe={"n": 5},
        size=16,
        class_names=("plain", "odd"),
        problems=[Problem("bad.jpg", "empty")],
    )
    return images


def test_opens_as_it_was_saved(tmp_path):
    images = write(tmp_path / "set")
    dataset = Dataset.open(tmp_path / "set")
    np.testing.assert_array_equal(dataset.images, images)
    assert isinstance(dataset.images, np.memmap)
    assert not dataset.images.flags.writeable
    assert dataset.objids.dtype == dataset.groups.dtype == np.int64
    assert dataset.labels.dtype == np.int8
    assert dataset.objids[4] == LARGE
    assert dataset.labels.tolist() == [0, 0, 1, 0, 1]
    assert dataset.groups.tolist() == [1, 2, 3, 4, 7]
    assert dataset.catalogue["z"][1] == 0.2
    assert dataset.meta["counts"] == {"plain": 3, "odd": 2}
    assert dataset.meta["problems"] == 1
    assert len(dataset) == 5
    assert (tmp_path / "set/problems.csv").read_text().splitlines() == ["file,reason", "bad.jpg,empty"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]
    verify(Dataset.open(tmp_path / "set"))


def test_content_hash_is_of_the_content_only(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "elsewhere/b", reverse_columns=True, name="other")
    hashes = [Dataset.open(tmp_path / name).content_hash for name in ("a", "elsewhere/b")]
    assert hashes[0] == hashes[1]
    for i, change in enumerate([{"pixel": 1}, {"label": 0}, {"group": 8}, {"objid": LARGE - 1}]):
        write(tmp_path / str(i), **change)
        hashes.append(Dataset.open(tmp_path / str(i)).content_hash)
    assert len(set(hashes)) == 5


def test_verify_notices_one_changed_pixel(tmp_path):
    write(tmp_path / "set")
    images = np.load(tmp_path / "set/images.npy", mmap_mode="r+")
    images[2, 0, 0, 0] ^= 1
    images.flush()
    del images
    with pytest.raises(DataError, match=r"images\.npy is damaged, or was changed since it was written"):
        verify(Dataset.open(tmp_path / "set"))


def test_files_that_were_not_touched_are_read_once(tmp_path):
    write(tmp_path / "set")
    known = verify(Dataset.open(tmp_path / "set"))
    known = json.loads(json.dumps(known))  # as a run's inputs keep it
    path = tmp_path / "set" / "images.npy"
    before = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # nobody can see it without reading
    assert verify(Dataset.open(tmp_path / "set"), known) == known
    path.touch()
    with pytest.raises(DataError, match=r"images\.npy is damaged"):
        verify(Dataset.open(tmp_path / "set"), known)


def damage(folder, kind):
    catalogue = pd.read_parquet(folder / "catalogue.parquet")
    if kind == "truncated":
        data = (folder / "images.npy").read_bytes()
        (folder / "images.npy").write_bytes(data[:-1])
    elif kind == "shape":
        np.save(folder / "images.npy", np.zeros((5, 8, 8, 3), np.uint8))
    elif kind == "order":
        np.save(folder / "images.npy", np.asfortranarray(np.zeros((5, 16, 16, 3), np.uint8)))
    elif kind == "fewer":
        np.save(folder / "images.npy", np.zeros((4, 16, 16, 3), np.uint8))
    elif kind == "json":
        (folder / "dataset.json").write_text("{")
    elif kind == "key":
        meta = read_json(folder / "dataset.json")
        del meta["content_hash"]
        write_json(folder / "dataset.json", meta)
    elif kind == "parquet":
        (folder / "catalogue.parquet").write_bytes(b"PAR1")
    elif kind == "column":
        catalogue.drop(columns="group").to_parquet(folder / "catalogue.parquet")
    elif kind == "type":
        catalogue.astype({"objid": float}).to_parquet(folder / "catalogue.parquet")
    elif kind == "twice":
        catalogue.assign(objid=[1, 2, 2, 3, 4]).to_parquet(folder / "catalogue.parquet")
    elif kind == "label":
        catalogue.assign(label=np.int8(2)).to_parquet(folder / "catalogue.parquet")
    else:
        (folder / kind).unlink()
    if kind in ("column", "type", "twice", "label"):  # whoever did it has left a hash that fits
        meta = read_json(folder / "dataset.json")
        meta["files"]["catalogue.parquet"] = sha256(folder / "catalogue.parquet")
        write_json(folder / "dataset.json", meta)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("dataset.json", "dataset.json is missing"),
        ("images.npy", "images.npy is missing"),
        ("catalogue.parquet", "catalogue.parquet is missing"),
        ("truncated", "images.npy is broken"),
        ("shape", r"holds uint8 \(5, 8, 8, 3\), not uint8 \[N, 16, 16, 3\]"),
        ("order", "in C order"),
        ("fewer", "4 images but catalogue.parquet 5 rows"),
        ("json", "dataset.json is damaged"),
        ("key", "lacks content_hash"),
        ("parquet", "catalogue.parquet is damaged"),
        ("column", "needs a column group of type int64"),
        ("type", "needs a column objid of type int64"),
        ("twice", "objid 2 occurs more than once"),
        ("label", "5 rows, of which"),
    ],
)
def test_open_names_what_is_wrong(tmp_path, kind, message):
    write(tmp_path / "set")
    damage(tmp_path / "set", kind)
    with pytest.raises(DataError, match=message):
        Dataset.open(tmp_path / "set")


def test_open_says_how_to_make_a_missing_data_set(tmp_path):
    with pytest.raises(DataError, match=r"nowhere.*mergerexp.prepare"):
        Dataset.open(tmp_path / "nowhere")


def test_found_by_content(tmp_path):
    write(tmp_path / "first")
    write(tmp_path / "second", label=0)
    write(tmp_path / ".second.tmp", label=0)
    wanted = Dataset.open(tmp_path / "second")
    found = find_dataset(tmp_path, wanted.content_hash, "toy")
    assert found.path == wanted.path
    with pytest.raises(
        DataError, match=r"data set toy of content ffffffffffff is not in .*mergerexp\.prepare"
    ):
        find_dataset(tmp_path, "f" * 64, "toy")
    with pytest.raises(DataError, match="is not in"):
        find_dataset(tmp_path / "nowhere", wanted.content_hash, "toy")


def test_another_damaged_data_set_hides_none(tmp_path):
    for name in ("first", "second", "third"):
        write(tmp_path / name, label=int(name == "second"))
    wanted = Dataset.open(tmp_path / "second").content_hash
    (tmp_path / "first/dataset.json").write_text("{")
    (tmp_path / "third/dataset.json").write_text("[" * 100_000)
    assert find_dataset(tmp_path, wanted, "toy").path == tmp_path / "second"
    with pytest.raises(DataError, match=r"(?s)is not in .*may be this one: .*first/dataset.json.*third/"):
        find_dataset(tmp_path, "f" * 64, "toy")


def test_rows_of_objects(tmp_path):
    write(tmp_path / "set")
    dataset = Dataset.open(tmp_path / "set")
    rows = dataset.rows_of(dataset.objids[[3, 0, 4]])
    assert rows.tolist() == [3, 0, 4]
    with pytest.raises(DataError, match=r"set has no object 987"):
        dataset.rows_of(np.array([dataset.objids[0], 987]))


def test_save_refuses_images_without_rows(tmp_path):
    catalogue = pd.DataFrame({"objid": [1, 2], "label": [0, 1], "group": [0, 1]})
    with pytest.raises(DataError, match="1 images for 2 rows"):
        save(
            tmp_path / "set",
            [np.zeros((1, 16, 16, 3), np.uint8)],
            catalogue,
            name="toy",
            source="Toy",
            recipe={},
            size=16,
            class_names=("a", "b"),
        )
    assert not (tmp_path / "set").exists()


def test_prepare_does_not_call_a_damaged_set_ready(run_verb, galaxies, tmp_path, capsys):
    data = ("data=folder", f"data.root={galaxies}", "data.size=32", "data.workers=1")
    assert run_verb(mergerexp.prepare, *data) == 0
    (images,) = (tmp_path / "datasets").glob("*/images.npy")
    content = bytearray(images.read_bytes())
    content[-5] ^= 1
    images.write_bytes(content)
    capsys.readouterr()
    assert run_verb(mergerexp.prepare, *data) == 2
    said = capsys.readouterr().err
    assert "images.npy is damaged" in said and "prepare it again" in said
