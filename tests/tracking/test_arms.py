"""Two runs are in one cell of a study if and only if they are the same run, but for what a study names."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from omegaconf import OmegaConf

from mergerexp.config.compose import compose_cell
from mergerexp.config.device import resolve
from mergerexp.config.fingerprint import fingerprint
from mergerexp.config.schema import TrainConfig, unused_groups
from mergerexp.files import flatten
from mergerexp.tracking.arms import CELL, arm_of, shared_settings

RULE = ("model=nonparametric", "model.method=gini_m20")
FOREST = ("model=nonparametric", "model.method=forest_all")


def identity_and_cell(*overrides: str, content: str = "c0ffee", weights: str = "1" * 64) -> tuple[str, Any]:
    """Return a run's fingerprint, and where a study would put what MLflow has of it."""
    cfg = compose_cell("train", overrides, TrainConfig)
    cfg = dataclasses.replace(cfg, trainer=resolve(cfg.trainer, None))
    is_pretrained = cfg.model.kind == "network" and cfg.init.weights == "pretrained"
    config: Any = OmegaConf.to_container(OmegaConf.structured(cfg))
    for group in unused_groups(cfg.model.kind):
        config.pop(group)
    settings = {key: str(value) for key, value in flatten(config).items()}
    tags = {"mergerexp.data.content_hash": content, "mergerexp.protocol": "2"}
    tags |= {"mergerexp.weights.sha256": weights} if is_pretrained else {}
    cell = [settings[key] for key in CELL]
    found = (shared_settings(settings, tags), arm_of(settings, tags), cell)
    return fingerprint(cfg, content, weights if is_pretrained else None), found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # the same run
        ((), ("model.pretrained=hub",)),
        (("init=random",), ("init=random", "model.pretrained=hub")),
        (
            (),
            ("trainer.threads=1", "trainer.eval_batch=7", "data.name=renamed", "tracking.experiment=lenses"),
        ),
        ((), ("data.stretch=3",)),
        (("trainer.device=cpu",), ("trainer.device=cpu", "trainer.precision=32")),
        (RULE, (*RULE, "model.trees=7", "model.min_leaf=7")),
        (RULE, (*RULE, "init=random", "trainer.patience=3", "trainer.device=cuda")),
        (FOREST, (*FOREST, "augment=none", "data.workers=3")),
        # another one
        ((), ("trainer.device=cuda", "trainer.precision=32")),
        (("trainer.device=cuda", "trainer.precision=16"), ("trainer.device=cuda", "trainer.precision=bf16")),
        ((), ("trainer.patience=3",)),
        ((), ("split.seed=1",)),
        ((), ("init.head_epochs=3",)),
        ((), ("model.feature_batch=7",)),
        ((), ("fold=1",)),
        (RULE, (*RULE, "data.stretch=3")),
        (RULE, ("model=nonparametric", "model.method=asymmetry")),
        (FOREST, (*FOREST, "data.stretch=3")),
        (FOREST, (*FOREST, "model.trees=7")),
    ],
)
def test_a_study_sees_what_identity_sees(one, other, monkeypatch):
    monkeypatch.setattr("mergerexp.config.device._may_be_here", lambda device: True)
    (identity, cell), (other_identity, other_cell) = identity_and_cell(*one), identity_and_cell(*other)
    assert (cell == other_cell) == (identity == other_identity)


def test_weights_and_data_are_known_by_their_content():
    plain, other = identity_and_cell(), identity_and_cell(weights="2" * 64)
    assert plain[0] != other[0]
    assert plain[1][1] != other[1][1]  # another arm
    random = identity_and_cell("init=random"), identity_and_cell("init=random", weights="2" * 64)
    assert random[0] == random[1]
    moved = identity_and_cell(content="beef")
    assert plain[0] != moved[0]
    assert plain[1][0] != moved[1][0]  # another study
