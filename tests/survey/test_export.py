"""The export verb on a tiny study that was really trained: what the folder holds, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
import timm
import yaml

import mergerexp.export
from mergerexp.config.schema import TrackingConfig
from mergerexp.errors import UserError
from mergerexp.files import read_json, write_json
from mergerexp.survey.model_folder import ModelFolder
from mergerexp.survey.networks import FoldNetwork
from mergerexp.survey.references import decode_references
from mergerexp.tracking.mlflow_reader import MlflowReader
from tests.survey.conftest import recorded


@pytest.fixture
def export(run_verb, trained_study, datasets, tmp_path):
    """Run the verb on the study; the models go below tmp_path."""

    def run(*overrides: str) -> int:
        where = (f"paths.root={trained_study}", f"paths.datasets={datasets}", f"models={tmp_path / 'models'}")
        return run_verb(mergerexp.export, *where, *overrides)

    return run


def only_model(tmp_path: Path) -> ModelFolder:
    (path,) = (tmp_path / "models").iterdir()
    return ModelFolder.open(path)


def test_the_folder_rates_its_references_as_the_study_did(export, trained_study, tmp_path):
    assert export("allow_partial=true", "register=false", "references=5") == 0
    model = only_model(tmp_path)
    assert model.folds == [0, 1] and model.class_names == ("double", "single")
    rows = model.read_table("references.parquet")
    for fold in model.folds:
        own = rows[rows["fold"] == fold]
        assert len(own) == 5
        network = FoldNetwork.load(model.fold_path(fold), model.scaling)
        stamps = decode_references(own["image"].tolist(), own["kind"].tolist(), model.size, 1.0)
        known = recorded(trained_study).query("fold == @fold and split == 'test'").set_index("objid")
        expected = known.loc[own["objid"].tolist(), ["logit_0", "logit_1"]].to_numpy()
        tolerance = next(each["tolerance"] for each in model.about["folds"] if each["fold"] == fold)
        assert tolerance >= 1e-5 and network.logits(stamps) == pytest.approx(expected, abs=tolerance)


def test_timm_loads_each_fold_and_hubs_read_the_card(export, tmp_path):
    assert export("allow_partial=true", "register=false") == 0
    path = only_model(tmp_path).path
    for fold in (0, 1):
        backbone = timm.create_model(f"local-dir:{path / f'fold{fold}'}", pretrained=True)
        assert backbone.num_classes == 0
    _, metadata, text = (path / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(metadata)["library_name"] == "timm" and "# mergerexp" in text
    assert yaml.safe_load((path / "CITATION.cff").read_text())["cff-version"]
    assert json.loads((path / ".zenodo.json").read_text())["upload_type"]


def test_run_folders_alone_give_the_same_model(export, tmp_path):
    assert export("allow_partial=true", "register=false", "name=one") == 0
    assert export("allow_partial=true", "tracking=none", "name=other") == 0
    one, other = (ModelFolder.open(tmp_path / "models" / name) for name in ("one", "other"))
    assert one.model_id == other.model_id
    assert one.about["metrics"] == other.about["metrics"]


def test_mlflow_has_it_once_and_gives_it_back(export, trained_study, tmp_path, monkeypatch, capsys):
    """CASES: mlflow 10336, 16453 (stages), 8011, 7977, 4630, 11316 (versions that cannot be loaded)."""
    for _ in range(2):
        assert export("allow_partial=true", "name=blobs") == 0
        assert "MLflow has it as models:/blobs/1" in capsys.readouterr().err
    uri = f"sqlite:///{trained_study / 'mlflow.db'}"
    study = MlflowReader(TrackingConfig(uri=uri, experiment="mergerexp", artifacts=None, retry_s=0.0)).find()
    assert len(study.runs) == 2 and {gap.kind for gap in study.gaps} == {"missing"}
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", uri)
    loaded = mlflow.pyfunc.load_model("models:/blobs@newest")
    model = only_model(tmp_path)
    images = np.zeros((3, model.size, model.size, 3), dtype=np.uint8)
    network = FoldNetwork.load(model.fold_path(1), model.scaling)
    assert np.array_equal(loaded.predict(images)[:, 1], network.logits(images))
    files = [path.name for path in (trained_study / "mlartifacts").rglob("*") if path.is_file()]
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".pt", ".pth", ".joblib"))]


def test_a_store_that_can_not_be_written_only_lacks_the_model(export, tmp_path, monkeypatch, capsys):
    def refuse(*_: object) -> None:
        raise UserError("mlflow.db and its folder can't be written")

    monkeypatch.setattr(MlflowReader, "check_writable", refuse)
    assert export("allow_partial=true") == 0
    assert "can't be written: MLflow does not have this model" in capsys.readouterr().err
    assert only_model(tmp_path).folds == [0, 1]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), "lacks fold 2, 3: train it, or allow_partial=true exports the others"),
        (("allow_partial=true", "method=nope"), "method=nope: no such network; there are random"),
        (("allow_partial=true", "subset=0.5"), "subset=0.5: random has 1"),
        (("allow_partial=true", "seed=3"), "seed=3: random has 0"),
        (("tracking=none", "paths.runs=nowhere"), "nowhere: no run that has begun"),
    ],
)
def test_what_is_not_there_is_named_and_nothing_is_written(overrides, message, export, tmp_path, capsys):
    assert export(*overrides) == 2
    assert message in capsys.readouterr().err
    assert not list((tmp_path / "models").glob("*"))


def test_another_model_in_its_place_stays(export, tmp_path, capsys):
    assert export("allow_partial=true", "register=false", "name=blobs") == 0
    about = tmp_path / "models" / "blobs" / "model.json"
    write_json(about, {**read_json(about), "model_id": "another"})
    assert export("allow_partial=true", "register=false", "name=blobs") == 2
    assert "holds another model: choose another name=NAME" in capsys.readouterr().err
    assert read_json(about)["model_id"] == "another"


@pytest.mark.parametrize("name", ["seen.parquet", "fold1/head.safetensors", "README.md"])
def test_a_damaged_file_is_named(name, export, tmp_path):
    assert export("allow_partial=true", "register=false") == 0
    path = only_model(tmp_path).path
    data = bytearray((path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (path / name).write_bytes(data)
    with pytest.raises(UserError, match=rf"{name}.*; copy the whole folder again"):
        ModelFolder.open(path)


def test_another_list_of_objects_seen_is_another_model(export, tmp_path, capsys):
    """It decides who may rate what, so that old ratings must not pass for those with another list."""
    assert export("allow_partial=true", "register=false", "id_system=dr7") == 0
    assert export("allow_partial=true", "register=false", "id_system=dr8") == 2
    assert "holds another model" in capsys.readouterr().err
    assert export("allow_partial=true", "register=false", "id_system=dr8", "name=other") == 0
    one, other = sorted((tmp_path / "models").iterdir())
    assert ModelFolder.open(one).model_id != ModelFolder.open(other).model_id
