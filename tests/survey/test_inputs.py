"""The same images from a prepared set, a folder, tar files and tables, with ids that stay exact."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import MaskedColumn, Table

from mergerexp.config.compose import compose_cell
from mergerexp.config.schema import PrepareConfig
from mergerexp.config.survey_schema import SurveyColumns
from mergerexp.data.build import prepare_dataset
from mergerexp.errors import UserError
from mergerexp.survey.inputs import Input, Place, open_again, open_input
from mergerexp.survey.statuses import Status
from tests.survey.places import LARGE, packed, write_catalogue


def opened(path: Path, size: int = 32) -> Input:
    """Return the input as a process that plans a survey opens it; one that rates a shard has the same."""
    place = Place(path, SurveyColumns(), None, None, size)
    with TemporaryDirectory() as scratch:
        found = open_input(place, Path(scratch))
        found.save(Path(scratch) / "objects")
        again = open_again(place, found.identity(), Path(scratch) / "objects")
        assert len(again) == len(found) and again.has_integer_ids == found.has_integer_ids
        assert [repr(item) for item in again.read(0, 2)] == [repr(item) for item in found.read(0, 2)]
        return open_input(place, Path(scratch))


def test_a_folder_and_tar_files_give_the_same_objects(pictures, tmp_path):
    folder = opened(pictures[0].parent)
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        for path in sorted(pictures):
            tar.add(path, path.name)
    packed = opened(tmp_path / "all.tar")
    assert folder.has_integer_ids and packed.has_integer_ids
    assert sorted(item.id for item in folder.read(0, 3)) == sorted(LARGE)
    assert [(item.id, item.data) for item in folder.read(1, 3)] == [
        (item.id, item.data) for item in packed.read(1, 3)
    ]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".fits", ".vot"])
def test_ids_of_64_bits_survive_every_kind_of_catalogue(suffix, pictures):
    """CASES: pandas 32134, fink-client 235, astropy 1156."""
    path = pictures[0].parent / f"objects{suffix}"
    write_catalogue(path, pictures)
    found = opened(path)
    assert found.has_integer_ids
    items = found.read(0, 3)
    assert [item.id for item in items] == LARGE
    assert [item.ra for item in items] == [10.0, 20.0, 359.999]
    assert [item.dec for item in items] == [-90.0, 0.5, 90.0]
    assert [item.data for item in items] == [file.read_bytes() for file in pictures]


def test_ids_beyond_64_bits_with_a_sign_become_texts(pictures, tmp_path):
    """CASES: astroquery 2839, 2879 (SDSS's specObjID)."""
    ids = pa.array([2**63 + 5, 2**64 - 1, 7], pa.uint64())
    pq.write_table(pa.table({"objid": ids, "file": [file.name for file in pictures]}), tmp_path / "a.parquet")
    images = [file.read_bytes() for file in pictures]
    pq.write_table(pa.table({"objid": ids, "image": images}), tmp_path / "b.parquet")
    for name in ("a.parquet", "b.parquet"):
        found = opened(tmp_path / name)
        assert not found.has_integer_ids
        assert [item.id for item in found.read(0, 3)] == [str(2**63 + 5), str(2**64 - 1), "7"]


@pytest.mark.parametrize("what", ["image", "file"])
@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (pa.array([1, None, 3]), "row 2: column 'objid' is empty"),
        (pa.array(["a", "b", None]), "row 3: column 'objid' is empty"),
        (pa.array([1.0, 2.0, 3.0]), "column 'objid' has the type double; ids are integers or texts"),
    ],
)
def test_ids_that_tell_no_objects_apart_are_refused(ids, message, what, pictures, tmp_path):
    cells = [file.read_bytes() if what == "image" else file.name for file in pictures]
    pq.write_table(pa.table({"objid": ids, what: cells}), tmp_path / "a.parquet", row_group_size=1)
    with pytest.raises(UserError, match=re.escape(message)):
        opened(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    "kind", [pa.dictionary(pa.int32(), pa.string()), pa.large_string(), pa.string_view()]
)
def test_texts_of_every_kind_are_ids(kind, pictures, tmp_path):
    ids = pa.array(["a", "b", "c"]).cast(kind)
    pq.write_table(pa.table({"objid": ids, "file": [file.name for file in pictures]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"objid": ids, "image": [b"1", b"2", b"3"]}), tmp_path / "b.parquet")
    for name in ("a.parquet", "b.parquet"):
        assert [item.id for item in opened(tmp_path / name).read(0, 3)] == ["a", "b", "c"]


def test_paths_are_no_images(pictures, tmp_path):
    names = [str(file) for file in pictures]
    pq.write_table(pa.table({"objid": LARGE, "image": names}), tmp_path / "a.parquet")
    with pytest.raises(
        UserError, match="column 'image' has the type string; it needs the bytes of image files"
    ):
        opened(tmp_path / "a.parquet")


def test_a_named_column_that_is_missing_is_refused(pictures):
    """Otherwise no object would be recognised by its position, without a word."""
    path = pictures[0].parent / "objects.csv"
    write_catalogue(path, pictures)
    place = Place(path, SurveyColumns(ra="RAJ2000"), None, None, 32)
    with pytest.raises(UserError, match="no column 'RAJ2000'"):
        open_input(place, path.parent)


def test_a_tar_file_that_ends_too_early_is_refused(pictures, tmp_path):
    """`tarfile` takes a damaged header for the end, so that all objects behind it would be lost."""
    whole = packed(tmp_path / "a.tar", pictures).read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        headers = [member.offset for member in tar]
    damaged = bytearray(whole)
    damaged[headers[2] + 3] ^= 1
    cases = {"flipped": bytes(damaged), "cut": whole[: headers[2]], "cut inside": whole[: headers[2] + 100]}
    for name, content in {**cases, "joined": whole + whole}.items():
        (tmp_path / f"{name}.tar").write_bytes(content)
        with pytest.raises(UserError, match=r"damaged, cut off or joined of several at byte"):
            opened(tmp_path / f"{name}.tar")


def test_links_in_a_tar_file_are_refused(pictures, tmp_path):
    link = tarfile.TarInfo("link.png")
    link.type, link.linkname = tarfile.SYMTYPE, pictures[0].name
    with tarfile.open(packed(tmp_path / "a.tar", pictures), "a") as tar:
        tar.addfile(link)
    with pytest.raises(UserError, match=r"link.png is a link or a sparse file; pack the files themselves"):
        opened(tmp_path / "a.tar")


def test_hidden_files_and_the_dot_of_a_tar_file_change_no_id(pictures, tmp_path):
    """Systems leave ._1.png beside 1.png, and `tar -C folder -cf x.tar .` puts ./ in front."""
    (pictures[0].parent / f"._{pictures[0].name}").write_bytes(b"resource fork")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(pictures[0].parent, ".")
    for place in (tmp_path / "a.tar", pictures[0].parent):
        assert sorted(item.id for item in opened(place).read(0, 9)) == sorted(LARGE)


def test_parquet_files_and_groups_without_rows_do_not_matter(pictures, tmp_path):
    folder = tmp_path / "survey"
    folder.mkdir()
    rows = pa.table({"objid": LARGE, "image": [file.read_bytes() for file in pictures]})
    with pq.ParquetWriter(folder / "a.parquet", rows.schema) as writer:
        for part in (rows, rows.slice(0, 0), rows):
            writer.write_table(part)
    pq.write_table(pa.table({"objid": pa.array([], pa.string()), "image": pa.nulls(0)}), folder / "b.parquet")
    found = opened(folder)
    assert found.has_integer_ids and [item.id for item in found.read(0, 6)] == [*LARGE, *LARGE]


def test_line_breaks_inside_of_quotes(pictures):
    path = pictures[0].parent / "objects.csv"
    rows = "".join(f'{number},{pictures[0].name},"two\nlines, {"x" * 40}"\n' for number in range(40_000))
    path.write_text(f"objid,file,comment\n{rows}")
    found = opened(path)
    assert len(found) == 40_000 and found.read(39_999, 40_000)[0].id == 39_999


def test_a_folder_of_two_kinds_is_refused(pictures, tmp_path):
    packed(tmp_path / "a.tar", pictures[:1])
    with pytest.raises(UserError, match="one kind alone can be rated at once"):
        opened(tmp_path)  # with a folder of images


def test_a_link_that_leads_nowhere_is_a_row(pictures):
    (pictures[0].parent / "5.png").symlink_to("gone.png")
    items = {item.id: item.status for item in opened(pictures[0].parent).read(0, 4)}
    assert items == {**dict.fromkeys(LARGE, Status.RATED), 5: Status.NO_IMAGE}


def test_images_in_parquet_come_by_row_groups(pictures, tmp_path):
    images = [file.read_bytes() for file in pictures]
    degrees = [1.0, None, 3.0, 4.0]
    rows = {"objid": [*LARGE, 7], "image": [*images, None], "ra": degrees, "dec": degrees}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet", row_group_size=3)
    found = opened(tmp_path / "a.parquet")
    assert len(found) == 4
    items = found.read(1, 4)  # over the end of the first row group
    assert [item.id for item in items] == [*LARGE[1:], 7]
    assert [item.data for item in items] == [*images[1:], None]
    assert items[2].status is Status.NO_IMAGE and np.isnan(items[0].dec) and items[1].dec == 3.0


def test_a_row_group_is_read_once_for_all_of_its_chunks(pictures, tmp_path, monkeypatch):
    images = [pictures[0].read_bytes()] * 100
    pq.write_table(
        pa.table({"objid": range(100), "image": images}), tmp_path / "a.parquet", row_group_size=50
    )
    found, read = opened(tmp_path / "a.parquet"), []
    real = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_group", lambda self, i, *given: read.append(i) or real(self, i, *given)
    )
    assert [item.id for start in range(0, 100, 5) for item in found.read(start, start + 5)] == list(
        range(100)
    )
    assert read == [0, 1]


def test_a_prepared_set_gives_its_stamps(galaxies, datasets):
    cell = ["data=folder", f"data.root={galaxies}", "data.size=32"]
    path = prepare_dataset(compose_cell("prepare", cell, PrepareConfig).data, datasets, progress=False)
    found = opened(path)
    (item,) = found.read(5, 6)
    assert item.stamp is not None and item.stamp.shape == (32, 32, 3)
    with pytest.raises(UserError, match="its stamps have 32 px, and the networks take 64 px"):
        opened(path, 64)


def test_files_that_are_not_there_are_rows_with_their_reason(pictures):
    """CASES: mergernet's threads, Zoobot's predict_on_catalog."""
    path = pictures[0].parent / "objects.csv"
    path.write_text(f"objid,file\na,gone.png\nb,\nc,{pictures[0].name}\n")
    found = opened(path)
    assert not found.has_integer_ids
    assert [(item.id, item.status) for item in found.read(0, 3)] == [
        ("a", Status.NO_IMAGE),
        ("b", Status.NO_IMAGE),
        ("c", Status.RATED),
    ]


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["a/1.png", "b/2.png"], [1, 2]),
        (["a/1.png", "b/1.png"], ["a/1", "b/1"]),  # equal numbers
        (["007.png", "8.png"], ["007", "8"]),  # zeros would be lost
        ([f"{2**63}.png", "c.d.jpg"], [str(2**63), "c.d"]),
    ],
)
def test_ids_of_files_are_integers_only_where_nothing_is_lost(names, ids, tmp_path):
    for name in names:
        (tmp_path / "all" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / name).write_bytes(b"image")
    found = opened(tmp_path / "all")
    assert [item.id for item in found.read(0, 2)] == ids
    assert found.has_integer_ids == isinstance(ids[0], int)


def test_folders_are_followed_but_not_in_circles(pictures, tmp_path):
    """Archives are often links on a cluster."""
    root = tmp_path / "survey"
    root.mkdir()
    (root / "linked").symlink_to(pictures[0].parent)
    assert len(opened(root)) == 3
    (pictures[0].parent / "back").symlink_to(root)
    with pytest.raises(UserError, match="this link leads to a folder that it is in"):
        opened(root)


def test_empty_ids_are_refused_with_their_row(pictures):
    path = pictures[0].parent / "objects.vot"
    ids = MaskedColumn([1, 2, 3], mask=[False, True, False])
    Table({"objid": ids, "file": [file.name for file in pictures]}).write(path, format="votable")
    with pytest.raises(UserError, match=r"row 2: column 'objid' is empty"):
        opened(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"id,file\n1,a.png\n", "no column 'objid'; its columns are id, file"),
        ("a.csv", b"objid,file\n", "no rows"),
        ("a.csv", b"objid,file", "no rows"),
        ("a.csv", b"", "no column 'objid'; it is empty"),
        ("a.csv", b"objid,file,RA,DEC\n1,a.png,1,2\n", "has a column 'RA'; columns.ra and columns.dec name"),
        ("a.csv", b"objid,file,file\n1,a.png,b.png\n", "several columns 'file'; rename"),
        ("a.csv", b"objid,file,ra\n1,a.png,10\n", "no column 'dec'"),
        ("a.csv", b"objid,file,ra,dec\n1,a.png,10,20\n2,b.png,20,91\n", "row 2: dec=91 is no position"),
        ("a.fits", b"SIMPLE  =", "can't be read"),
        ("a.parquet", b"PAR1", "can't be read"),
        ("a.tar", b"nothing", "a.tar: "),
        ("a.tar.gz", b"nothing", "unpack it to .tar"),
        ("a.txt", b"", "not understood"),
    ],
)
def test_what_can_not_be_read_is_named(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        opened(tmp_path / name)
    with pytest.raises(UserError, match="no such file or folder"):
        opened(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no .jpg, .jpeg, .png in it"):
        opened(tmp_path / "empty")


def test_a_position_of_a_csv_file_that_is_no_number_is_named_by_its_row(tmp_path):
    path = tmp_path / "survey.csv"
    path.write_text("objid,file,ra,dec\n1,a.jpg,10.0,1.0\n2,b.jpg,ten,1.0\n")
    with pytest.raises(UserError, match="row 2: column 'ra' has 'ten', which is no number"):
        opened(path)
