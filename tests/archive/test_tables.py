"""Tables are complete, of the right columns, and asked for once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mergerexp.archive.client import Client
from mergerexp.archive.tables import Query, Tables
from mergerexp.errors import DataError
from tests.archive.server import SQL, Answer

QUERY = Query(
    {"objid": "CAST(z.objid AS varchar(20))", "z": "s.z", "ra": "p.ra", "petro": "p.petroRad_r"},
    ("objid",),
    "FROM zooSpec z JOIN SpecObj s ON s.specObjID=z.specobjid WHERE s.z>={low} AND s.z<{high}",
)
EDGES = (0.005, 0.01, 0.015, 0.02)


@pytest.fixture
def tables(archive, client, tmp_path):
    return Tables(client, f"{archive.address}{SQL}", tmp_path / "tables")


def read(tables):
    return pd.concat(
        [pd.read_parquet(path) for path in tables.chunks("zoo", QUERY, EDGES)], ignore_index=True
    )


def once(answer):
    return lambda *_: answer


@pytest.mark.parametrize("first_line", ["#Table1\n", ""])
def test_all_rows_come_with_ids_that_no_integer_holds(first_line, archive, tables):
    """Header lines differ between releases (astroquery #1924), and ids exceed int64 (astroquery #2839)."""
    archive.first_line = first_line
    found = read(tables)
    assert found["objid"].tolist() == archive.galaxies["objid"].tolist()
    assert found["petro"].isna().equals(archive.galaxies["petro"].isna())
    assert found["ra"].to_numpy() == pytest.approx(archive.galaxies["ra"].to_numpy())


def test_a_chunk_is_asked_for_once(archive, tables):
    read(tables)
    before = len(archive.times)
    assert len(read(tables)) == 60 and len(archive.times) == before == 6  # a count and the rows of each


@pytest.mark.parametrize(
    "fault",
    [
        Answer(b"<html><body>Error 500</body></html>", "text/html"),
        Answer(b"<html>too many requests</html>"),  # with the type of a table (astroquery #2684)
        Answer(b'{"error": "timeout"}', "application/json"),
        Answer(b"#Table1\nother,columns\n1,2\n"),
        Answer(b"#Table1\nobjid,z,ra,petro\n1,0.006"),
        Answer(b"error: query timed out"),
        Answer(b"#Table1\nobjid,z,ra,petro\n1,many,2,3\n"),
        Answer(b"#Table1\nobjid,z,ra,petro\n1,0.006,2,3\r4"),
    ],
)
def test_a_page_of_errors_is_no_table_and_is_never_kept(fault, archive, tables):
    archive.faults = [lambda path, given, usual: fault if "COUNT" not in given["cmd"] else None] * 2
    assert len(read(tables)) == 60
    assert tables.client.counts.retries == 2


def test_a_chunk_with_fewer_rows_than_are_counted_is_divided(archive, tables):
    """A service caps its answers; every row still comes."""
    archive.row_cap = 9
    found = read(tables)
    assert found["objid"].tolist() == archive.galaxies["objid"].tolist()
    assert len(list(tables.folder.glob("*.parquet"))) > 6


def test_a_divided_chunk_is_not_asked_for_again(archive, tables):
    archive.row_cap = 9
    read(tables)
    before = len(archive.times)
    assert len(read(tables)) == 60 and len(archive.times) == before


def test_rows_that_come_the_second_time_divide_nothing(archive, tables):
    short = Answer(b"#Table1\nobjid,z,ra,petro\n1,0.006,2,3\n")
    archive.faults = [lambda path, given, usual: short if "COUNT" not in given["cmd"] else None]
    assert len(read(tables)) == 60 and len(list(tables.folder.glob("*.parquet"))) == 3


def test_rows_that_never_come_are_named(archive, tables):
    archive.row_cap = 0
    with pytest.raises(DataError, match=r"1 rows of zoo at redshifts of .* are counted, and 0 come"):
        read(tables)


def test_a_query_that_is_refused_is_shown(archive, tables):
    archive.faults = [once(Answer(b"bad SQL", status=400))]
    with pytest.raises(DataError, match=r"refuses a query \(status 400\): SELECT COUNT"):
        read(tables)


def test_an_interrupted_table_goes_on(archive, tables, tmp_path):
    archive.faults = [
        lambda path, given, usual: Answer(b"", status=404) if "0.010000 AND" in given["cmd"] else None
    ]
    with pytest.raises(DataError):
        read(tables)
    before = len(archive.times)
    again = Tables(Client(tmp_path / "other", rate=500.0), tables.address, tables.folder)
    assert len(read(again)) == 60 and len(archive.times) == before + 4
    assert np.unique([given["cmd"] for given in archive.asked], return_counts=True)[1].max() == 2
