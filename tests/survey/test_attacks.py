"""The out-of-fold rule end to end: a survey that holds objects of the training set under many guises."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mergerexp.train
from mergerexp.config.compose import compose_cell
from mergerexp.config.survey_schema import ExportConfig
from mergerexp.models.ancestors import SEEN
from mergerexp.survey.catalogue import NAME
from mergerexp.survey.model_folder import ModelFolder
from tests.conftest import TINY

WIDTH = 30.0  # arcseconds of a stamp
CORNER = WIDTH / np.sqrt(2)


@pytest.fixture(scope="session")
def placed_study(tmp_path_factory, galaxies) -> Path:
    """Two of four folds of images with ids, positions and groups, at half of the training set."""
    root = tmp_path_factory.mktemp("placed")
    files = sorted(path.relative_to(galaxies).as_posix() for path in galaxies.rglob("*.png"))
    rows = [
        f"{file},{int(file.startswith('double'))},{7000 + n},{n},{10 + n % 7},pair{n // 2}"
        for n, file in enumerate(files)
    ]
    (root / "objects.csv").write_text("\n".join(["file,label,objid,ra,dec,group", *rows]) + "\n")
    data = ("data=folder", f"data.root={galaxies}", f"data.csv={root / 'objects.csv'}", "data.name=placed")
    where = (f"paths.root={root}",)
    sweep = ("-m", "hydra/launcher=basic", "fold=0,1", "subset=0.5", "trainer.max_epochs=1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", *sweep, *data, *where, *TINY, "trainer.max_epochs=1"])
        with pytest.raises(SystemExit) as stopped:
            mergerexp.train.main()
    assert not stopped.value.code
    from mergerexp.survey.exporter import Exporter

    chosen = ["allow_partial=true", "register=false", "references=4", f"stamp_arcsec={WIDTH:g}"]
    given = [*where, f"models={root / 'models'}", "id_system=dr7", *chosen]
    return Exporter(compose_cell("export", given, ExportConfig)).export().path


@pytest.fixture(scope="session")
def seen(placed_study) -> pd.DataFrame:
    return ModelFolder.open(placed_study).read_table(SEEN).reset_index(drop=True)


@pytest.fixture
def rate(placed_study, run_verb, tmp_path):
    """Rate one stranger's image, or another's, that is said to be something; return its row."""
    rng = np.random.default_rng(8)
    stranger = tmp_path / "stranger.png"
    Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(stranger)

    def run(id_system: str = "dr7", file: Path | None = None, stamp_arcsec: float = WIDTH, **row: object):
        cells = {"objid": "1", "file": str(file or stranger), **{k: str(v) for k, v in row.items()}}
        pd.DataFrame([cells]).to_csv(tmp_path / "survey.csv", index=False)
        given = [f"model_folder={placed_study}", f"images={tmp_path / 'survey.csv'}", "prevalence=0.1"]
        given += [f"surveys={tmp_path / 'surveys'}", f"id_system={id_system}", f"stamp_arcsec={stamp_arcsec}"]
        name = f"name={len(list(tmp_path.glob('surveys/*')))}"
        assert run_verb(mergerexp.predict, *given, name, "chunk=2", "device=cpu", "any_size=true") == 0
        folder = tmp_path / "surveys" / name.removeprefix("name=")
        return pd.read_parquet(folder / f"{NAME}.parquet").iloc[0]

    return run


def one(seen: pd.DataFrame, what: str) -> pd.Series:
    """Return an object that network 0 was trained on or stopped by, or that it tested."""
    return seen[seen["seen_by_0"] & ~seen["seen_by_1"] if what == "seen" else seen["test_fold"] == 0].iloc[0]


def rated_by(row: pd.Series) -> list[int]:
    return [fold for fold in (0, 1) if not np.isnan(row[f"p_m{fold}"])]


def expected(seen: pd.DataFrame, own: pd.Series) -> list[int]:
    return [fold for fold in (0, 1) if not own[f"seen_by_{fold}"]]


def original(seen_object: pd.Series, galaxies: Path) -> Path:
    number = int(seen_object["id"]) - 7000
    return sorted(galaxies.rglob("*.png"))[number]


@pytest.mark.parametrize("what", ["seen", "tested"])
@pytest.mark.parametrize(
    "guise", ["id", "position", "copied file", "encoded again", "neighbour inside", "neighbour outside"]
)
def test_an_object_under_another_guise(guise, what, rate, seen, galaxies, tmp_path):
    own = one(seen, what)
    here = {"ra": own["ra"], "dec": own["dec"]}
    away = {"ra": own["ra"], "dec": own["dec"] + 0.97 * CORNER / 3600}
    if guise == "id":
        row = rate(objid=own["id"])
    elif guise == "position":
        row = rate(objid=5, **here)
    elif guise == "copied file":
        (tmp_path / "copy.png").write_bytes(original(own, galaxies).read_bytes())
        row = rate("elsewhere", file=tmp_path / "copy.png")
    elif guise == "encoded again":
        again = io.BytesIO()
        Image.open(original(own, galaxies)).save(again, "PNG", compress_level=1, pnginfo=None)
        assert again.getvalue() != original(own, galaxies).read_bytes()
        (tmp_path / "again.png").write_bytes(again.getvalue())
        row = rate("elsewhere", file=tmp_path / "again.png")
    elif guise == "neighbour inside":  # the training stamp shows it
        row = rate("elsewhere", stamp_arcsec=1.0, **away)
    else:  # its stamp shows the training object
        row = rate("elsewhere", stamp_arcsec=90.0, ra=own["ra"], dec=own["dec"] + 60 / 3600)
    assert rated_by(row) == expected(seen, own) != [0, 1]
    assert bool(row["in_training_set"]) == (not guise.startswith("neighbour"))


def test_what_is_no_object_of_the_training_set_is_rated_by_all(rate, seen):
    own = one(seen, "seen")
    assert rated_by(rate()) == [0, 1]
    assert rated_by(rate("dr8", objid=own["id"])) == [0, 1]  # another system of ids
    assert rated_by(rate(ra=own["ra"], dec=own["dec"] + 2 * CORNER / 3600)) == [0, 1]


def test_the_other_half_of_a_subset_was_not_seen(rate, seen, galaxies):
    """With subset=0.5, half of the training objects trained no network: all networks may rate them."""
    listed = set(seen["id"].astype(int))
    all_of_them = set(range(7000, 7000 + len(list(galaxies.rglob("*.png")))))
    left_out = sorted(all_of_them - listed)
    assert left_out  # those that neither network used
    row = rate(objid=left_out[0])
    assert rated_by(row) == [0, 1] and not row["in_training_set"]


def test_a_calibrator_rates_no_object_that_it_was_fitted_on(rate, seen, placed_study, galaxies):
    from mergerexp.survey.calibration import read_calibrators
    from mergerexp.survey.model_folder import CALIBRATORS

    calibrators = read_calibrators(ModelFolder.open(placed_study).fold_path(0) / CALIBRATORS)["platt"]
    apart = []
    for _, own in seen[seen["test_fold"] == 0].iloc[::4].iterrows():
        row = rate(objid=own["id"], file=original(own, galaxies))
        without = calibrators.of_part(int(own["part"]))
        assert without is not None
        p_m = np.array([row["p_m0"]])
        assert row["p_calibrated"] == pytest.approx(float(without.apply(p_m)[0]), abs=1e-9)
        apart.append(abs(row["p_calibrated"] - float(calibrators.whole.apply(p_m)[0])))
    assert max(apart) > 1e-6
