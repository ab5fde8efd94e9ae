"""The paper's sample comes from the archives whole, whatever they do, and nothing is asked for twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mergerexp.prepare
import mergerexp.sample
from mergerexp.archive.choice import find_candidates
from mergerexp.archive.sdss import GALAXIES
from mergerexp.config.compose import compose_cell
from mergerexp.config.sample_schema import SampleConfig
from mergerexp.config.schema import PrepareConfig
from mergerexp.data.store import Dataset
from mergerexp.populations.galaxies import Colours, needed_columns
from tests.archive.server import CUTOUT, DARG, SQL, Answer, Archive, jpeg, serving
from tests.conftest import REPOSITORY

MERGERS, OTHERS, WANTED = 12, 60, 30


def sky():
    """Galaxies of which the first are pairs of Darg's, and some lack photometry or have middling votes."""
    random = np.random.default_rng(4)
    n = 2 * MERGERS + OTHERS
    table = pd.DataFrame({name: random.normal(15, 1, n) for name in GALAXIES.columns})
    table["dr7objid"] = [str(587722981742084097 + number) for number in range(n)]
    table["objid"] = [str(1237648720693755918 + number) for number in range(n)]
    table["specobjid"] = [str(2**63 + number) for number in range(n)]
    table["ra"], table["dec"] = np.linspace(1, 300, n), np.linspace(-5, 5, n)
    table["z"] = random.uniform(0.005, 0.1, n).round(5)
    table["petroRad_r"] = random.uniform(5, 30, n)
    table["p_mg"] = np.where(np.arange(n) < 2 * MERGERS, 0.7, 0.05)
    table.loc[[n - 1, n - 2], ["petroRad_r", "ra", "dec"]] = np.nan  # a spectrum without photometry
    table.loc[n - 3, "p_mg"] = 0.3
    first, second = table.iloc[:MERGERS], table.iloc[MERGERS : 2 * MERGERS]
    darg = pd.DataFrame(
        {
            "object1": first["dr7objid"].to_numpy(), "object2": second["dr7objid"].to_numpy(),
            "ra1": first["ra"].to_numpy(), "dec1": first["dec"].to_numpy(),
            "ra2": second["ra"].to_numpy(), "dec2": second["dec"].to_numpy(), "specz1": first["z"].to_numpy(),
        }
    )  # fmt: skip
    # One has another id of the same place, 2^28 apart (pydl #37), and one is nowhere.
    darg.loc[0, "object1"] = str(int(darg.loc[0, "object1"]) + 2**28)
    darg.loc[len(darg)] = ["5877", "5878", 200.0, 60.0, 200.01, 60.0, 0.05]
    return table.sample(frac=1, random_state=1), darg


@pytest.fixture
def archive():
    galaxies, darg = sky()
    with serving(Archive(galaxies, darg=darg)) as served:
        yield served


def settings(archive, root, rate=2000.0):
    return [
        "data=sdss", f"data.root={root}", "data.download=true", "data.size=24", "data.archive.pixels=64",
        f"data.archive.tables={archive.address}{SQL}", f"data.archive.cutouts={archive.address}{CUTOUT}",
        f"data.archive.mergers={archive.address}{DARG}", f"data.archive.rate={min(rate, 100.0)}",
        f"data.archive.others={WANTED}", "data.archive.first_wait=0.01", "data.archive.step=0.02",
    ]  # fmt: skip


def test_the_sample_is_made_and_nothing_is_asked_for_twice(archive, run_verb, tmp_path):
    root = tmp_path / "archive"
    assert run_verb(mergerexp.prepare, *settings(archive, root)) == 0
    (folder,) = (tmp_path / "datasets").glob("sdss-*")
    dataset = Dataset.open(folder)
    assert dataset.class_names == ("noninteracting", "merger")
    assert dataset.catalogue["label"].value_counts().to_dict() == {0: WANTED, 1: MERGERS}
    about = json.loads((root / "archive.json").read_text())
    assert about["sample"] == {"noninteracting": WANTED, "merger": MERGERS}
    fates = about["rows of Darg et al."]
    assert fates == {"is a merger of the sample": MERGERS, "is not among the galaxies": 1}
    assert about["of these without photometry"] == 2
    assert about["archive"]["galaxies without a spectrum"] == 3
    requests = [json.dumps(given, sort_keys=True) for given in archive.asked]
    assert len(set(requests)) == len(requests)
    before = len(archive.asked)
    assert run_verb(mergerexp.prepare, *settings(archive, root)) == 0
    assert len(archive.asked) == before
    assert (
        run_verb(mergerexp.prepare, "data=sdss", f"data.root={root}", "data.size=24") == 0
    )  # without asking
    assert len(archive.asked) == before and len(list((tmp_path / "datasets").glob("sdss-*"))) == 1


def test_the_catalogue_has_all_galaxies_and_their_exact_ids(archive, run_verb, tmp_path):
    assert run_verb(mergerexp.prepare, *settings(archive, tmp_path / "a"), "data.archive.survey=true") == 0
    table = pd.read_parquet(tmp_path / "a/catalogue.parquet")
    assert len(table) == len(archive.galaxies) and table["objid"].dtype == np.int64
    assert set(table["objid"].astype(str)) == set(archive.galaxies["dr7objid"])
    assert table["specobjid"].max() > str(2**63 - 1)
    assert (table["file"].notna() == table["petroRad_r"].notna()).all()
    assert table["visual"].sum() == MERGERS
    quick = ["catalogue=sdss", f"catalogue.file={tmp_path}/a/catalogue.parquet", "regions=0", "draws=2"]
    columns = gather_columns(compose_cell("sample", quick, SampleConfig))
    assert set(columns) <= set(table.columns)


def gather_columns(cfg):
    """The columns that a sample of this catalogue asks for, with colours corrected for extinction."""
    return needed_columns(cfg.catalogue, Colours(extinction=True, redshift=True)).all


def test_a_galaxy_without_imaging_is_replaced_and_named(archive, run_verb, tmp_path):
    black = Answer(jpeg(np.zeros((64, 64, 3), np.uint8)), "image/jpeg")
    assert run_verb(mergerexp.prepare, *settings(archive, tmp_path / "a")) == 0
    first = pd.read_csv(tmp_path / "a/sample.csv")
    lost = first[first["label"] == "noninteracting"].iloc[0]

    def fault(path, given, usual):
        return black if path == CUTOUT and abs(float(given["ra"]) - lost["ra"]) < 1e-6 else None

    archive.faults = [fault]
    assert run_verb(mergerexp.prepare, *settings(archive, tmp_path / "b")) == 0
    second = pd.read_csv(tmp_path / "b/sample.csv")
    assert second["label"].value_counts().equals(first["label"].value_counts())
    assert set(first["objid"]) - set(second["objid"]) == {lost["objid"]}
    about = json.loads((tmp_path / "b/archive.json").read_text())
    assert about["without a cutout"] == {str(lost["objid"]): "no imaging"}


def test_members_of_a_pair_are_one_group_and_none_is_drawn(archive):
    galaxies, darg = sky()
    cfg = compose_cell("prepare", settings(archive, "nowhere"), PrepareConfig).data.archive
    found = find_candidates(galaxies, darg, cfg)
    pairs = found.galaxies[found.galaxies["in_pair"]]
    assert (pairs.groupby("group").size() == 2).all() and len(pairs) == 2 * MERGERS
    assert not set(found.order) & set(pairs.index)
    assert len(found.order) == OTHERS - 3  # without photometry, or with middling votes
    again = find_candidates(galaxies.sample(frac=1, random_state=9), darg, cfg)
    assert (
        again.galaxies.loc[again.order, "dr7objid"].tolist()
        == found.galaxies.loc[found.order, "dr7objid"].tolist()
    )


def test_killed_and_misled_at_every_step_it_ends_with_the_same_sample(archive, run_verb, tmp_path):
    assert run_verb(mergerexp.prepare, *settings(archive, tmp_path / "a")) == 0
    fault_free, archive.asked = len(archive.asked), []
    random = np.random.default_rng(0)

    def fault(path, given, usual):
        if random.random() > 0.1:
            return None
        kind = random.integers(4)
        return (
            Answer(b"", status=503),
            Answer(b"<html>busy</html>", "text/html"),
            Answer(usual.body[: len(usual.body) // 2], usual.kind, length=len(usual.body)),
            Answer(b"", status=429, headers={"Retry-After": "0.05"}),
        )[kind]

    archive.faults = [fault] * 30
    command = [sys.executable, "-m", "mergerexp.prepare", *settings(archive, tmp_path / "b")]
    environment = {**os.environ, "MERGEREXP_ROOT": str(tmp_path / "other")}
    for number in (6, 14, 30):  # in the tables, among the mergers, among the others
        job = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 600
        while len(archive.asked) < number and job.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        job.send_signal(signal.SIGKILL)
        job.wait()
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    one, other = ((tmp_path / name / "sample.csv").read_bytes() for name in "ab")
    assert one == other
    retried = 30 - len(archive.faults)
    assert (
        len(archive.asked) <= 1.05 * fault_free + retried + 3
    )  # a kill may lose the answer that was on its way


def test_a_table_of_mergers_that_is_cut_off_is_asked_for_again(archive, run_verb, tmp_path):
    whole = archive.darg.to_csv(index=False).encode()
    header = whole.splitlines(keepends=True)[0]
    for body in (header, whole[: len(whole) * 2 // 3], b"<html>moved</html>"):
        archive.faults.append(lambda path, given, usual, body=body: Answer(body) if path == DARG else None)
    assert run_verb(mergerexp.prepare, *settings(archive, tmp_path / "a")) == 0
    assert json.loads((tmp_path / "a/archive.json").read_text())["sample"]["merger"] == MERGERS


def test_a_folder_that_was_filled_from_elsewhere_is_refused(archive, run_verb, tmp_path, capsys):
    assert run_verb(mergerexp.prepare, *settings(archive, tmp_path / "a")) == 0
    other = f"data.archive.tables={archive.address}/other"
    assert run_verb(mergerexp.prepare, *settings(archive, tmp_path / "a"), other) == 2
    assert "choose another data.root" in capsys.readouterr().err


def test_rows_without_an_id_or_with_that_of_another_are_counted(archive, run_verb, tmp_path):
    twice = archive.galaxies.iloc[:1].assign(specobjid="1")
    nameless = archive.galaxies.iloc[1:2].assign(dr7objid=None)
    archive.galaxies = pd.concat([archive.galaxies, twice, nameless])
    assert run_verb(mergerexp.prepare, *settings(archive, tmp_path / "a")) == 0
    about = json.loads((tmp_path / "a/archive.json").read_text())["archive"]
    assert (about["rows without an id"], about["rows whose id another row has"]) == (1, 1)


def test_what_becomes_of_each_row_of_mergers_is_counted(archive, run_verb, tmp_path):
    darg = archive.darg
    darg["f_m"] = 0.6
    darg.loc[0, "f_m"] = 0.3
    darg.loc[1, "f_m"] = np.nan
    darg.loc[len(darg)] = {**darg.loc[2], "object2": "1"}  # object1 of two pairs
    nameless = archive.galaxies["dr7objid"] == darg.loc[3, "object1"]
    archive.galaxies.loc[nameless, "petroRad_r"] = np.nan
    black, lost = Answer(jpeg(np.zeros((64, 64, 3), np.uint8)), "image/jpeg"), darg.loc[4, "ra1"]
    archive.faults = [
        lambda path, given, usual: black if path == CUTOUT and abs(float(given["ra"]) - lost) < 1e-6 else None
    ]
    assert run_verb(mergerexp.prepare, *settings(archive, tmp_path / "a")) == 0
    fates = json.loads((tmp_path / "a/archive.json").read_text())["rows of Darg et al."]
    assert fates == {
        "is a merger of the sample": MERGERS - 4, "has too few votes": 2, "has no photometry": 1,
        "has no cutout": 1, "has the first object of an earlier row": 1, "is not among the galaxies": 1,
    }  # fmt: skip
    assert sum(fates.values()) == len(darg)
    sample = pd.read_csv(tmp_path / "a/sample.csv")
    assert (sample["label"] == "merger").sum() == fates["is a merger of the sample"]


def test_cutouts_of_other_settings_are_not_taken_for_those_of_now(archive, run_verb, tmp_path):
    root = tmp_path / "a"
    assert run_verb(mergerexp.prepare, *settings(archive, root), "data.archive.survey=true") == 0
    others = ["data.archive.pixels=80", "data.archive.pixel_scale=0.05"]
    given = [each for each in settings(archive, root) if "pixels" not in each]
    assert run_verb(mergerexp.prepare, *given, *others) == 0
    table, about = (
        pd.read_parquet(root / "catalogue.parquet"),
        json.loads((root / "archive.json").read_text()),
    )
    assert table["file"].notna().sum() == WANTED + MERGERS == about["cutouts"]["kept"]
    for file in table["file"].dropna():
        with Image.open(root / file) as image:
            assert image.size == (80, 80)


def test_one_galaxy_more_or_less_moves_no_other_in_the_draw(archive):
    galaxies, darg = sky()
    cfg = compose_cell("prepare", settings(archive, "nowhere"), PrepareConfig).data.archive
    whole = find_candidates(galaxies, darg, cfg)
    order = whole.galaxies.loc[whole.order, "dr7objid"].tolist()
    fewer = find_candidates(galaxies[galaxies["dr7objid"] != order[5]], darg, cfg)
    assert fewer.galaxies.loc[fewer.order, "dr7objid"].tolist() == order[:5] + order[6:]
    cfg.seed = 1
    other = find_candidates(galaxies, darg, cfg)
    assert other.galaxies.loc[other.order, "dr7objid"].tolist() != order


def test_the_folder_of_an_archive_is_no_sample_and_stays(archive, run_verb, tmp_path, capsys):
    root = tmp_path / "sdss"
    assert run_verb(mergerexp.prepare, *settings(archive, root)) == 0
    before = sorted(path.name for path in root.iterdir())
    mock = ["catalogue=mock", "catalogue.mock.area=300", "draws=2", "regions=0"]
    assert run_verb(mergerexp.sample, *mock, f"samples={tmp_path}", "name=sdss") == 2
    assert "holds no sample" in capsys.readouterr().err
    assert sorted(path.name for path in root.iterdir()) == before
