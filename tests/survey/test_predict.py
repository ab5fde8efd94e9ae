"""The predict verb: every object gets a rating or a reason, from any input, and the same bytes each time."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from astropy.table import Table
from PIL import Image

from mergerexp.config.compose import compose_cell
from mergerexp.config.survey_schema import PredictConfig
from mergerexp.errors import UserError
from mergerexp.files import read_json
from mergerexp.survey import survey as survey_module
from mergerexp.survey.model_folder import REFERENCES, ModelFolder
from mergerexp.survey.networks import FoldNetwork
from mergerexp.survey.rating import Rater
from mergerexp.survey.survey import Survey
from tests.survey.conftest import recorded

NAME = "merger_probabilities"


def catalogue(tmp_path: Path, name: str = "field") -> pd.DataFrame:
    return pd.read_parquet(tmp_path / "surveys" / name / f"{NAME}.parquet").set_index("objid")


def unpacked(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()


def test_every_object_gets_a_rating_or_a_reason(predict, field, model_folder, tmp_path, capsys):
    """CASES: lsdb 1340, astronomaly 55, astroNN 11 (rows vanish), marvin 362 (black images), Pillow 6342."""
    assert predict(field) == 0
    assert "40 rated, 1 unreadable" in capsys.readouterr().err.replace("2 no imaging, ", "")
    rows = catalogue(tmp_path)
    assert len(rows) == 43
    assert rows.loc[[2000, 2001, 2002], "status"].tolist() == ["unreadable", "no imaging", "no imaging"]
    assert rows.loc[[2000, 2001, 2002], "p_best"].isna().all()
    assert rows.loc[2000, "reason"].startswith("not an image")
    rated = rows[rows["status"] == "rated"]
    assert (rated["n_models"] == 2).all() and not rated["in_training_set"].any()
    assert rated["p_best"].to_numpy() == pytest.approx(rated[["p_m0", "p_m1"]].mean(axis=1).to_numpy())
    assert ((rated["p_prior"] >= 0) & (rated["p_prior"] <= 1)).all()
    summary = read_json(tmp_path / "surveys" / "field" / "summary.json")
    assert sum(summary["status"].values()) == summary["objects"] == 43
    above = rated[rated["p_best"] > 0.9]
    (by_all, by_fewer) = (row for row in summary["cuts"] if row["p_best_above"] == 0.9)
    assert (by_all["objects"], by_fewer["objects"]) == (len(above), 0)
    assert by_all["expected_purity"] == (pytest.approx(above["p_prior"].mean()) if len(above) else None)
    model = ModelFolder.open(model_folder)
    picture = Image.open(field / "1004.png").resize((32, 32), Image.Resampling.BICUBIC, reducing_gap=3.0)
    stamp = np.array(picture)
    logits = FoldNetwork.load(model.fold_path(1), model.scaling).logits(stamp[None])
    expected = 1 / (1 + np.exp(float(logits[0, 0] - logits[0, 1])))
    assert rows.loc[1004, "p_m1"] == pytest.approx(expected, abs=1e-6)


def test_the_columns_say_what_they_are(predict, field, tmp_path):
    assert predict(field, "prevalence=0.02") == 0
    schema = pq.read_schema(tmp_path / "surveys" / "field" / f"{NAME}.parquet")
    for column in schema:
        assert column.metadata[b"description"].endswith(b".") and len(column.metadata[b"description"]) > 15
    assert b"fraction 0.02 of the objects" in schema.field("p_prior").metadata[b"description"]
    assert schema.field("ra").metadata[b"unit"] == b"deg" and schema.field("objid").type == pa.int64()
    for suffix, first in (("", "p_best"), ("_CALIBRATED", "p_calibrated")):
        text = unpacked(tmp_path / "surveys" / "field" / f"{NAME}{suffix}.csv.gz")
        table = pd.read_csv(io.StringIO(text), dtype={"objid": "int64"})
        assert list(table.columns[:4]) == ["objid", "ra", "dec", first] and len(table) == 43
        assert set(table.columns) == set(schema.names)


def test_the_same_bytes_from_a_restart_and_another_number_of_threads(predict, field, tmp_path, monkeypatch):
    """CASES: timm 2244, pytorch 116501 (batches), pandas 28103 (gzip), hats-import 634 (kill)."""
    assert predict(field, "name=whole") == 0
    monkeypatch.setattr(survey_module, "usable_cores", lambda: 1)
    real = Survey._tables
    calls = []

    def interrupted(self, rater, maker, ranges):
        calls.append(ranges)
        if len(calls) == 2:
            raise KeyboardInterrupt
        yield from real(self, rater, maker, ranges)

    monkeypatch.setattr(Survey, "_tables", interrupted)
    assert predict(field, "name=parts") == 130
    monkeypatch.setattr(Survey, "_tables", real)
    (tmp_path / "surveys" / "parts" / "parts" / "part-000001.parquet").write_bytes(b"PAR1 cut off")
    assert predict(field, "name=parts") == 0
    one, other = (tmp_path / "surveys" / name for name in ("whole", "parts"))
    for file in sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file()):
        assert (one / file).read_bytes() == (other / file).read_bytes(), file


def test_an_object_of_the_training_set_is_rated_by_the_network_that_tested_it(
    predict, galaxies, trained_study, tmp_path
):
    """Found by its file alone, since the ids are of another system."""
    assert predict(galaxies) == 0
    rows = catalogue(tmp_path, galaxies.name)
    known = recorded(trained_study)
    tested = known[known["split"] == "test"]
    assert rows["in_training_set"].all() and set(rows["matched_by"]) == {"file stamp"}
    assert (rows["n_models"] <= 1).all()
    assert (rows["n_models"] == 1).sum() == len(tested)
    assert (rows.loc[rows["n_models"] == 0, "status"] == "seen by all networks").all()
    assert sorted(rows["p_best"].dropna()) == pytest.approx(sorted(tested["p_m"]), abs=1e-6)


def test_a_second_row_with_one_id_is_not_rated(predict, field, tmp_path):
    rows = "".join(f"{own_id},{own_id}.png\n" for own_id in (1000, 1001, 1000))
    (field / "objects.csv").write_text(f"objid,file\n{rows}")
    assert predict(field / "objects.csv") == 0
    found = pd.read_parquet(tmp_path / "surveys" / "objects" / f"{NAME}.parquet")
    assert found["status"].tolist() == ["rated", "rated", "duplicate id"]
    assert found.loc[2, ["p_best", "p_m0", "p_prior"]].isna().all() and found.loc[2, "n_models"] == 0
    (field / "again.csv").write_text("objid,file\n1000,gone.png\n1000,1000.png\n1000,1001.png\n")
    assert predict(field / "again.csv") == 0
    found = pd.read_parquet(tmp_path / "surveys" / "again" / f"{NAME}.parquet")
    assert found["status"].tolist() == ["duplicate id", "rated", "duplicate id"]  # an image is not lost


def test_a_crop_shows_the_networks_the_middle_of_the_images(predict, field, datasets, tmp_path, capsys):
    """Images with as much sky again around them are rated as those without, if half of each is shown."""
    wide = tmp_path / "wide"
    wide.mkdir()
    for file in field.glob("1*.png"):
        with Image.open(file) as picture:
            larger = Image.new("RGB", (2 * picture.width, 2 * picture.height), (20, 20, 20))
            larger.paste(picture, (picture.width // 2, picture.height // 2))
        larger.save(wide / file.name)
    assert predict(field) == predict(wide, "crop=0.5") == predict(wide, "name=whole") == 0
    usual, cropped, whole = (catalogue(tmp_path, name) for name in ("field", "wide", "whole"))
    usual = usual.loc[cropped.index]
    # Not to the bit, since resampling looks at a pixel or two beyond the middle.
    apart = [(each["p_best"] - usual["p_best"]).abs().max() for each in (cropped, whole)]
    assert apart[0] < 0.05 * apart[1]
    capsys.readouterr()
    assert predict(field, "dry_run=true") == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("half of the light")]
    size = float(line.split("within ")[1].split()[0])
    assert predict(wide, "dry_run=true", "name=dry") == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("half of the light")]
    assert float(line.split("within ")[1].split()[0]) == pytest.approx(size / 2, rel=0.2)
    assert predict(next(datasets.glob("folder-*")), "crop=0.5") == 2
    assert "crop=0.5: the stamps of a prepared data set are rated as they are" in capsys.readouterr().err


def test_chunks_and_parts_by_default(model_folder, field, tmp_path):
    where = [
        f"model_folder={model_folder}",
        f"images={field}",
        f"surveys={tmp_path}",
        "device=cpu",
        "any_size=true",
    ]
    survey = Survey(compose_cell("predict", where, PredictConfig))
    assert (survey.chunk, survey.settings["part"]) == (32, 8192)
    few = Survey(compose_cell("predict", [*where, "part=70"], PredictConfig))
    assert few.parts.ranges(0) == [(0, 32), (32, 43)] and few.settings["part"] == 64  # whole chunks


def test_no_second_image_lets_a_network_rate_what_it_has_seen(predict, galaxies, tmp_path):
    """The second one, of which a pixel differs, is known by neither its file nor its stamp."""
    (tmp_path / "twice").mkdir()
    files = sorted(galaxies.rglob("*.png"))[:6]
    rows = []
    for number, file in enumerate(files):
        with Image.open(file) as picture:
            changed = picture.convert("RGB")
        changed.putpixel((0, 0), (255, 0, number))
        changed.save(tmp_path / "twice" / f"{number}.png")
        rows += [f"{number},{tmp_path / 'twice' / f'{number}.png'}", f"{number},{file}"]
    (tmp_path / "twice.csv").write_text("\n".join(["objid,file", *rows]) + "\n")
    assert predict(tmp_path / "twice.csv") == 0
    found = pd.read_parquet(tmp_path / "surveys" / "twice" / f"{NAME}.parquet")
    assert (found["status"][0::2] == "duplicate id").all() and found["p_best"][0::2].isna().all()
    assert found["in_training_set"][1::2].all() and (found["n_models"][1::2] <= 1).all()


def test_the_fraction_of_few_objects_is_not_estimated(predict, field, tmp_path, caplog):
    """That of one object would be 0 or 1."""
    (field / "objects.csv").write_text("objid,file\n1000,1000.png\n1001,1001.png\n")
    assert predict(field / "objects.csv") == 0
    assert "too few to estimate the fraction of double" in caplog.text
    summary = read_json(tmp_path / "surveys" / "objects" / "summary.json")
    assert summary["estimate"] is None and summary["prevalence"] == summary["calibrated_at"]
    found = pd.read_parquet(tmp_path / "surveys" / "objects" / f"{NAME}.parquet")
    assert found["p_prior"].to_numpy() == pytest.approx(found["p_calibrated"].to_numpy(), abs=1e-12)


def test_row_groups_do_not_depend_on_the_parts(predict, field, tmp_path):
    assert predict(field) == 0
    path = tmp_path / "surveys" / field.name / f"{NAME}.parquet"
    assert len(list((path.parent / "parts").iterdir())) == 3
    assert pq.ParquetFile(path).num_row_groups == 1


def damaged_scaling(folder: Path) -> None:
    change_about(folder, lambda about: about["input"]["scaling"].update(scale=1.0))


def damaged_crop(folder: Path) -> None:
    change_about(folder, lambda about: about["input"].update(crop=0.7))


def swapped_calibrators(folder: Path) -> None:
    one, other = (folder / f"fold{fold}" / "calibrators.json" for fold in (0, 1))
    text = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(text)
    change_about(folder, lambda about: about)


def swapped_networks(folder: Path) -> None:
    one, other = (folder / f"fold{fold}" / "head.safetensors" for fold in (0, 1))
    text = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(text)
    change_about(folder, lambda about: about)


def change_about(folder: Path, change) -> None:
    """Change model.json and list all files anew, as somebody who edits a folder by hand would."""
    from mergerexp.files import write_json
    from mergerexp.seals import FILES, digests

    about = read_json(folder / "model.json")
    change(about)
    write_json(folder / "model.json", {**about, FILES: digests(folder, about[FILES])})


@pytest.mark.parametrize("damage", [damaged_scaling, damaged_crop, swapped_calibrators, swapped_networks])
def test_a_model_that_does_not_rate_as_the_study_did_is_refused_before_the_first_image(
    damage, predict, field, model_folder, tmp_path, capsys
):
    """CASES: Zoobot PR 2 (inputs normalised otherwise than at training)."""
    shutil.copytree(model_folder, tmp_path / "changed")
    damage(tmp_path / "changed")
    assert predict(field, f"model_folder={tmp_path / 'changed'}") == 2
    assert "does not rate as the study did" in capsys.readouterr().err
    assert not list((tmp_path / "surveys").rglob("*.parquet"))


def test_a_fold_without_reference_objects_is_named(model_folder, monkeypatch):
    rater = Rater(ModelFolder.open(model_folder), 32, torch.device("cpu"))
    rows = rater.model.read_table(REFERENCES)
    monkeypatch.setattr(ModelFolder, "read_table", lambda self, name: rows[rows["fold"] != 1])
    with pytest.raises(UserError, match=r"references\.parquet: it has no reference object of fold 1$"):
        rater.prove()
    broken = rows.assign(
        image=[b"" if fold == 1 else image for fold, image in zip(rows["fold"], rows["image"], strict=True)]
    )
    monkeypatch.setattr(ModelFolder, "read_table", lambda self, name: broken)
    with pytest.raises(
        UserError, match=r"references\.parquet: fold 1: reference object 0 of the model folder"
    ):
        rater.prove()


def test_another_size_is_named_unless_it_is_allowed(predict, field, tmp_path):
    assert predict(field, "any_size=false", "name=strict") == 0
    rows = catalogue(tmp_path, "strict")
    assert rows.loc[2002, "status"] == "wrong size" and rows.loc[1000, "status"] == "rated"
    assert rows.loc[2002, "reason"] == "50×50 px, and those of the training set have 40×40 px"


def test_a_survey_that_looks_otherwise_is_named_before_it_is_rated(predict, field, tmp_path, capsys):
    dark = tmp_path / "dark"
    dark.mkdir()
    for path in sorted(field.glob("1*.png")):
        picture = np.asarray(Image.open(path)) // 8
        Image.fromarray(picture).save(dark / path.name)
    assert predict(dark, "dry_run=true") == 0
    said = capsys.readouterr().err
    assert "the survey drifts from the training set. brightness: the survey's median is" in said
    assert "objects/s on this machine" in said and not (tmp_path / "surveys").exists()


def test_other_work_in_the_folder_is_not_mixed(predict, field, tmp_path, capsys):
    assert predict(field) == 0
    assert predict(field, "chunk=4") == 2
    assert "ratings with another chunk: choose another name=" in capsys.readouterr().err


@pytest.mark.parametrize("fault", ["missing", "doubled", "cut off", "flipped", "stranger"])
def test_a_part_that_is_not_as_it_was_stops_the_merge(fault, predict, field, model_folder, tmp_path, capsys):
    assert predict(field) == 0
    parts = sorted((tmp_path / "surveys" / "field" / "parts").glob("*.parquet"))
    if fault == "missing":
        parts[1].unlink()
    elif fault == "doubled":
        shutil.copy(parts[0], parts[1])
    elif fault == "cut off":
        parts[1].write_bytes(parts[1].read_bytes()[:-30])
    elif fault == "flipped":
        data = bytearray(parts[1].read_bytes())
        data[200] ^= 4
        parts[1].write_bytes(data)
    else:
        shutil.copy(parts[0], parts[0].with_name("part-000099.parquet"))
    from mergerexp.config.compose import compose_cell
    from mergerexp.config.survey_schema import PredictConfig
    from mergerexp.errors import UserError

    where = [f"model_folder={model_folder}", f"images={field}", f"surveys={tmp_path / 'surveys'}"]
    cfg = compose_cell(
        "predict", [*where, "chunk=8", "part=16", "any_size=true", "device=cpu"], PredictConfig
    )
    with pytest.raises(UserError, match=parts[1].name if fault != "stranger" else "part-000099"):
        Survey(cfg).merge()


def test_a_text_that_a_spreadsheet_would_run_is_quoted(predict, field, tmp_path):
    (field / "objects.csv").write_text("objid,file\n=1+1,1000.png\n")
    assert predict(field / "objects.csv") == 0
    assert '"\'=1+1",' in unpacked(tmp_path / "surveys" / "objects" / f"{NAME}.csv.gz")


OWN_IDS = [2**53 + 1, 2**63 - 1, 5]
KINDS = pytest.mark.parametrize(("kind", "suffix"), [("fits", ".fits"), ("votable", ".vot")])


def rated_as(kind: str, predict, field, tmp_path) -> tuple[Path, pd.DataFrame]:
    """Rate three objects, two with large ids; return their folder, and the rows of the Parquet file."""
    rows = "".join(
        f"{own_id},{number}.png\n" for own_id, number in zip(OWN_IDS, (1000, 1001, 2000), strict=True)
    )
    (field / "objects.csv").write_text(f"objid,file\n{rows}")
    assert predict(field / "objects.csv", f"formats=[{kind}]") == 0
    folder = tmp_path / "surveys" / "objects"
    return folder, pd.read_parquet(folder / f"{NAME}.parquet")


@KINDS
def test_tables_of_astronomers_say_the_same(kind, suffix, predict, field, tmp_path):
    """CASES: astropy 1156, 16090; ids of 64 bits."""
    folder, expected = rated_as(kind, predict, field, tmp_path)
    found = Table.read(folder / f"{NAME}{suffix}", format=kind)
    expected = pd.read_parquet(folder / f"{NAME}.parquet")
    assert found.colnames == list(expected.columns)
    assert [int(own_id) for own_id in found["objid"]] == OWN_IDS == expected["objid"].tolist()
    p_best = np.ma.filled(np.ma.asarray(found["p_best"]).astype(float), np.nan)
    np.testing.assert_array_equal(p_best, expected["p_best"].to_numpy())
    assert [str(text) for text in found["status"]] == expected["status"].tolist()
    assert str(found["ra"].unit) == "deg" and "half are of each class" in " ".join(
        found["p_best"].description.split()
    )


@pytest.mark.usefixtures("stilts")
@KINDS
def test_stilts_reads_the_same(kind, suffix, predict, field, tmp_path):
    """It is what TOPCAT reads tables with, in Java."""
    folder, expected = rated_as(kind, predict, field, tmp_path)
    line = ["stilts", "tpipe", f"in={folder / NAME}{suffix}", f"ifmt={kind}", "ofmt=csv"]
    read = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    again = pd.read_csv(io.StringIO(read), dtype={"objid": "int64"})
    assert list(again.columns) == list(expected.columns)
    assert again["objid"].tolist() == OWN_IDS and again["status"].tolist() == expected["status"].tolist()
    for name in (name for name in again if name.startswith("p_")):
        np.testing.assert_array_equal(again[name].to_numpy(), expected[name].to_numpy())
