"""Rules by hand, forests against scikit-learn's own answers, and both read back from their files."""

from __future__ import annotations

import json
import typing

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from sklearn.ensemble import RandomForestClassifier

from mergerexp.config.schema import NonparametricConfig
from mergerexp.errors import DataError
from mergerexp.files import write_json
from mergerexp.models import nonparametric
from mergerexp.models.morphology import CASGM, FEATURES, INVALID, MEASURED
from mergerexp.models.nonparametric import FORESTS, RULES, Forest, Rule, load, save
from mergerexp.settings import declared


def galaxy(flag: float = 0, **features: float) -> dict[str, float]:
    return {**dict.fromkeys(MEASURED, 0.0), "flag": flag, **features}


def test_methods_are_those_of_the_config():
    choices = declared(NonparametricConfig.__dataclass_fields__["method"]).choices
    assert choices == (*RULES, *FORESTS)
    for method in choices:
        config = NonparametricConfig(kind="nonparametric", method=method, trees=1, min_leaf=1)
        assert config.is_forest == (method in FORESTS)
    assert typing.get_args(nonparametric.Nonparametric) == (Rule, Forest)


@pytest.mark.parametrize(
    ("features", "gini_m20", "asymmetry"),
    [
        # the line of Lotz et al. (2008) passes through G = 0.54 at M20 = -1.5
        ({"gini": 0.541, "m20": -1.5}, 1, 0),
        ({"gini": 0.539, "m20": -1.5}, 0, 0),
        ({"gini": 0.60, "m20": -2.1}, 0, 0),
        ({"gini": 0.48, "m20": -1.0}, 1, 0),
        ({"gini": 0.3, "m20": -1.5, "asymmetry": 0.36, "smoothness": 0.1}, 0, 1),
        ({"gini": 0.3, "m20": -1.5, "asymmetry": 0.34, "smoothness": 0.1}, 0, 0),
        ({"gini": 0.3, "m20": -1.5, "asymmetry": 0.4, "smoothness": 0.41}, 0, 0),
        ({"gini": 0.6, "m20": -1.5, "asymmetry": 0.5, "smoothness": 0.1}, 1, 1),
        ({"flag": 1, "gini": 0.6, "m20": -1.5, "asymmetry": 0.5}, 1, 1),
        # measurements that can not be relied on are of non-mergers
        ({"flag": 2, "gini": 0.6, "m20": -1.5, "asymmetry": 0.5}, 0, 0),
        ({"flag": 4, **dict.fromkeys(FEATURES, INVALID)}, 0, 0),
    ],
)
def test_rules(features, gini_m20, asymmetry):
    measured = pd.DataFrame([galaxy(**features)])
    assert Rule("gini_m20").p_m(measured).tolist() == [gini_m20]
    assert Rule("asymmetry").p_m(measured).tolist() == [asymmetry]
    assert Rule("either").p_m(measured).tolist() == [max(gini_m20, asymmetry)]


@pytest.fixture(scope="module")
def sample() -> tuple[pd.DataFrame, np.ndarray]:
    """Three hundred galaxies, one class a third of the other, some of them not measured."""
    rng = np.random.default_rng(0)
    label = (rng.random(300) < 0.25).astype(int)
    measured = pd.DataFrame(rng.normal(label[:, None] * 0.7, 1, (300, len(MEASURED))), columns=list(MEASURED))
    measured["flag"] = rng.choice([0, 1, 2, 4], 300, p=[0.7, 0.2, 0.07, 0.03])
    measured.loc[measured["flag"] == 4, list(FEATURES)] = INVALID
    return measured, label


def forest_of(method, measured, label, *, trees, seed, min_leaf=3, threads=1) -> Forest:
    settings = NonparametricConfig(kind="nonparametric", method=method, trees=trees, min_leaf=min_leaf)
    return Forest.fit(settings, measured, label, seed, threads)


@pytest.mark.parametrize("method", FORESTS)
def test_forest_from_its_files_gives_what_scikit_learn_gives(method, sample, tmp_path):
    measured, label = sample
    good = (measured["flag"] <= 1).to_numpy()
    forest = forest_of(method, measured, label, trees=40, seed=5)
    save(tmp_path, forest, {"version": 1, "stretch": None})
    found = load(tmp_path).p_m(measured)

    features = list(CASGM if method == "forest_cas" else FEATURES)
    own = RandomForestClassifier(40, min_samples_leaf=3, class_weight="balanced", random_state=5)
    inputs = measured[features].to_numpy()
    own.fit(inputs[good], label[good])
    assert found[good] == pytest.approx(own.predict_proba(inputs[good])[:, 1], abs=1e-12)
    assert (found[~good] == 0).all()
    about = json.loads((tmp_path / "model.json").read_text())
    assert about["features"] == features
    assert about["measurement"] == {"version": 1, "stretch": None}
    assert len(load_file(tmp_path / "model.safetensors")["roots"]) == about["trees"] == 40


def test_many_galaxies_go_through_a_forest_in_parts(sample, monkeypatch):
    measured, label = sample
    forest = forest_of("forest_all", measured, label, trees=10, seed=0)
    whole = forest.p_m(measured)
    monkeypatch.setattr(nonparametric, "AT_ONCE", 7)
    assert forest.p_m(measured).tolist() == whole.tolist()
    assert forest.p_m(measured[:0]).tolist() == []
    assert forest.p_m(measured[measured["flag"] > 1]).max() == 0


def test_forest_is_drawn_from_its_seed_alone(sample):
    def p_m(seed: int, threads: int = 1) -> list[float]:
        return forest_of("forest_cas", *sample, trees=20, seed=seed, threads=threads).p_m(sample[0]).tolist()

    assert p_m(2**62) == p_m(2**62, threads=2)
    assert p_m(1) != p_m(2)


def test_forest_weighs_both_classes_alike(sample):
    """Where there is nothing to be learned, p_m is a half, though a quarter of the galaxies are mergers."""
    measured, label = sample
    shuffled = np.random.default_rng(1).permutation(label)
    forest = forest_of("forest_cas", measured, shuffled, trees=40, min_leaf=80, seed=0)
    assert forest.p_m(measured)[measured["flag"] <= 1].mean() == pytest.approx(0.5, abs=0.05)


def test_rule_from_its_files(tmp_path, sample):
    save(tmp_path, Rule("either"), {"version": 1, "stretch": 2.25})
    assert load(tmp_path) == Rule("either")
    assert json.loads((tmp_path / "model.json").read_text())["rule"] == RULES["either"]
    assert load_file(tmp_path / "model.safetensors") == {}


def test_other_models_are_refused(tmp_path):
    write_json(tmp_path / "model.json", {"backbone": "resnet18"})
    with pytest.raises(DataError, match="neither a rule nor a forest"):
        load(tmp_path)


def test_a_class_that_could_not_be_measured_is_told(sample):
    measured, label = sample
    failed = measured.assign(flag=np.where(label == 1, 4, 0))
    with pytest.raises(DataError, match=r"class 1 could be measured.*data.stretch"):
        forest_of("forest_cas", failed, label, trees=5, seed=0)
