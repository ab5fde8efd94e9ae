"""A sample shows the mergers of a survey as they are, from catalogues of any format and order."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table as AstropyTable

import mergerexp.sample
from tests.populations.conftest import AREA, COLUMNS, QUICK, RATED

NUMBERS = ("rows", "fates", "sizes", "cuts", "mass_limits", "mass_functions", "colours", "recall")


def values(content):
    """The numbers of a sample by the path to each."""
    found = {}

    def collect(node, path):
        if isinstance(node, dict | list):
            for key, each in node.items() if isinstance(node, dict) else enumerate(node):
                collect(each, f"{path}/{key}")
        else:
            found[path] = node

    collect({key: content[key] for key in NUMBERS}, "")
    return found


def numbers(content):
    """The same up to their last digits, which formats and orders change."""
    return {
        path: pytest.approx(value, rel=1e-5, abs=1e-7) if isinstance(value, int | float) else value
        for path, value in values(content).items()
    }


def test_the_mass_functions_of_a_mock_survey_are_the_truth(survey, make):
    content = make(survey)
    found = content["mass_functions"]
    assert abs(found["all"]["log_mass"] - 10.79) < 0.08
    limit = content["mass_limits"]["classified"]
    low = np.interp(survey["z"], limit["redshift"], limit["log_mass"])
    truth = survey[survey["is_merger"] & (survey["log_mass"] > low)]
    for name in ("corrected", "weighted"):
        assert found[name]["galaxies"] == pytest.approx(len(truth), rel=0.2)
        assert abs(found[name]["log_mass"] - 10.81) < 0.25
    assert found["classified"]["galaxies"] < found["corrected"]["galaxies"]
    assert found["p_above_0_99"]["log_phi"][0] < found["p_above_0_9"]["log_phi"][0]


def test_every_row_is_used_or_named(survey, make):
    odd = survey.copy()
    odd.loc[[3, 4], "z"] = [-0.01, np.nan]
    odd.loc[[5, 6, 7], "log_mass"] = [np.nan, -9999, 14.5]
    odd.loc[8, "magnitude_r"] = -9999
    odd.loc[9, "dec"] = np.nan
    odd.loc[10, "z"] = 0.3
    odd.loc[11, "magnitude_r"] = 17.9
    odd.loc[12, "objid"] = odd.loc[13, "objid"]
    found = make(odd)
    fates = found["fates"]
    assert sum(fates.values()) == found["rows"] == len(odd)
    assert {fate: count for fate, count in fates.items() if fate != "used"} == {
        "no redshift": 2, "no mass": 2, "mass outside of what is believed": 1, "no magnitude": 1,
        "no position": 1, "redshift outside of the sample": 1, "fainter than the sample": 1,
        "duplicate id": 1,
    }  # fmt: skip
    assert set(found["named"]["no redshift"]) == set(odd["objid"].iloc[[3, 4]].astype(str))
    assert found["named"]["duplicate id"] == [str(odd.loc[13, "objid"])]


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "fits", "vot"])
def test_all_formats_say_the_same(kind, survey, make, run_verb, tmp_path):
    expected = numbers(make(survey))
    path = tmp_path / f"other.{kind}"
    if kind.startswith("csv"):
        survey.to_csv(path, index=False)
    else:
        AstropyTable.from_pandas(survey).write(path, format="fits" if kind == "fits" else "votable")
    settings = [f"catalogue.file={path}", f"catalogue.area={AREA}"]
    settings += ["catalogue.calibrated_at=0.231"]
    assert run_verb(mergerexp.sample, *settings, *QUICK, *RATED, "name=other") == 0
    content = json.loads((tmp_path / "samples/other/sample.json").read_text())
    assert values(content) == expected


def test_a_structure_of_arrays_is_a_table(survey, make, run_verb, tmp_path):
    """IDL writes a table of one row whose cells are lists, as that of Schawinski et al. 2010 is."""
    expected = numbers(make(survey))
    AstropyTable({name: [survey[name].to_numpy()] for name in survey.columns}).write(tmp_path / "idl.fits")
    settings = [
        f"catalogue.file={tmp_path}/idl.fits",
        f"catalogue.area={AREA}",
        "catalogue.calibrated_at=0.231",
    ]
    assert run_verb(mergerexp.sample, *settings, *QUICK, *RATED, "name=other") == 0
    assert values(json.loads((tmp_path / "samples/other/sample.json").read_text())) == expected


def test_the_order_of_rows_makes_no_difference(survey, make):
    expected = numbers(make(survey))
    assert values(make(survey.sample(frac=1, random_state=3))) == expected


def test_ratings_are_found_by_their_ids(survey, make, run_verb, tmp_path, monkeypatch):
    """The catalogue of predict lies beside that of the survey, in another order and with other rows, too."""
    expected = make(survey)
    monkeypatch.setattr("mergerexp.populations.gather.BUCKET_BYTES", 100_000)  # several files
    ratings = survey[["objid", *COLUMNS.values()]].drop(columns="visual").sample(frac=1, random_state=1)
    stranger = ratings.iloc[:2].assign(objid=[1, 2])
    unrated = ratings.iloc[:1].assign(p_best=np.nan, p_prior=np.nan, p_calibrated=np.nan, n_models=0)
    folder = tmp_path / "survey"
    folder.mkdir()
    pd.concat([unrated, ratings, stranger]).to_parquet(folder / "merger_probabilities.parquet", index=False)
    (folder / "summary.json").write_text(json.dumps({"prevalence": 0.02, "calibrated_at": 0.231}))
    own = survey[[name for name in survey if name not in ratings.columns or name == "objid"]]
    own.to_parquet(tmp_path / "own.parquet", index=False)
    settings = [f"catalogue.file={tmp_path}/own.parquet", f"catalogue.area={AREA}", RATED[0]]
    settings += [f"ratings={folder}/merger_probabilities.parquet", "name=other"]
    assert run_verb(mergerexp.sample, *settings, *QUICK) == 0
    found = json.loads((tmp_path / "samples/other/sample.json").read_text())
    assert found["ratings_without_a_row"] == 2 and found["prevalence"] == 0.02
    assert [each["n"] for each in found["cuts"]] == [each["n"] for each in expected["cuts"]]
    for name, function in expected["mass_functions"].items():
        assert found["mass_functions"][name]["galaxies"] == pytest.approx(function["galaxies"], rel=1e-9)


def density(content, name):
    """The density of a kind of galaxies at 10^10.7 solar masses."""
    bins = content["mass_functions"][name]["bins"]
    return next(each["vmax"] for each in bins if abs(each["log_mass"] - 10.7) < 0.01)


def test_an_unknown_area_gives_shapes_relative_to_all_galaxies(survey, make):
    absolute, relative = make(survey), make(survey, "catalogue.area=null")
    assert relative["densities"] == "relative to all galaxies, dex^-1"
    for name in ("classified", "visual"):
        one, other = absolute["mass_functions"][name], relative["mass_functions"][name]
        assert other["log_mass"] == pytest.approx(one["log_mass"], abs=1e-4)
        # Ratios of populations do not need an area.
        ratios = [density(each, name) / density(each, "all") for each in (absolute, relative)]
        assert ratios[1] == pytest.approx(ratios[0])
    widths = [each["vmax"] for each in relative["mass_functions"]["all"]["bins"]]
    assert 0.7 < 0.2 * sum(widths) < 1.3


def test_half_the_area_and_half_the_completeness_are_the_same(survey, make):
    half = make(survey, f"catalogue.area={AREA / 2}")["mass_functions"]["all"]
    incomplete = make(survey, "catalogue.completeness=0.5")["mass_functions"]["all"]
    assert half["log_phi"] == incomplete["log_phi"]


def test_pairs_are_two_objects_and_one_system(survey, make):
    found = make(survey)["mass_functions"]
    assert found["objects"]["galaxies"] > found["systems"]["galaxies"]
    assert found["objects"]["log_phi"][0] > found["systems"]["log_phi"][0]
    assert found["objects"]["galaxies"] == found["classified"]["galaxies"]
    each = make(survey, "count=systems", "mass=each")["mass_functions"]["classified"]
    assert each["galaxies"] == pytest.approx(found["systems"]["galaxies"], rel=0.05)
    primary = make(survey, "count=systems", "mass=primary")["mass_functions"]["classified"]
    assert primary["log_phi"] == pytest.approx(found["systems"]["log_phi"], abs=1e-6)
    assert primary["log_phi"][0] < found["classified"]["log_phi"][0]


def test_without_mergers_above_the_cut_the_rest_is_shown(survey, make):
    few = survey.assign(p_best=survey["p_best"].clip(upper=0.4), visual=0)
    found = make(few)
    assert "classified" not in found["mass_functions"] and "all" in found["mass_functions"]
    assert any("classified mergers, p > 0.95: there are no galaxies" in note for note in found["notes"])


def test_the_lists_leave_training_objects_out_and_write_positions_as_the_paper(survey, make, tmp_path):
    """Signs of −00° stay, 59.96 carries over, and 359.99999° is 0 hours (astropy #7141 and #1660)."""
    sure = survey.copy()
    sure["p_best"] = sure["p_best"].clip(1e-6, 1 - 1e-6)
    sure.loc[[0, 1, 2], "p_best"] = [1.0, 0.9999999, 0.99999985]
    sure.loc[[0, 1, 2], "in_training_set"] = [True, False, False]
    sure.loc[[1, 2], "ra"] = [359.99999999, 15 * 59.96 / 3600 * 100]
    sure.loc[[1, 2], "dec"] = [-0.0014, 59.96 / 3600]
    make(sure, "listed=3")
    listed = pd.read_csv(tmp_path / "samples/sample/tables/table2_extremes.csv", dtype=str)
    assert listed["id"][:2].tolist() == [str(sure.loc[row, "objid"]) for row in (1, 2)] and len(listed) == 6
    assert listed["RA"][0] == "00:00:00.00"
    assert listed["Dec"][:2].str.lstrip("'").tolist() == ["-00:00:05.0", "+00:01:00.0"]


def test_colours_and_masses_are_those_of_the_catalogue(survey, make):
    tests = make(survey)["colours"]
    rows = survey[(survey["log_mass"] > 10) & (survey["log_mass"] <= 11)]
    assert (tests[1]["n"], tests[1]["n_other"]) == ((rows["p_best"] > 0.95).sum(), rows["visual"].sum())
    assert tests[1]["n_common"] == ((rows["p_best"] > 0.95) & (rows["visual"] == 1)).sum()


def test_extinction_corrects_colours_only_if_asked(survey, make):
    dusty = survey.assign(e_u=survey["objid"] % 2 * 0.5, e_r=0.0)
    columns = "catalogue.extinction={magnitude_u:e_u,magnitude_r:e_r}"
    plain, same = make(dusty), make(dusty, columns)
    corrected = make(dusty, columns, "extinction=true")
    assert plain["colours"] == same["colours"] != corrected["colours"]
    assert plain["mass_functions"]["all"] == corrected["mass_functions"]["all"]


def test_k_corrections_make_colours_bluer_only_if_asked(survey, make):
    plain, corrected = make(survey), make(survey, "k_correct=true")
    assert plain["colours"] != corrected["colours"]
    assert plain["mass_functions"]["all"] == corrected["mass_functions"]["all"]


def test_a_limit_in_corrected_magnitudes_uses_corrected_ones(survey, make):
    dusty = survey.assign(magnitude_r=survey["magnitude_r"] + 0.1, e_r=0.1)
    settings = ["catalogue.extinction={magnitude_r:e_r}", "catalogue.cuts_are_corrected=true"]
    assert make(dusty, *settings)["fates"] == make(survey)["fates"]
    assert make(dusty)["fates"]["fainter than the sample"] > 100


def test_masses_of_those_who_looked_and_their_ratio_are_used(survey, make):
    theirs = survey.assign(darg_mass=survey["log_mass"] + 0.3, ratio=1.0 + survey["objid"] % 5)
    settings = ["catalogue.columns.visual_log_mass=darg_mass", "catalogue.columns.mass_ratio=ratio"]
    shifted = make(theirs, *settings)
    close = make(theirs, *settings, "catalogue.max_mass_ratio=3")
    own = make(survey)
    assert (
        shifted["mass_functions"]["visual"]["log_mass"] > own["mass_functions"]["visual"]["log_mass"] + 0.15
    )
    assert close["sizes"]["visual"] == ((survey["visual"] == 1) & (1 + survey["objid"] % 5 <= 3)).sum()


def test_a_finished_sample_is_replaced_and_another_folder_is_not(survey, make, tmp_path, capsys):
    make(survey)
    make(survey)
    assert [path.name for path in (tmp_path / "samples").glob(".*")] == [".sample.lock"]
    (tmp_path / "samples/mine").mkdir()
    (tmp_path / "samples/mine/notes.txt").write_text("mine")
    make(survey, "name=mine", code=2)
    assert "holds no sample" in capsys.readouterr().err


def test_the_page_shows_published_numbers_and_what_is_missing(survey, make, tmp_path):
    make(survey.drop(columns="visual"), "catalogue.columns.visual=null")
    page = (tmp_path / "samples/sample/sample.html").read_text()
    assert "Weigel et al. 2016" in page and "Ackermann et al. 2018" in page and "redder galaxies" in page
    assert "no visual merger of the training set" in page


def test_a_mock_catalogue_is_made_on_the_spot_and_shows_its_truth(run_verb, tmp_path):
    assert run_verb(mergerexp.sample, "catalogue=mock", "catalogue.mock.area=800", *QUICK) == 0
    page = (tmp_path / "samples/mock/sample.html").read_text()
    assert "truth, mergers without companions" in page and "Weigel et al. 2017" not in page
