"""Real ImageNet weights classify pictures; weights that can't be had are a clear error, never random ones."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import timm
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file

import mergerexp.train
from mergerexp.errors import WeightsError
from mergerexp.models.classifier import create_backbone, input_scaling
from mergerexp.models.weights import WHEELS, find_weights

# ImageNet classes: 281-285 are cats, espresso 967, missile 657 and projectile 744
PICTURES = {"cat": range(281, 286), "coffee": [967], "rocket": [657, 744]}


@pytest.mark.parametrize("backbone", WHEELS)
def test_wheel_weights_classify_pictures(backbone, tmp_path):
    weights = find_weights(backbone, "wheel", tmp_path)
    assert weights.sha256 == hashlib.sha256(weights.path.read_bytes()).hexdigest()
    features = create_backbone(backbone, 224, weights, seed=0).eval()
    classifier = torch.nn.Linear(1280, 1000)
    state = torch.load(weights.path, weights_only=True)
    classifier.load_state_dict({"weight": state["_fc.weight"], "bias": state["_fc.bias"]})
    scaling = input_scaling(features, "backbone")
    for name, classes in PICTURES.items():
        whole = Image.fromarray(getattr(skimage.data, name)())
        picture = ImageOps.fit(whole, (224, 224), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / scaling.scale
        mean, std = torch.tensor(scaling.mean), torch.tensor(scaling.std)
        with torch.inference_mode():
            logits = classifier(features((pixels - mean[:, None, None]) / std[:, None, None]))
        assert set(logits[0].topk(3).indices.tolist()) & set(classes), name


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_local_file(ending, tmp_path):
    """As a user brings Xception's weights, or another backbone's, with its ImageNet classifier."""
    source = timm.create_model("legacy_xception")
    path = tmp_path / f"weights{ending}"
    if ending == ".pth":
        torch.save({"state_dict": source.state_dict()}, path)
    else:
        save_file(source.state_dict(), path)
    weights = find_weights("legacy_xception", str(path), tmp_path)
    backbone = create_backbone("legacy_xception", 64, weights, seed=0)
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, source.state_dict()[key])


def test_weights_of_another_backbone(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), path)
    with pytest.raises(WeightsError, match="does not fill resnet18"):
        create_backbone("resnet18", 64, find_weights("resnet18", str(path), tmp_path), seed=0)


def test_pickled_code_is_not_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "attacked",))

    path = tmp_path / "w.pth"
    torch.save({"x": Attack()}, path)
    with pytest.raises(WeightsError, match="may run code"):
        create_backbone("resnet18", 64, find_weights("resnet18", str(path), tmp_path), seed=0)
    assert not (tmp_path / "attacked").exists()


def test_hub_out_of_reach_stops_before_data(run_verb, galaxies, tmp_path, capsys):
    code = run_verb(
        mergerexp.train,
        "data=folder",
        f"data.root={galaxies}",
        "model.backbone=resnet18",
        "model.pretrained=hub",
    )
    message = capsys.readouterr().err
    assert code == 2
    assert len(message.splitlines()) == 1
    assert "model.pretrained=resnet18.safetensors" in message
    assert not (tmp_path / "datasets").exists()
    assert not (tmp_path / "runs").exists()


def test_fetched_weights_are_fetched_once_and_damage_is_named(tmp_path, monkeypatch):
    fetched = []

    def create_model(backbone, pretrained):
        fetched.append(backbone)
        return make(backbone)

    make = timm.create_model
    monkeypatch.setattr("mergerexp.models.weights._look_up_hub", lambda: None)  # as where there is a network
    monkeypatch.setattr(timm, "create_model", create_model)
    first = find_weights("test_resnet", "hub", tmp_path)
    assert find_weights("test_resnet", "hub", tmp_path) == first
    assert fetched == ["test_resnet"]
    whole = first.path.read_bytes()
    first.path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(
        WeightsError, match=r"test_resnet\.safetensors is damaged.*the weights are fetched again"
    ):
        find_weights("test_resnet", "hub", tmp_path)
    first.path.unlink()
    again = find_weights("test_resnet", "hub", tmp_path)
    assert fetched == ["test_resnet"] * 2
    first.path.with_suffix(".json").unlink()  # as where somebody has put the weights there
    assert find_weights("test_resnet", "hub", tmp_path) == again


def test_random_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    a = create_backbone("test_resnet", 32, None, seed=7)
    torch.manual_seed(2)
    b, c = (create_backbone("test_resnet", 32, None, seed=seed) for seed in (7, 8))
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not all(torch.equal(x, y) for x, y in zip(a.parameters(), c.parameters(), strict=True))


def test_wheel_for_another_backbone_stops_before_data(run_verb, tmp_path, capsys):
    assert run_verb(mergerexp.train, "model.backbone=resnet18") == 2
    assert "model.pretrained=wheel" in capsys.readouterr().err
    assert not (tmp_path / "datasets").exists()


def test_a_file_that_holds_no_weights_stops_before_data(run_verb, tmp_path, capsys):
    (tmp_path / "w.safetensors").write_text("no weights")
    code = run_verb(mergerexp.train, "model.backbone=resnet18", f"model.pretrained={tmp_path}/w.safetensors")
    assert code == 2
    assert "not a weights file" in capsys.readouterr().err
    assert not (tmp_path / "datasets").exists()
