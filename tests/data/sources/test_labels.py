"""A CSV of files and labels as a data set's source."""

import shutil

import numpy as np
import pytest

from mergerexp.data.build import prepare
from mergerexp.data.sources.folder.labels import Columns
from mergerexp.data.sources.folder.source import FolderSource
from mergerexp.data.store import Dataset
from mergerexp.errors import DataError
from tests.data.sources.files import made

BIG_OBJID = 587_722_981_741_363_323  # needs more than a float's 53 bits


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
    assert [row["csv_name"] for row in rows] == ["A", "B", "C"]
    assert rows[0]["csv_z"] == 0.05
    assert np.isnan(rows[1]["csv_z"])


def prepared(root, tmp_path, text, **options):
    """Catalogue of the data set that a CSV gives."""
    columns = Columns(file="path", label="class", objid=options.pop("objid", None), group=None)
    source = with_csv(root, text, columns=columns, **options)
    return Dataset.open(prepare(source, "toy", 16, tmp_path / "sets", workers=1)).catalogue


def test_columns_of_a_csv_overwrite_none_of_ours(root, tmp_path):
    lines = ["path,class", "merger/1.png,1", "merger/2.png,1", "other/101.png,0", "other/102.png,0"]
    expected = prepared(root, tmp_path, "\n".join(lines))
    ours = list(expected)
    assert {"objid", "label", "group", "content", "file"} <= set(ours)
    # A column of each of our names, with a value that would make all images the same.
    fields = [",".join(ours), *[",".join("7" for _ in ours)] * 4]
    found = prepared(root, tmp_path, "\n".join(map(",".join, zip(lines, fields, strict=True))))
    assert found[ours].equals(expected)
    assert (found[[f"csv_{name}" for name in ours]] == 7).all(axis=None)
    assert len(found.columns) == 2 * len(ours)


def test_columns_of_a_csv_come_out_as_they_went_in(root, tmp_path):
    columns = {
        "integer": ["1", "-2", "0", "3"],
        "number": ["1", ".5", "", "1e3"],
        "specobjid": ["1237648720693755918", "1237648720693755919", "1", "2"],
        "some_ids": ["1237648720693755918", "", "1", "2"],
        "longer": ["18446744073709551617", "1", "2", "3"],
        "longer_decimal": ["18446744073709551617", "1.5", "2", "3"],
        "plate": ["0266", "0267", "1", "2"],
        "grouped": ["1_000", "2", "3", "4"],
        "overflow": ["1e999", "2", "3", "4"],
    }
    files = ["merger/1.png", "merger/2.png", "other/101.png", "other/102.png"]
    rows = zip(files, "1100", *columns.values(), strict=True)
    text = "\n".join(map(",".join, [("path", "class", *columns), *rows]))
    found = prepared(root, tmp_path, text)
    assert found["csv_integer"].tolist() == [1, -2, 0, 3]
    np.testing.assert_array_equal(found["csv_number"], [1, 0.5, np.nan, 1000])
    assert found["csv_specobjid"].tolist() == [int(text) for text in columns["specobjid"]]
    for name in ("some_ids", "longer", "longer_decimal", "plate", "grouped", "overflow"):
        assert found[f"csv_{name}"].tolist() == columns[name]


@pytest.mark.parametrize(
    ("ones", "zeros", "positive", "classes"),
    [
        (["1.0", "1", "1.", "01"], ["0.0", "0"], None, ("0", "1")),
        (["1.0", "1.0", "1.0"], ["0.0"], None, ("0", "1")),
        (["1", "1", "1"], ["-1"], None, ("-1", "1")),
        (["True", "True", "True"], ["False"], None, ("False", "True")),
        (["yes", "yes", "yes"], ["no"], None, ("no", "yes")),
        (["1.0", "1.0", "1.0"], ["0.0"], "0.0", ("1", "0")),
        (["2.0", "2", "2"], ["3.0"], None, ("2", "3")),
    ],
)
def test_labels_that_are_numbers_or_truth_values(root, ones, zeros, positive, classes):
    rows = [f"merger/{i}.png,{label}" for i, label in enumerate(ones, 1)]
    rows += [f"other/{i}.png,{label}" for i, label in enumerate(zeros, 101)]
    source = with_csv(root, "\n".join(["file,label", *rows]), positive=positive)
    assert source.class_names == classes
    assert {row["file"][0]: row["label"] for row in made(source)[0]} == {
        "m": classes.index(str(ones[0]).removesuffix(".0")),
        "o": classes.index(str(zeros[0]).removesuffix(".0")),
    }


def test_classes_whose_names_mean_the_same_are_refused(root):
    text = "file,label\nmerger/1.png,Merger\nmerger/2.png,Merger\nother/101.png,merger\n"
    with pytest.raises(DataError, match=r"names mean the same: Merger \(2\), merger \(1\)"):
        with_csv(root, text).recipe()


def test_csv_of_class_names_and_other_columns(root):
    text = "path,class,file\nmerger/1.png,odd,x\nother/101.png,plain,y\nother/102.png,plain,z\n"
    columns = Columns(file="path", label="class", objid=None, group=None)
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
        ("file,label\na.png,1\nb.png\n", "line 3: it needs 2 fields"),
        ("file,label\na.png,1\nb.png,0,0\n", "line 3: it needs 2 fields"),
        ("file,label,objid\na.png,1,5.877e17\n", "line 2: objid '5.877e17' is not a 64-bit integer"),
        ("file,label,objid\na.png,1,9223372036854775808\n", "line 2: objid '9223372036854775808'"),
        ("file,label,objid\na.png,1,\n", "line 2: objid '' is not a 64-bit integer"),
        ("file,label,group\na.png,1,a\nb.png,0,\n", "line 3: group '' is empty"),
        ("file,label\nmerger/1.png,1\nmerger/2.png,1\n", r"of exactly two classes, found: 1 \(2\)"),
        ("file,label,z,z\na.png,1,1,2\n", "several columns 'z'"),
        (f"file,label,objid\na.png,1,{'1' * 5000}\n", r"line 2: objid '1{60}… \(5000 characters\)' is"),
        (f"file,label\na.png,1\nb.png,0\nc.png,{'2' * 5000}\n", r"line 4: label '2{60}… \(5000 characters"),
        ("file;label\na.png;1\n", "separated by ';'"),
        ("file\tlabel\na.png\t1\n", r"separated by '\\t'"),
        ("file,label\na.png,1\nb.png,\0000\n", r"line 3: label '\\x000' has a character that can't be seen"),
        ("file,label\na.png,1\nb.png,1\u200b0\n", r"line 3: label '1\\u200b0'"),
        ('file,label\na.png,1\n"b.png,0\n', "after line [23]: unexpected end"),
        ("file,label\na.png,1\n" + "b" * 140_000 + ",0\n", "after line [23]: field larger"),
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
    (root / "excel.csv").write_bytes("file,label\nmerger/1.png,1\n".encode("utf-16"))
    with pytest.raises(DataError, match=r"excel.csv cannot be read.*save it as UTF-8"):
        FolderSource(root, 16, csv="excel.csv").recipe()
    with pytest.raises(DataError, match=r"two of data.columns are the same column"):
        with_csv(root, "file,label\na,0\n", columns=Columns(label="file")).recipe()
    with pytest.raises(DataError, match=r"no column 'dr7' \(data.columns.objid\)"):
        with_csv(root, "file,label\na,0\n", columns=Columns(objid="dr7")).recipe()


def test_a_file_on_two_lines_is_not_two_objects(root):
    text = "file,label,objid\nmerger/1.png,1,1\nother/101.png,0,2\n./merger/../merger/1.png,1,3\n"
    rows, problems, _ = made(with_csv(root, text))
    assert [row["objid"] for row in rows] == [1, 2]
    assert problems == {"merger/1.png": "listed twice, in lines 2 and 4 of the CSV"}


def test_a_file_on_two_lines_with_two_labels_is_not_used(root):
    files = ("merger/1.png,merger", "merger/2.png,merger", "other/101.png,other", "merger/1.png,other")
    rows, problems, _ = made(with_csv(root, "\n".join(["file,label", *files]), positive="merger"))
    assert [row["file"] for row in rows] == ["merger/2.png", "other/101.png"]
    assert problems == {"merger/1.png": "listed twice, in lines 2 and 5 of the CSV, as merger and as other"}


@pytest.mark.parametrize("last, used", [("merger", 1), ("other", 0)])
def test_a_file_on_many_lines_is_one_problem(root, last, used):
    files = ("merger/1.png,merger", "other/101.png,other", *["merger/1.png,merger"] * 8)
    source = with_csv(
        root,
        "\n".join(["file,label", *files, "merger/2.png,merger", f"merger/1.png,{last}"]),
        positive="merger",
    )
    rows = [row["file"] for row in made(source)[0]]
    assert rows.count("merger/1.png") == used
    (entry,) = (entry for entry in source.entries if entry.problem)
    told = "listed 10 times, in lines 2, 4, 5, 6, 7 and others of the CSV"
    assert entry.problem == (told if used else f"{told}, as merger and as other")


def test_a_class_that_is_lost_to_a_contradiction_is_told_with_it(root):
    files = ("merger/1.png,1", "other/101.png,0", "other/102.png,0", "merger/1.png,0")
    with pytest.raises(DataError, match=r"list.csv must list images of exactly two") as told:
        with_csv(root, "\n".join(["file,label", *files])).recipe()
    assert str(told.value).endswith(
        "found: 0 (2); left out: merger/1.png, listed twice, in lines 2 and 5 of the CSV, as 1 and as 0"
    )
    assert ".jpg" not in str(told.value)


def test_an_objid_on_two_lines_is_named_with_both(root):
    text = "file,label,objid\nmerger/1.png,1,1\nother/101.png,0,2\nother/102.png,0,1\n"
    rows, problems, _ = made(with_csv(root, text))
    assert [row["objid"] for row in rows] == [1, 2]
    assert problems == {"other/102.png": "duplicate objid 1: lines 2 and 4 of the CSV have it"}


def test_a_byte_order_mark_and_spaces_in_labels_are_no_mistakes(root):
    text = "\ufefffile,label\nmerger/1.png, big merger \nother/101.png, other\nother/102.png,other\n"
    assert with_csv(root, text).class_names == ("other", "big merger")


def test_csv_may_name_only_files_within_the_root(root, tmp_path):
    shutil.copy(root / "merger/2.png", tmp_path / "secret.png")
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
