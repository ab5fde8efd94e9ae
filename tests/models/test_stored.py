"""A network is the same after it was stored and rebuilt."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mergerexp.batches.images import ImageStore
from mergerexp.config.compose import compose_cell
from mergerexp.config.schema import TrainConfig
from mergerexp.errors import WeightsError
from mergerexp.files import read_json, write_json
from mergerexp.models.classifier import create_classifier, input_scaling
from mergerexp.models.stored import StoredNetwork, save_network
from mergerexp.training.predictions import predict_logits

CPU = torch.device("cpu")


def store(folder, normalization="backbone", head_units=16):
    """Write a network of random weights, and return it with images scaled for it."""
    choice = ["data=simulated_small", "data.size=32", "model.backbone=test_resnet", "init=random"]
    own = [f"model.head_units={head_units}", f"model.normalization={normalization}"]
    cfg = compose_cell("train", [*choice, *own], TrainConfig)
    classifier = create_classifier("test_resnet", 32, head_units, None, seed=3)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    images = ImageStore(pixels, input_scaling(classifier.backbone, normalization), CPU)
    folder.mkdir(exist_ok=True)
    save_network(folder, classifier, images.scaling, cfg)
    return classifier, images


@pytest.mark.parametrize("normalization", ["backbone", "raw"])
def test_rates_as_the_network_that_was_stored(normalization, tmp_path):
    classifier, images = store(tmp_path, normalization)
    logits = torch.from_numpy(predict_logits(classifier, images, np.arange(5), batch=2))
    state = torch.random.get_rng_state()
    network = StoredNetwork.load(tmp_path, CPU)
    assert torch.equal(torch.random.get_rng_state(), state)
    p_m = network.rate(images.pixels(np.arange(5)))
    assert p_m.dtype == np.float64
    assert p_m == pytest.approx(logits.softmax(1)[:, 1].numpy(), abs=1e-6)
    assert np.ptp(p_m) > 0


def test_what_is_no_network_or_damaged_is_refused(tmp_path):
    store(tmp_path / "narrow", head_units=8)
    store(tmp_path / "wide", head_units=16)
    about = tmp_path / "narrow" / "model.json"
    good = read_json(about)
    cases = {
        "nonparametric": {"kind": "nonparametric"},
        "resnet_of_nowhere": {**good, "backbone": "resnet_of_nowhere"},
        "head_units": {key: value for key, value in good.items() if key != "head_units"},
        "size mismatch": {**good, "head_units": 9},
    }
    for hint, content in cases.items():
        write_json(about, content)
        with pytest.raises(WeightsError, match=hint):
            StoredNetwork.load(about.parent, CPU)
    weights = tmp_path / "wide" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"wide/model\.safetensors: the network can't be rebuilt"):
        StoredNetwork.load(weights.parent, CPU)
    weights.unlink()
    with pytest.raises(WeightsError, match="No such file"):
        StoredNetwork.load(weights.parent, CPU)
