"""Mistakes in files of one's own, and in the flags that name them, get a line with the file and the key."""

from __future__ import annotations

from pathlib import Path

import pytest

import mergerexp.prepare
import mergerexp.train
from mergerexp.config.call import Cell, without_effect
from mergerexp.config.compose import compose_cell
from mergerexp.config.paths import conf_dir
from mergerexp.config.schema import TrainConfig


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of configs with an experiment and an option of a group, both with a wrong key."""
    folder = tmp_path_factory.mktemp("own")
    for group in ("experiment", "optimizer"):
        (folder / group).mkdir()
    (folder / "experiment" / "mine.yaml").write_text("# @package _global_\noptimizer:\n  lrr: 0.1\n")
    adam = (conf_dir() / "optimizer" / "adam.yaml").read_text()
    (folder / "optimizer" / "mine.yaml").write_text(f"{adam}\nmomentun: 0.9\n")
    (folder / "optimizer" / "broken.yaml").write_text("{")
    return folder


@pytest.mark.parametrize("sweep", [(), ("-m", "hydra/launcher=local", "fold=0,1")], ids=["single", "sweep"])
@pytest.mark.parametrize(
    ("group", "key", "near"),
    [
        ("experiment", "optimizer.lrr", "optimizer.lr"),
        ("optimizer", "optimizer.momentun", "optimizer.momentum"),
    ],
)
@pytest.mark.parametrize("flag", ["--config-dir", "hydra.searchpath"])
def test_a_wrong_key_in_a_file_names_file_and_near_key(flag, group, key, near, sweep, own, run_verb, capsys):
    flags = [flag, str(own)] if flag.startswith("--") else [f"{flag}=[file://{own}]"]
    assert run_verb(mergerexp.train, *flags, f"{group}=mine", *sweep) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {own / group / 'mine.yaml'}: {key}: unknown key; did you mean {near}")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--config-name", "trian"],
            "--config-name trian: no trian.yaml in {conf}; main files there: a",
        ),
        (["--config-name", "trian", "-m", "fold=0,1"], "--config-name trian: no trian.yaml"),
        (["--config-name", "trian", "--help"], "--config-name trian: no trian.yaml"),
        (["--config-path", "{own}"], "--config-path: no train.yaml in {own}; main files there: none"),
        (["--config-path", "nowhere"], "--config-path nowhere: no such folder"),
        (["--config-dir", "pkg://nowhere"], "--config-dir pkg://nowhere: no such folder"),
    ],
)
def test_flags_that_name_no_config_get_one_line(flags, message, own, run_verb, capsys):
    assert run_verb(mergerexp.train, *(flag.format(own=own) for flag in flags)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message.format(own=own, conf=conf_dir())}")


def test_the_version_is_ours_with_hydras(run_verb, capsys):
    assert run_verb(mergerexp.train, "--version") == 0
    ours, hydras = capsys.readouterr().out.strip().split(", ")
    assert ours.startswith("mergerexp ")
    assert hydras.startswith("Hydra 1.")


def cell(*overrides: str) -> Cell[TrainConfig]:
    return Cell(overrides, compose_cell("train", overrides, TrainConfig))


def test_settings_that_the_model_makes_no_use_of_are_named():
    unused = ("init=random", "optimizer.lr=0.1", "augment=none", "trainer.patience=3")
    shared = ("fold=1", "trainer.threads=1", "trainer.progress=false", "model.method=either")
    assert without_effect([cell("model=nonparametric", *unused, *shared)]) == list(unused)
    assert without_effect([cell(*unused, "fold=1")]) == []


def test_settings_of_a_sweep_over_models_are_for_those_that_use_them():
    inits = ("init=imagenet", "init=random")
    cells = [cell(model, init) for model in ("model=nonparametric", "model=xception") for init in inits]
    assert without_effect(cells) == []
    assert without_effect(cells[:2]) == list(inits)
