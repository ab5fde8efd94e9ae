"""The files of a fold's network rebuild it: by us, by timm alone, and by ONNX Runtime."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

from mergerexp.data.sources.folder.stamp import make_stamp
from mergerexp.errors import WeightsError
from mergerexp.models.classifier import create_classifier, input_scaling
from mergerexp.survey.model_folder import BACKBONE, BACKBONE_CONFIG, HEAD
from mergerexp.survey.networks import FoldNetwork, write_network, write_onnx

SIZE = 32


@pytest.fixture(params=["backbone", "raw"])
def written(request, tmp_path):
    """A folder with a network's files, the network, and images."""
    classifier = create_classifier("test_resnet", SIZE, 16, None, seed=1)
    scaling = input_scaling(classifier.backbone, request.param)
    write_network(tmp_path, "test_resnet", SIZE, 1.0, classifier, scaling)
    images = np.random.default_rng(0).integers(0, 256, (33, SIZE, SIZE, 3), dtype=np.uint8)
    return tmp_path, FoldNetwork(classifier, scaling), images


def test_it_is_rebuilt_to_the_bit(written):
    folder, network, images = written
    again = FoldNetwork.load(folder, network.scaling)
    assert np.array_equal(again.logits(images), network.logits(images))


def test_timm_alone_gives_the_features_from_its_own_scaling(written):
    folder, network, images = written
    backbone = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    config = timm.data.resolve_model_data_config(backbone)
    assert list(config["input_size"]) == [3, SIZE, SIZE]
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    given = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std
    head = load_file(folder / HEAD)
    with torch.inference_mode():
        hidden = torch.relu(backbone(given) @ head["0.weight"].T + head["0.bias"])
        logits = hidden @ head["2.weight"].T + head["2.bias"]
    assert logits.numpy() == pytest.approx(network.logits(images), abs=1e-5)


@pytest.mark.parametrize("crop", [1.0, 0.5])
def test_timms_transform_shows_the_same_part_of_an_image(crop, tmp_path):
    """A galaxy that is half as large in the stamp would be another one to the network."""
    classifier = create_classifier("test_resnet", SIZE, 16, None, seed=1)
    write_network(tmp_path, "test_resnet", SIZE, crop, classifier, input_scaling(classifier.backbone, "raw"))
    backbone = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(backbone))
    y, x = np.mgrid[:96, :96]
    picture = np.stack([2 * x + y // 4, 2 * y + x // 4, 255 - x - y], axis=2).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    ours, _ = make_stamp(file.getvalue(), SIZE, crop)
    theirs = transform(Image.fromarray(picture)).numpy().transpose(1, 2, 0)  # raw pixels
    assert np.abs(theirs - ours)[2:-2, 2:-2].max() < 3


def test_networks_in_another_order_of_memory_are_written_too(tmp_path):
    """CASES: safetensors 308 (channels_last)."""
    classifier = create_classifier("test_resnet", SIZE, 16, None, seed=1)
    classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    scaling = input_scaling(classifier.backbone, "backbone")
    write_network(tmp_path, "test_resnet", SIZE, 1.0, classifier, scaling)
    images = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    again = FoldNetwork.load(tmp_path, scaling).logits(images)
    assert again == pytest.approx(FoldNetwork(classifier, scaling).logits(images), abs=1e-5)


def test_no_classifier_of_timm_and_no_prefix(written):
    folder, network, _ = written
    config = json.loads((folder / BACKBONE_CONFIG).read_text())
    assert (config["architecture"], config["num_classes"]) == ("test_resnet", 0)
    state = load_file(folder / BACKBONE)
    assert state.keys() == network.classifier.backbone.state_dict().keys()


@pytest.mark.slow
def test_onnx_gives_the_logits_in_batches_of_any_size(written):
    """CASES: pytorch 148886 (a frozen batch), onnxruntime 18946 (raw pixels of 0 to 255)."""
    onnxruntime = pytest.importorskip("onnxruntime")
    folder, network, images = written
    write_onnx(folder / "model.onnx", network, SIZE)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    expected = network.logits(images)
    for n in (1, 3, 32):
        (found,) = session.run(None, {"images": images[:n]})
        assert found == pytest.approx(expected[:n], abs=1e-5)


@pytest.mark.parametrize("name", [BACKBONE_CONFIG, BACKBONE, HEAD])
def test_a_damaged_file_is_named(name, written):
    folder, network, _ = written
    (folder / name).write_bytes(b"{}")
    with pytest.raises(WeightsError, match=rf"{name}: the network can't be rebuilt"):
        FoldNetwork.load(folder, network.scaling)
