"""What users of other tables, other columns and several calls meet: one error, or a number that says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import mergerexp.populations.measure
import mergerexp.sample
from mergerexp.errors import DataError
from mergerexp.populations.checks import plain_ids
from tests.populations.conftest import NO_P

RATINGS = ["objid", "p_best", "p_prior", "p_calibrated", "n_models", "in_training_set"]


@pytest.fixture
def rated(survey, tmp_path):
    """Write some ratings of the survey, and return what names them."""

    def write(table):
        table.to_parquet(tmp_path / "merger_probabilities.parquet", index=False)
        return [f"ratings={tmp_path}/merger_probabilities.parquet"]

    return write


@pytest.fixture
def said(capsys):
    return lambda: capsys.readouterr().err


def test_few_ratings_of_a_large_catalogue_are_used(survey, make, rated, monkeypatch):
    """A catalogue is divided among files, some of which have no rating."""
    monkeypatch.setattr("mergerexp.populations.gather.BUCKET_BYTES", 20_000)
    few = survey[RATINGS].iloc[[3, 99, 5000]]
    content = make(survey, *rated(few))
    assert content["used_without"]["p"] == content["fates"]["used"] - 3
    assert content["ratings_without_a_row"] == 0


def test_ratings_without_rows_are_named(survey, make, rated, tmp_path, said):
    make(survey, *rated(survey[RATINGS].iloc[:0]), code=2)
    assert "merger_probabilities.parquet: it has no rows" in said()
    survey[["objid", "p_best"]].iloc[:0].to_csv(tmp_path / "theirs.csv", index=False)
    make(survey, f"published.file={tmp_path}/theirs.csv", "published.p=p_best", code=2)
    assert "theirs.csv: it has no rows" in said()


def test_ids_that_are_repeated_in_ratings_are_counted(survey, make, rated):
    twice = pd.concat([survey[RATINGS], survey[RATINGS].iloc[:30].assign(p_best=0.5)])
    content = make(survey, *rated(twice))
    assert content["repeated_ids"] == {"rating": 30}
    whole = make(survey)
    assert content["cuts"] == whole["cuts"]  # the first one counts


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["published.file={file}", "published.p=p_best", *NO_P], "the catalogue has no p to compare with"),
        (
            ["published.file={file}", "published.p=p_best", "published.beside=p_calibrated",
             "catalogue.columns.p_calibrated=null"],
            "the catalogue has no p_calibrated to compare with",
        ),
        (["catalogue.max_mass_ratio=3"], "columns.mass_ratio is needed"),
        (["ratings={file}", "catalogue.columns.p=p_best"], "both give p"),
        (["catalogue.extinction={{magnitude_z: e}}"], "magnitude_z is no column of magnitudes that is used"),
        (["catalogue.extinction={{magnitude_r: e}}", "extinction=true"], "the extinction of magnitude_u"),
        (["page.viewer=abc"], "page.viewer=abc: an http(s) address"),
        (["page.viewer='https://x.org/?a={{ra}}&b={{foo}}'"], "an http(s) address with {ra} and {dec}"),
        (["page.model_folder=/nowhere"], "page.model_folder=/nowhere: no such folder"),
        (["page.images=/nowhere"], "page.images=/nowhere: no such folder"),
    ],
)  # fmt: skip
def test_what_would_be_ignored_or_fail_late_is_refused(overrides, message, survey, make, tmp_path, said):
    file = tmp_path / "theirs.parquet"
    survey[["objid", "p_best"]].to_parquet(file, index=False)
    make(survey.assign(e=0.1), *(each.format(file=file) for each in overrides), code=2)
    assert message in said()


def test_a_sweep_does_not_write_one_folder_twice(survey, make, run_verb, tmp_path, said):
    survey.to_parquet(tmp_path / "c.parquet", index=False)
    usual = [
        f"catalogue.file={tmp_path}/c.parquet",
        "catalogue.cuts={magnitude_r: 17.77}",
        "draws=2",
        "regions=0",
    ]
    assert run_verb(mergerexp.sample, "-m", *usual, "bin_width=0.2,0.25") == 2
    assert "2 calls of this sweep would write" in said()
    assert not (tmp_path / "samples").exists()


@pytest.mark.parametrize("low", [0.0, 7.2])
def test_right_ascensions_in_hours_are_refused(low, survey, make, said):
    """SDSS reaches from 7 to 17.5 hours."""
    place = np.arange(len(survey)) / len(survey)
    hours = survey.assign(ra=low + 10.3 * place, dec=60 * (7 * place % 1))
    make(hours, code=2)
    assert "say catalogue.ra_unit=hours" in said()


@pytest.mark.parametrize("ids", ["float", "text"])
def test_ids_that_have_lost_digits_are_refused(ids, survey, make, run_verb, tmp_path, said):
    lost = survey["objid"].astype(float)
    survey.assign(objid=lost if ids == "float" else lost.map("{:.1f}".format)).to_csv(
        tmp_path / "c.csv", index=False
    )
    usual = [
        f"catalogue.file={tmp_path}/c.csv",
        "catalogue.cuts={magnitude_r: 17.77}",
        "draws=2",
        "regions=0",
    ]
    assert run_verb(mergerexp.sample, *usual) == 2
    assert "column 'objid' has an id that has lost digits" in said()


def test_short_ids_with_a_decimal_point_are_the_same_ids(survey, make, run_verb, tmp_path):
    small = survey.assign(objid=np.arange(1, len(survey) + 1).astype(float))
    small[["objid", "p_best"]].assign(objid=lambda t: t["objid"].astype(int)).to_parquet(
        tmp_path / "r.parquet"
    )
    small.to_csv(tmp_path / "c.csv", index=False)
    usual = [
        f"catalogue.file={tmp_path}/c.csv",
        "catalogue.cuts={magnitude_r: 17.77}",
        "draws=2",
        "regions=0",
    ]
    assert run_verb(mergerexp.sample, *usual, f"ratings={tmp_path}/r.parquet") == 0


def test_ids_that_only_look_like_numbers_are_ids():
    ids = pa.array(["1234e5678", "587E12", "12e3", "1234567890123456.0", "-5.0", "J1234+56.0"])
    plain = ["1234e5678", "587E12", "12e3", "1234567890123456", "-5", "J1234+56.0"]
    assert plain_ids(ids, Path("c.csv"), "id", 0).to_pylist() == plain
    for lost in ("5.87722981742e+17", "-5e+17", "587722981742084096.0"):
        with pytest.raises(DataError, match=r"c.csv, row 8: column 'id' has an id that has lost digits"):
            plain_ids(pa.array(["1", lost]), Path("c.csv"), "id", 6)


def test_table_2_says_whether_training_objects_are_left_out(survey, make, tmp_path):
    table = tmp_path / "samples/sample/tables/table2_extremes.md"
    make(survey)
    assert "are left out" in table.read_text()
    make(survey, "catalogue.columns.in_training_set=null")
    assert "the catalogue does not tell" in table.read_text()


def test_mergers_are_compared_with_galaxies_that_are_none(survey, make):
    found = make(survey, *NO_P)["colours"]
    assert {(row["sample"], row["other"]) for row in found} == {("visual", "others")}
    rows = survey[(survey["log_mass"] > 10) & (survey["log_mass"] <= 11)]
    (row,) = (row for row in found if row["low"] == 10)
    assert (row["n"], row["n_other"]) == (rows["visual"].sum(), (rows["visual"] == 0).sum())
    assert row["n_common"] == 0 and row["p_value"] == row["p_apart"]
    both = make(survey)["colours"]
    pairs = [("classified", "visual"), ("classified", "others"), ("visual", "others")]
    assert [(row["sample"], row["other"]) for row in both[:: len(both) // 3]] == pairs


def test_numbers_above_what_is_believed_are_missing(survey, make):
    limit = float(survey["magnitude_u"].quantile(0.9))
    content = make(survey, f"catalogue.bad_above={{magnitude_u: {limit}}}")
    assert content["used_without"]["colour"] == (survey["magnitude_u"] > limit).sum()


def test_few_draws_give_no_p_value_for_a_double_function(survey, make):
    content = make(survey, "draws=3")
    assert all(each["double"] is None for each in content["mass_functions"].values())
    assert any("no double Schechter function" in note for note in content["notes"])


def test_without_an_area_nothing_is_relative_to_what_is_not_there(survey, make, monkeypatch):
    def measure(name, *given):
        if name == "all":
            raise ValueError("no fit")
        return measured(name, *given)

    measured = mergerexp.populations.measure.measure_mass_function
    monkeypatch.setattr("mergerexp.populations.measure.measure_mass_function", measure)
    found = make(survey, "catalogue.area=null")
    assert not found["mass_functions"]
    assert "relative to that of all galaxies" in " ".join(found["notes"])
    assert "classified" in make(survey)["mass_functions"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "catalogue.cuts={z: 1}",
            "catalogue.cuts: a file's entries are changed one by one: +catalogue.cuts.NAME",
        ),
        ("catalogue.columns.id=null", "catalogue.columns.id: it needs a value, and can't be null"),
        ("extinction=maybe", "extinction: 'maybe' is neither true nor false"),
        ("draws=many", "draws: 'many' is no whole number"),
    ],
)
def test_values_of_the_wrong_kind_are_refused_in_plain_words(override, message, run_verb, said):
    assert run_verb(mergerexp.sample, "catalogue=schawinski2010", "catalogue.file=x.fits", override) == 2
    assert message in said()
