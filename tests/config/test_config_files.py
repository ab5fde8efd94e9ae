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
        (["--config-path", "pkg://nowhere"], "--config-path pkg://nowhere: Python finds no"),
        (["--config-path", "pkg://nowhere", "--help"], "--config-path pkg://nowhere: Python finds no"),
        (["--config-path", "pkg://json"], "--config-path: no train.yaml in pkg://json; main files"),
        (["hydra.searchpath=[pkg://nowhere]"], "hydra.searchpath pkg://nowhere: Python finds no package"),
        (["hydra.searchpath=[nowhere]", "-m", "fold=0,1"], "hydra.searchpath=nowhere: no such folder"),
    ],
)
def test_flags_that_name_no_config_get_one_line(flags, message, own, run_verb, capsys):
    assert run_verb(mergerexp.train, *(flag.format(own=own) for flag in flags)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message.format(own=own, conf=conf_dir())}")


VALUES = {
    "optimizer:\n  lr: -1": "optimizer.lr=-1.0: must be above 0",
    "optimizer:\n  lr: fast": "optimizer.lr: 'fast' is no number",
    "fold: 9": "fold=9: split.folds=4 allows 0 to 3",
    "seed: ${nope}": "seed=${nope}: Interpolation key 'nope' not found",
    "augment:\n  zoom: 3": "augment.zoom: a list is needed",
    "model:\n  kind: forest": "model.kind=forest: choose one of network, nonparametric",
    "defaults:\n  - override /optimizer: nope": "optimizer=nope: choose one of",
}


@pytest.mark.parametrize("sweep", [(), ("-m", "split.seed=0,1")], ids=["single", "sweep"])
@pytest.mark.parametrize(("content", "message"), VALUES.items())
def test_a_wrong_value_in_a_file_names_the_file(content, message, sweep, own, run_verb, capsys):
    (own / "experiment" / "right.yaml").write_text("# @package _global_\noptimizer:\n  lr: 0.1\nfold: 1\n")
    (own / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{content}\n")
    launcher = ["hydra/launcher=local"] if "-m" in sweep else []
    assert run_verb(mergerexp.train, "--config-dir", str(own), "experiment=mine", *sweep, *launcher) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{own / 'experiment' / 'mine.yaml'}: {message}" in line
    assert "right.yaml" not in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("launcher: {n_jobs: 0}", "hydra.launcher.n_jobs=0: must be at least 1"),
        ("launcher: {n_job: 1}", "hydra.launcher.n_job: unknown key; did you mean hydra.launcher.n_jobs"),
        ("sweeper: {params: {fold: '0,9'}}", "fold=9: split.folds=4 allows 0 to 3"),
    ],
)
def test_a_wrong_value_of_a_launcher_or_a_sweep_names_the_file_too(content, message, own, run_verb, capsys):
    mine = own / "experiment" / "mine.yaml"
    mine.write_text(f"# @package _global_\nhydra: {{{content}}}\n")
    given = ("--config-dir", str(own), "-m", "experiment=mine", "hydra/launcher=local")
    assert run_verb(mergerexp.train, *given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{mine}: {message}" in line


def test_a_wrong_value_on_the_command_line_blames_no_file(own, run_verb, capsys):
    (own / "experiment" / "mine.yaml").write_text("# @package _global_\nfold: 9\n")
    (own / "runs").mkdir()
    (own / "runs" / "config.yaml").write_text("seed: -1\n")  # the folder of configs may be that of a project
    given = ("--config-dir", str(own), "experiment=mine", "fold=9", "seed=-1", "data.source=folder")
    assert run_verb(mergerexp.train, *given) == 2
    assert ".yaml" not in capsys.readouterr().err


def test_an_address_of_artifacts_is_no_folder_of_configs(own, run_verb, capsys):
    (own / "fold.yaml").write_text("fold: 9\n")
    assert run_verb(mergerexp.train, f"tracking.artifacts=file://{own}", "fold=9", "seed=-1") == 2
    assert ".yaml" not in capsys.readouterr().err


def test_each_key_is_refused_once(run_verb, capsys):
    assert run_verb(mergerexp.train, "init.weights=nope") == 2
    assert capsys.readouterr().err == "error: init.weights=nope: choose one of pretrained, random\n"


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
