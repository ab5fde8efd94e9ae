"""Catalogues that are corrupt or mean something else: each is named, and no row is lost."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.table import Table as AstropyTable

import mergerexp.sample
from tests.populations.conftest import AREA, QUICK, RATED


@pytest.fixture(scope="module")
def few(survey):
    return survey.iloc[:400]


def changed(column, values):
    return lambda table: table.assign(**{column: values(table) if callable(values) else values})


REFUSED = [
    (lambda t: t.drop(columns="z"), "has no column 'z'; its columns are objid, "),
    (lambda t: t.drop(columns="p_prior"), "has no column 'p_prior'"),
    (lambda t: t.rename(columns={"ra": "RA"}), "has no column 'ra'"),
    (lambda t: t.iloc[:0], "it has no rows"),
    (lambda t: t.assign(ra=(t["ra"] - 110) * 2.3 / 15, dec=t["dec"] * 15), "catalogue.ra_unit=hours"),
    (changed("log_mass", lambda t: 10 ** t["log_mass"]), "is it log10 of a mass in solar masses?"),
    (changed("log_mass", np.nan), "in 400 of 400 rows 'log_mass' has no mass"),
    (changed("log_mass", -9999), "in 400 of 400 rows 'log_mass' has no mass"),
    (changed("z", lambda t: -t["z"]), "no redshift: 400"),
    (
        changed("z", lambda t: t["z"] * 299_792),
        "no row can be used for a sample with redshifts of 0.02 to 0.06: redshift outside of the sample: 400",
    ),
    (changed("magnitude_r", lambda t: t["magnitude_r"] + 10), "fainter than the sample: 400"),
    (changed("magnitude_r", np.nan), "of magnitude_r one is missing"),
    (changed("magnitude_r", np.inf), "of magnitude_r one is missing"),
    (changed("dec", lambda t: t["dec"] + 200), "'ra' or 'dec' is missing"),
    (changed("objid", lambda t: t["objid"] + 0.5), "neither an integer of 64 bits nor a text"),
    (
        changed("objid", lambda t: t["objid"].astype(object).where(t.index != 7)),
        "row 8: column 'objid' has no id",
    ),
    (changed("objid", lambda t: ["", *t["objid"].astype(str)[1:]]), "row 1: column 'objid' has no id"),
    (changed("z", lambda t: [*t["z"].astype(str)[:-1], "abc"]), "row 400: column 'z' has 'abc'"),
    (
        changed("p_best", lambda t: t["p_best"] * 100),
        "p_best=",
    ),
    (changed("p_prior", lambda t: -t["p_prior"]), "p_prior="),
    (changed("weight", -1.0), "weight=-1 of object 5877"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_what_can_not_be_a_sample_is_refused_in_one_line(change, message, few, make, capsys):
    weighted = ["catalogue.columns.weight=weight"] if message.startswith("weight") else []
    make(change(few), *weighted, code=2)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error and error.startswith("error: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "can't be read"),
        (b"PAR1 and nothing else", "can't be read"),
        (b"\x00" * 1000, "can't be read"),
    ],
)
@pytest.mark.parametrize("suffix", ["parquet", "fits", "vot"])
def test_a_file_that_is_none_is_named(content, message, suffix, run_verb, tmp_path, capsys):
    path = tmp_path / f"broken.{suffix}"
    path.write_bytes(content)
    assert run_verb(mergerexp.sample, f"catalogue.file={path}", *QUICK) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert str(path) in error and message in error


def csv(tmp_path, text):
    path = tmp_path / "some.csv"
    path.write_text(text)
    return path


def test_a_cell_of_a_csv_file_that_is_no_number_is_named_by_its_row(few, run_verb, tmp_path, capsys):
    lines = few.to_csv(index=False).splitlines()
    cells = lines[5].split(",")
    cells[1] = "0.03x"
    path = csv(tmp_path, "\n".join([*lines[:5], ",".join(cells), *lines[6:]]))
    assert run_verb(mergerexp.sample, f"catalogue.file={path}", *QUICK) == 2
    assert f"{path}, row 5: column 'z' has '0.03x', which is no number" in capsys.readouterr().err


def test_a_csv_file_that_is_cut_off_is_named(few, run_verb, tmp_path, capsys):
    path = csv(tmp_path, few.to_csv(index=False)[:-40])
    assert run_verb(mergerexp.sample, f"catalogue.file={path}", *QUICK) == 2
    assert str(path) in capsys.readouterr().err


def test_a_column_that_is_there_twice_is_named(few, run_verb, tmp_path, capsys):
    header, *rows = few.to_csv(index=False).splitlines()
    path = csv(tmp_path, "\n".join([header.replace("is_merger", "z"), *rows]))
    assert run_verb(mergerexp.sample, f"catalogue.file={path}", *QUICK) == 2
    assert "has several columns 'z'" in capsys.readouterr().err


def test_a_missing_file_is_named(run_verb, tmp_path, capsys):
    assert run_verb(mergerexp.sample, f"catalogue.file={tmp_path}/no.csv", *QUICK) == 2
    assert "no.csv: no such file" in capsys.readouterr().err


def test_another_table_is_no_ratings(few, make, tmp_path, capsys):
    few.drop(columns="p_best").to_parquet(tmp_path / "other.parquet")
    make(few, f"ratings={tmp_path}/other.parquet", code=2)
    assert "has no column 'p_best'" in capsys.readouterr().err
    make(few, f"ratings={tmp_path}/none.parquet", code=2)
    assert "ratings=" in capsys.readouterr().err


def test_a_damaged_summary_beside_the_ratings_is_named(few, make, tmp_path, capsys):
    few.to_parquet(tmp_path / "merger_probabilities.parquet")
    (tmp_path / "summary.json").write_text("{}")
    make(few, f"ratings={tmp_path}/merger_probabilities.parquet", code=2)
    assert "summary.json is not what predict writes" in capsys.readouterr().err


def test_ids_beyond_a_float_stay_exact(few, make, tmp_path):
    """2⁵³ + 1 and 2⁶³ - 1 are read and written as they are (pandas #32134 and fink-client #235)."""
    large = few.assign(p_best=0.5, in_training_set=False)
    large.loc[[0, 1], "objid"] = [2**53 + 1, 2**63 - 1]
    large.loc[[0, 1], "p_best"] = [0.999, 0.998]
    make(large, "listed=2")
    listed = pd.read_csv(tmp_path / "samples/sample/tables/table2_extremes.csv", dtype=str)
    assert listed["id"][:2].tolist() == ["9007199254740993", "9223372036854775807"]


def test_columns_of_fits_files_are_big_endian(few, make, run_verb, tmp_path):
    """FITS columns are big-endian (astropy #1156): they become native."""
    expected = make(few)["fates"]
    path = tmp_path / "big.fits"
    AstropyTable.from_pandas(few).write(path)
    assert fits.getdata(path)["z"].dtype.byteorder == ">"
    settings = [f"catalogue.file={path}", f"catalogue.area={AREA}", "catalogue.calibrated_at=0.231"]
    assert run_verb(mergerexp.sample, *settings, *QUICK, *RATED) == 0
    content = pd.read_json(tmp_path / "samples/sample/sample.json", typ="series")
    assert content["fates"] == expected


def test_masked_integers_are_no_numbers(few, make, run_verb, tmp_path):
    """Nulls of integer columns have a value in VOTable (astropy #16090), which is no redshift."""
    table = AstropyTable.from_pandas(few.assign(z=few["z"].astype(object).where(few.index > 2).astype(float)))
    table.write(tmp_path / "masked.vot", format="votable")
    settings = [f"catalogue.file={tmp_path}/masked.vot", f"catalogue.area={AREA}", *QUICK, *RATED]
    assert run_verb(mergerexp.sample, *settings) == 0
    content = pd.read_json(tmp_path / "samples/sample/sample.json", typ="series")
    assert content["fates"]["no redshift"] == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("catalogue.redshift=[0.06,0.02]", "catalogue.redshift"),
        ("catalogue.redshift=[0.02]", "a lower and an upper limit are needed"),
        ("catalogue.log_mass=[13,7]", "catalogue.log_mass"),
        ("catalogue.cuts=null", "catalogue.cuts"),
        ("mass_bins=[10,9]", "mass_bins"),
        ("extinction=true", "catalogue.extinction names no column of the extinction of magnitude_u"),
        ("catalogue.cuts_are_corrected=true", "catalogue.extinction"),
        ("cut=1.5", "cut"),
        ("count=pairs", "choose one of objects, systems"),
        ("catalogue.area=-1", "catalogue.area"),
        ("catalogue.colums.id=x", "colums"),
        ("catalogue.file=null", "choose catalogue=mock"),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything_is_read(override, message, run_verb, capsys):
    assert (
        run_verb(mergerexp.sample, "catalogue.file=none.csv", "catalogue.cuts={magnitude_r:17.77}", override)
        == 2
    )
    assert message in capsys.readouterr().err
