"""The list of a survey's objects, by which shards read what was planned."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mergerexp.config.survey_schema import SurveyColumns
from mergerexp.errors import UserError
from mergerexp.survey.inputs import Place, open_again, open_input
from tests.survey.places import LARGE, packed, write_catalogue


def test_the_list_of_row_groups_is_checked_too(pictures, tmp_path):
    path, listed = tmp_path / "a.parquet", tmp_path / "objects"
    table = pa.table({"objid": LARGE, "image": [file.read_bytes() for file in pictures]})
    pq.write_table(table, path, row_group_size=1)
    place = Place(path, SurveyColumns(), None, None, 32)
    found = open_input(place, tmp_path)
    found.save(listed)
    content = bytearray(listed.read_bytes())
    groups = np.arange(3, dtype=np.int32).tobytes()
    at = content.index(groups)
    content[at : at + 4] = np.int32(2).tobytes()
    listed.write_bytes(content)
    with pytest.raises(UserError, match="objects is damaged"):
        open_again(place, found.identity(), listed)


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_files_that_come_later_change_nothing_for_those_that_have_the_list(kind, pictures, tmp_path):
    folder = tmp_path / "survey"
    folder.mkdir()

    def write(name: str, which: list[Path]) -> None:
        if kind == "tar":
            packed(folder / f"{name}.tar", which)
        else:
            rows = {
                "objid": [int(file.stem) for file in which],
                "image": [file.read_bytes() for file in which],
            }
            pq.write_table(pa.table(rows), folder / f"{name}.parquet")

    write("b", pictures[:2])
    place = Place(folder, SurveyColumns(), None, None, 32)
    planned = open_input(place, tmp_path)
    planned.save(tmp_path / "objects")
    write("a", pictures[2:])
    again = open_again(place, planned.identity(), tmp_path / "objects")
    assert [(item.id, item.data) for item in again.read(0, 2)] == [
        (item.id, item.data) for item in planned.read(0, 2)
    ]
    write("b", pictures)
    with pytest.raises(UserError, match=r"not as it was when its objects were listed"):
        open_again(place, planned.identity(), tmp_path / "objects")


def test_a_list_that_is_damaged_or_of_another_input_is_refused(pictures, tmp_path):
    path, listed = pictures[0].parent / "objects.csv", tmp_path / "objects"
    write_catalogue(path, pictures)
    place = Place(path, SurveyColumns(), None, None, 32)
    found = open_input(place, tmp_path)
    found.save(listed)
    before = listed.stat().st_ino
    found.save(listed)
    assert listed.stat().st_ino == before  # others may have it mapped
    content = listed.read_bytes()
    listed.write_bytes(content.replace(pictures[1].name.encode(), b"X" + pictures[1].name.encode()[1:]))
    with pytest.raises(UserError, match="objects is damaged; remove it, and the same command makes it"):
        open_again(place, found.identity(), listed).read(0, 3)
    listed.write_bytes(content)
    with pytest.raises(UserError, match="lists other objects"):
        open_again(place, {**found.identity(), "listing": "another"}, listed)
    listed.unlink()
    with pytest.raises(UserError, match="can't be read"):
        open_again(place, found.identity(), listed)


def test_what_changes_an_input_changes_its_identity(pictures, tmp_path):
    path = tmp_path / "objects.csv"

    def of(**changed):
        place = Place(path, SurveyColumns(), None, None, 32)
        return open_input(dataclasses.replace(place, **changed), tmp_path).identity()

    path.write_text("objid,file,ra,dec\n1,a.png,10,20\n2,b.png,,20\n")
    first = of()
    assert of() == first
    assert of(id_system="SDSS-DR7") != first  # it decides which objects the networks have seen
    assert of(root=tmp_path / "others") != first
    for text in ("1,a.png,10,20\n3,b.png,,20", "1,a.png,10,20\n2,b.png,0,20", "1,a.pn,10,20\n2,gb.png,,20"):
        path.write_text(f"objid,file,ra,dec\n{text}\n")
        assert of() != first
