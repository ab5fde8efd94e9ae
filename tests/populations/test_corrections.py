"""What is corrected, counted and compared stays right where columns are incomplete and mergers are known."""

from __future__ import annotations

import io
import json
import zlib

import numpy as np
import pytest
from PIL import Image

from mergerexp.analysis.mock_sample import MockSurvey
from mergerexp.config.compose import compose_cell
from mergerexp.config.sample_schema import SampleConfig
from mergerexp.populations.folder import KIND
from mergerexp.populations.kinds import Members, counted_as
from mergerexp.report.result_folder import reserved


def expected(survey, content, name="classified"):
    """The number of true mergers above a mass limit."""
    limit = content["mass_limits"][name]
    low = np.interp(survey["z"], limit["redshift"], limit["log_mass"])
    return (survey["is_merger"] & (survey["log_mass"] > low)).sum()


def test_the_correction_holds_although_most_mergers_were_trained_on(make):
    """All of the paper's visual mergers are training objects."""
    sums, truth = [], []
    for seed in range(3):
        survey = MockSurvey(seen=0.95, trained=0.95).draw((0.02, 0.06), 3000.0, np.random.default_rng(seed))
        content = make(survey, "draws=2")
        sums.append(content["mass_functions"]["corrected"]["galaxies"])
        truth.append(expected(survey, content))
    assert np.mean(sums) == pytest.approx(np.mean(truth), rel=0.1)


def test_the_recall_is_that_of_the_rating_that_selects(make):
    """Training objects have the rating of one network; a mean of four is not cut alike."""
    random = np.random.default_rng(0)
    survey = MockSurvey(seen=0.9, trained=0.9).draw((0.02, 0.06), 6000.0, random)
    logit = np.log(survey["p_best"] / (1 - survey["p_best"]))
    # Each of the four networks has noise of its own, of which the mean has half.
    single = 1 / (1 + np.exp(-(logit + random.normal(0, 3, len(survey)))))
    noisy = survey.assign(p_one=single)
    noisy.loc[noisy["in_training_set"], "p_best"] = noisy["p_one"]
    with_one, without = make(noisy, "catalogue.columns.p_one=p_one"), make(noisy)
    ratio = without["mass_functions"]["corrected"]["galaxies"] / expected(noisy, with_one)
    assert with_one["mass_functions"]["corrected"]["galaxies"] == pytest.approx(
        expected(noisy, with_one), rel=0.12
    )
    assert abs(ratio - 1) > 0.05  # one cut for both


def test_a_purity_is_a_mean_over_those_that_have_one(survey, make):
    half = survey.assign(p_prior=survey["p_prior"].where(np.arange(len(survey)) % 2 == 0))
    for one, other in zip(make(survey)["cuts"], make(half)["cuts"], strict=True):
        assert one["n"] == other["n"] and other["expected_purity"] == pytest.approx(
            one["expected_purity"], abs=0.1
        )


def test_selected_mergers_without_a_calibrated_p_are_told(survey, make):
    half = survey.assign(p_calibrated=survey["p_calibrated"].where(np.arange(len(survey)) % 2 == 0))
    assert any("without p_calibrated can't count" in note for note in make(half)["notes"])


def test_a_column_of_32_bits_has_missing_values_too(survey, make):
    holes = survey["magnitude_r"].where(np.arange(len(survey)) % 50 > 0, -99.9).astype(np.float32)
    found = make(survey.assign(magnitude_r=holes), "catalogue.missing=[-99.9]")
    assert found["fates"]["no magnitude"] == len(range(0, len(survey), 50))


def test_mergers_in_one_region_alone_have_no_jackknife_but_a_mass_function(survey, make):
    corner = survey["ra"] < survey["ra"].quantile(0.24)
    found = make(survey.assign(visual=(survey["is_merger"] & corner).astype(int)), "regions=4")
    assert found["mass_functions"]["all"]["jackknife"] is not None
    assert found["mass_functions"]["visual"]["jackknife"] is None
    assert any("no jackknife of visual mergers" in note for note in found["notes"])


def test_unknown_sizes_and_magnitudes_of_the_recall_are_those_of_a_typical_merger(survey, make, monkeypatch):
    monkeypatch.setattr("mergerexp.populations.gather.BUCKET_BYTES", 100_000)
    random = np.random.default_rng(1)
    sized = survey.assign(
        size=np.where(random.random(len(survey)) < 0.1, np.nan, 5.0), other=survey["magnitude_r"]
    )
    sized.loc[sized["p_best"].idxmax(), "other"] = np.nan
    settings = ["catalogue.columns.size=size", "catalogue.columns.magnitude=other"]
    found = make(sized, *settings)["mass_functions"]["corrected"]
    assert found["galaxies"] == pytest.approx(
        make(survey)["mass_functions"]["corrected"]["galaxies"], rel=0.1
    )


def test_masses_of_those_who_looked_that_make_no_sense_are_not_taken(survey, make):
    odd = survey.assign(theirs=10 ** survey["log_mass"])
    found = make(odd, "catalogue.columns.visual_log_mass=theirs")
    assert found["mass_functions"]["visual"] == make(survey)["mass_functions"]["visual"]


def test_truth_values_say_who_is_a_merger(survey, make):
    assert make(survey.assign(visual=survey["visual"] == 1))["sizes"]["visual"] == survey["visual"].sum()


def test_surveys_that_are_unusual_are_no_mistakes(survey, make):
    """A brighter part of a catalogue, one with few spectra, and a field that looks like hours."""
    assert make(survey, "catalogue.cuts={magnitude_r: 16.2}")["fates"]["fainter than the sample"] > 5000
    few = survey.assign(z=survey["z"].where(np.arange(len(survey)) % 3 == 0))
    assert make(few)["fates"]["no redshift"] > 0.6 * len(survey)
    near = survey.assign(ra=survey["ra"] % 24, dec=survey["dec"] * 15)
    make(near, code=2)
    assert make(near, "catalogue.ra_unit=degrees")["fates"]["used"] == len(survey)


def test_ratings_of_another_survey_are_refused(survey, make, tmp_path, capsys):
    strangers = survey.assign(objid=survey["objid"] + 10**9)
    strangers.to_parquet(tmp_path / "merger_probabilities.parquet", index=False)
    (tmp_path / "summary.json").write_text(json.dumps({"prevalence": 0.02, "calibrated_at": 0.231}))
    make(survey, f"ratings={tmp_path}/merger_probabilities.parquet", code=2)
    assert "none of its ids is one of" in capsys.readouterr().err


def test_a_kill_between_two_renames_blocks_nothing(survey, make, tmp_path):
    make(survey)
    (tmp_path / "samples/.sample.old").mkdir()
    (tmp_path / "samples/.sample.old/sample.json").write_text("{}")
    (tmp_path / f"samples/.sample.scratch.{'0' * 16}.partial").mkdir()  # the scratch of a killed process
    make(survey)
    assert {path.name for path in (tmp_path / "samples").iterdir()} == {"sample", ".sample.lock"}


def test_two_processes_do_not_make_one_sample(survey, make, tmp_path, capsys):
    with reserved(tmp_path / "samples/sample", KIND):
        make(survey, code=2)
    assert "another process is making this sample" in capsys.readouterr().err
    make(survey)


@pytest.mark.parametrize("override", ["cuts=[0.95,0.95]", "regions=1"])
def test_what_would_count_twice_is_refused(override, survey, make, capsys):
    make(survey, override, code=2)
    assert override.partition("=")[0] in capsys.readouterr().err


def test_rows_of_no_networks_are_told_as_such(survey, make):
    cuts = make(survey, "catalogue.columns.n_models=null")["cuts"]
    assert {row["networks"] for row in cuts} == {"not told"}


def members(mass, redshift=0.04, apart=0.001):
    """Mergers that lie beside each other, and are one system."""
    place = 180.0 + apart * np.arange(len(mass))
    same = np.full(len(mass), redshift)
    return Members(np.arange(len(mass), dtype=np.uint64), place, np.zeros(len(mass)), same, np.array(mass),
                   np.ones(len(mass)))  # fmt: skip


@pytest.mark.parametrize(
    ("count", "mass", "counts"),
    [("systems", "each", [1.0, 0.0]), ("objects", "primary", [1.0, 0.0]), ("systems", "primary", [1.0, 0.0])],
)
def test_a_member_below_the_mass_limit_is_no_part_that_counts(count, mass, counts):
    pair = members([10.8, 9.5])
    cfg = compose_cell("sample", ["catalogue=mock"], SampleConfig)
    _, weights = counted_as(pair, count, mass, cfg, pair.log_mass >= 10.0)
    assert weights.tolist() == counts
    _, both = counted_as(pair, "systems", "each", cfg, pair.log_mass >= 9.0)
    assert both.tolist() == [0.5, 0.5]


def test_a_system_counts_where_only_its_lighter_member_is_above_the_limit():
    """The limit rises with redshift, and the heavier member is farther away."""
    pair = members([10.0, 9.99])
    cfg = compose_cell("sample", ["catalogue=mock"], SampleConfig)
    masses, weights = counted_as(pair, "systems", "primary", cfg, np.array([False, True]))
    assert weights.tolist() == [0.0, 1.0] and masses[1] == 9.99
    masses, weights = counted_as(pair, "objects", "primary", cfg, np.array([False, True]))
    assert weights.tolist() == [0.0, 1.0] and masses[1] == 9.99


def test_published_functions_stand_only_beside_what_is_counted_as_they_are(survey, make, tmp_path):
    """The paper's cut is 0.95, and each object counts."""

    def shown(*overrides):
        made = make(survey, *overrides)
        assert "classified" in made["mass_functions"]
        table = (tmp_path / "samples/sample/tables/sample_mass_functions.md").read_text()
        return "classified mergers, Ackermann et al. 2018" in table

    assert shown()
    assert not shown("cut=0.9")
    assert not shown("count=systems", "mass=primary")


@pytest.mark.parametrize("kind", ["png", "bomb"])
def test_a_picture_that_can_not_be_shown_loses_nothing_else(kind, survey, make, tmp_path):
    body = io.BytesIO()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(body, "PNG")
    content = bytearray(body.getvalue())
    if kind == "bomb":
        content[16:24] = (200_000).to_bytes(4, "big") * 2  # its header says so
        content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    else:
        content[37:41] = b"\0\0\0\0"
    (tmp_path / "broken.png").write_bytes(bytes(content))
    assert make(survey.assign(file="broken.png"), "page.file=file")["sizes"]["classified"]
