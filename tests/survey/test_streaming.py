"""What is found in all rows of a catalogue is what a database finds in the same files."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from mergerexp.survey import duplicates
from mergerexp.survey.catalogue import standing
from mergerexp.survey.duplicates import DOUBLED, FORBIDDEN, LAST, Standing, find_duplicates
from mergerexp.survey.extremes import Extremes
from tests.survey.made_up import BITS, RANK, write_parts

ROWS = 30_000


def some_ids(kind: str) -> np.ndarray:
    """Return ids, a few of which occur two or three times."""
    rng = np.random.default_rng(3)
    numbers = rng.integers(2**62, 2**63 - 1, ROWS)
    numbers[1000:1040] = numbers[:40]
    numbers[20_000:20_020] = numbers[:20]
    if kind == "integers":
        return numbers
    return np.array([f"J{number}{'é' * (number % 3)}" for number in numbers.tolist()], dtype=object)


@pytest.fixture(params=["integers", "texts"])
def parts(request, tmp_path):
    return write_parts(tmp_path / "parts", some_ids(request.param))


def tables(parts):
    for number in range(len(parts)):
        yield from parts.tables(number)


def test_ids_that_occur_again(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(duplicates, "BUCKET_ROWS", 700)  # many files
    pieces = ((table["objid"], standing(table)) for table in tables(parts))
    found = find_duplicates(pieces, ROWS, tmp_path)
    rows = (
        "select file_row_number + filename.regexp_extract('(\\d+).parquet', 1)::int * 8192 as row, "
        f"row_number() over (partition by objid order by {RANK}, row) as n, {BITS} as own, "
        "bit_or(own) over (partition by objid) as by_any "
        f"from read_parquet('{parts.folder}/*.parquet', filename=true, file_row_number=true)"
    )
    expected = duckdb.sql(f"select row from ({rows}) where n > 1 order by row").fetchnumpy()["row"]
    assert len(expected) == 60
    assert np.flatnonzero(found == DOUBLED).tolist() == expected.tolist()
    apart = duckdb.sql(f"select row from ({rows}) where n = 1 and own <> by_any order by row").fetchnumpy()[
        "row"
    ]
    assert np.flatnonzero(found == FORBIDDEN).tolist() == apart.tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["parts"]


def test_networks_that_have_seen_another_row_of_an_id_do_not_rate_it(tmp_path):
    """Rows of ids 1 to 4: the first row that the fewest networks may rate stands, if it is enough."""
    ids = pa.chunked_array([pa.array([1, 1, 2, 2, 3, 3, 4, 4, 5])])
    ranks = np.array([4, 3, 3, 3, 4, LAST, LAST, 4, 2])
    forbidden = np.array([0b0000, 0b0001, 0b0001, 0b0010, 0b0000, 0b1111, 0b0000, 0b0000, 0b0011], np.uint32)
    found = find_duplicates([(ids, Standing(ranks, forbidden))], 9, tmp_path)
    assert found.tolist() == [DOUBLED, 0, FORBIDDEN, DOUBLED, FORBIDDEN, DOUBLED, DOUBLED, 0, 0]


def test_ids_that_differ_in_their_last_bit_are_two(tmp_path):
    ids = pa.chunked_array([pa.array([2**53, 2**53 + 1, 2**63 - 1, -1, 2**53 + 1])])
    assert find_duplicates([(ids, None)], 5, tmp_path).tolist() == [0, 0, 0, 0, DOUBLED]


@pytest.mark.parametrize("highest", [True, False])
@pytest.mark.parametrize("number", [5, 300])
def test_the_ends_of_p_best(highest, number, parts):
    kept = Extremes(number, highest)
    for table in tables(parts):
        kept.add(table)
    order = "desc" if highest else "asc"
    expected = duckdb.sql(
        f"select objid, p_best, p_logitmean from read_parquet('{parts.folder}/*.parquet', "
        f"file_row_number=true, filename=true) where p_best is not null and not in_training_set "
        f"order by p_best {order}, p_logitmean {order}, filename, file_row_number limit {number}"
    ).fetchall()
    found = kept.frame(["objid", "ra", "dec", "p_best", "p_logitmean"])
    rows = zip(found["objid"], found["p_best"], found["p_logitmean"], strict=True)
    assert [tuple(row) for row in rows] == expected


def test_positions_are_written_as_in_the_paper():
    kept = Extremes(3, highest=True)
    columns = {
        "objid": ["a", "b", "=1+1"],
        "ra": [10.684708, None, 0.0],
        "dec": [-5.2689, None, 89.99999],
        "p_best": [0.9, 0.8, 0.7],
        "p_logitmean": [0.9, 0.8, 0.7],
        "in_training_set": [False] * 3,
    }
    kept.add(pa.table(columns))
    found = kept.frame(["objid", "ra", "dec", "p_best"])
    assert found["ra"].tolist() == ["00:42:44.33", "", "00:00:00.00"]
    assert found["dec"].tolist() == ["-05:16:08.0", "", "+90:00:00.0"]
    assert found["objid"].tolist() == ["a", "b", "'=1+1"]


@pytest.mark.parametrize(
    ("ra", "dec", "expected"),
    [
        (359.99999, -0.0014, ("00:00:00.00", "-00:00:05.0")),
        (15 * (1 + 59.996 / 3600), 10 + 59.96 / 3600, ("01:01:00.00", "+10:01:00.0")),
        (0.0, -(59.96 / 3600), ("00:00:00.00", "-00:01:00.0")),
    ],
)
def test_no_sign_is_lost_and_no_second_is_60(ra, dec, expected):
    """CASES: astropy 7141, 1660."""
    kept = Extremes(1, highest=True)
    columns = {"objid": [1], "ra": [ra], "dec": [dec], "p_best": [0.5], "p_logitmean": [0.5]}
    kept.add(pa.table(columns | {"in_training_set": [False]}))
    (row,) = kept.frame(["objid", "ra", "dec"]).itertuples(index=False)
    assert (row.ra, row.dec) == expected


def test_nothing_is_listed_of_nothing():
    columns = ["objid", "ra", "dec", "p_best"]
    assert list(Extremes(5, highest=True).frame(columns).columns) == columns
