"""init=galaxies: training starts from an exported network, and nobody forgets what that has seen."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest

import mergerexp.train
from mergerexp.config.compose import compose_cell
from mergerexp.config.survey_schema import ExportConfig
from mergerexp.errors import UserError
from mergerexp.files import read_json
from mergerexp.runs.run_folder import RunFolder
from mergerexp.survey.model_folder import ModelFolder
from tests.conftest import TINY


@pytest.mark.training
def test_an_exported_network_is_an_initialisation(
    model_folder, galaxies, datasets, tmp_path, run_verb, caplog
):
    """What it has seen is named when runs are planned, and stays in what is exported of them."""
    source = model_folder / "fold0"
    data = ("data=folder", f"data.root={galaxies}", f"paths.datasets={datasets}")
    line = (*data, *(each for each in TINY if not each.startswith("init=")), "trainer.max_epochs=1")
    arms = ("init=random,galaxies", f"paths.galaxies={source}")  # one line
    assert run_verb(mergerexp.train, *line, "-m", "hydra/launcher=basic", *arms, "fold=0,1") == 0
    seen = pd.read_parquet(model_folder / "seen.parquet")
    number = int(seen["seen_by_0"].sum())
    assert f"this network was trained on {number} of the {len(seen)} objects of folder" in caplog.text
    runs = {path.name.split("-")[2]: RunFolder(path) for path in (tmp_path / "runs").iterdir()}
    weights = read_json(runs["galaxies"].provenance)["weights"]
    assert weights["origin"] == f"fold0 of model {ModelFolder.open(model_folder).model_id}"
    assert weights["seen"] == str(number)
    assert read_json(runs["random"].provenance)["weights"] == {"origin": "random"}
    where = [f"paths.root={tmp_path}", f"paths.datasets={datasets}", "allow_partial=true", "register=false"]
    from mergerexp.survey.exporter import Exporter

    exported = Exporter(compose_cell("export", [*where, "method=galaxies"], ExportConfig)).export()
    (own, *_) = exported.about["ancestors"]
    assert own["objects"] == number and own["model_id"] == ModelFolder.open(model_folder).model_id
    theirs = exported.read_table("seen.parquet")
    assert len(theirs) == len(seen) + number
    assert theirs.iloc[len(seen) :][["seen_by_0", "seen_by_1"]].all(axis=None)


def test_a_folder_of_another_architecture_is_refused_with_the_override_that_works(
    model_folder, galaxies, datasets, run_verb, capsys
):
    data = ("data=folder", f"data.root={galaxies}", f"paths.datasets={datasets}")
    given = ("init=galaxies", f"init.source={model_folder / 'fold0'}", "model.backbone=test_vit")
    assert run_verb(mergerexp.train, *data, *given) == 2
    assert "use model.backbone=test_resnet, or the option of model" in capsys.readouterr().err
    for source in (model_folder, "nowhere"):
        assert run_verb(mergerexp.train, *data, "init=galaxies", f"init.source={source}") == 2
        assert "no folder in timm's layout" in capsys.readouterr().err
    assert run_verb(mergerexp.train, *data, "init=random", "init.source=here") == 2
    assert "init.source=here: init=random has none" in capsys.readouterr().err
    assert run_verb(mergerexp.train, *data, "init=galaxies") == 2
    assert "name one with paths.galaxies=FOLDER" in capsys.readouterr().err


def test_no_other_initialisation_of_ours_starts_from_galaxies(model_folder, run_verb, capsys):
    """Otherwise a study would call the same weights by two names."""
    given = ("-m", "hydra/launcher=basic", "init=imagenet,galaxies", f"init.source={model_folder / 'fold0'}")
    assert run_verb(mergerexp.train, *given) == 2
    assert "init=imagenet has none" in capsys.readouterr().err


@pytest.mark.training
def test_what_the_source_has_seen_is_not_forgotten_where_its_folder_is_gone(
    model_folder, galaxies, datasets, tmp_path, run_verb
):
    from mergerexp.survey.exporter import Exporter

    shutil.copytree(model_folder, tmp_path / "ancestor")
    data = ("data=folder", f"data.root={galaxies}", f"paths.datasets={datasets}", "fold=0")
    line = (*data, *(each for each in TINY if not each.startswith("init=")), "trainer.max_epochs=1")
    given = ("init=galaxies", f"init.source={tmp_path / 'ancestor' / 'fold0'}", "init.head_epochs=1")
    assert run_verb(mergerexp.train, *line, *given) == 0
    where = [f"paths.root={tmp_path}", f"paths.datasets={datasets}", "allow_partial=true", "register=false"]
    (tmp_path / "ancestor").rename(tmp_path / "moved")
    with pytest.raises(UserError, match="put that model's folder back"):
        Exporter(compose_cell("export", where, ExportConfig)).export()
    (tmp_path / "moved").rename(tmp_path / "ancestor")
    assert Exporter(compose_cell("export", where, ExportConfig)).export().about["ancestors"][0]["model_id"]


@pytest.mark.parametrize("by", ["link", "file", "link to a file"])
def test_an_exported_network_is_known_however_it_is_named(by, model_folder, tmp_path, monkeypatch):
    """A link at the default of paths.galaxies, or a file that model.pretrained names."""
    from mergerexp.models.ancestors import objects_seen, source_of
    from mergerexp.models.weights import find_weights

    (tmp_path / "galaxies").symlink_to(model_folder / "fold0")
    given = tmp_path / "galaxies" if by == "link" else model_folder / "fold0" / "model.safetensors"
    if by == "link to a file":
        (tmp_path / "net.safetensors").symlink_to(given)
        given = tmp_path / "net.safetensors"
    weights = find_weights("test_resnet", str(given), tmp_path)
    assert weights.origin == f"fold0 of model {ModelFolder.open(model_folder).model_id}"
    source = source_of(str(given), "wheel") if by == "link" else source_of(None, str(given))
    seen = objects_seen(source)
    assert seen is not None and len(seen) == pd.read_parquet(model_folder / "seen.parquet")["seen_by_0"].sum()
    assert source_of(None, "wheel") is None and source_of(None, str(tmp_path / "imagenet.pth")) is None
    (tmp_path / "inputs.json").write_text(
        "{}"
    )  # as in a run folder, whose network has seen what nobody lists
    assert objects_seen(source_of(None, str(tmp_path / "model.safetensors"))) is None
    assert source_of(None, str(tmp_path / "model.safetensors")) == str(tmp_path)
