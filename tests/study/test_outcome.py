"""What a call says once its runs are over."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mergerexp.config.compose import compose_cell
from mergerexp.config.paths import absolute_paths
from mergerexp.config.schema import AggregateConfig, TrainConfig
from mergerexp.environment import environment
from mergerexp.study.outcome import VARIABLES, aggregate_command, way_to_report

AGGREGATE = "python -m mergerexp.aggregate"


@pytest.fixture(autouse=True)
def activated(monkeypatch) -> None:
    """Put the programs of this environment on the PATH, and set nothing that says where the record is."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("overrides", "command"),
    [
        (["fold=0", "init=random"], AGGREGATE),
        (["fold=0", "tracking.experiment=lenses"], f"{AGGREGATE} tracking.experiment=lenses"),
        (["paths.root=/my/root", "data.size=64"], f"{AGGREGATE} paths.root=/my/root"),
        (["tracking=server", "tracking.uri=http://a:5000"], None),
    ],
)
def test_the_command_for_a_report_leads_to_the_runs(overrides, command):
    said = leads_to_its_runs(absolute_paths(compose_cell("train", overrides, TrainConfig)), overrides)
    assert command is None or said == command


@pytest.mark.parametrize(
    ("variables", "command"),
    [
        ({"MERGEREXP_ROOT": "/my/root"}, f"{AGGREGATE} paths.root=/my/root"),
        ({"MERGEREXP_ROOT": "/my root, b"}, f"{AGGREGATE} 'paths.root=\"/my root, b\"'"),
        (
            {"MLFLOW_TRACKING_URI": "http://a:5000", "MERGEREXP_TRACKING": "server"},
            f"{AGGREGATE} tracking=server tracking.uri=http://a:5000",
        ),
    ],
)
def test_the_variables_of_the_training_are_not_needed_for_the_report(variables, command):
    with environment(variables):
        cfg = absolute_paths(compose_cell("train", ["fold=0"], TrainConfig))
        assert aggregate_command(run_of(cfg, ["fold=0"])) == command
    assert leads_to_its_runs(cfg, ["fold=0"]) == command


def test_an_experiment_file_that_chooses_the_store_is_followed():
    cfg = absolute_paths(compose_cell("train", ["tracking.experiment=lenses"], TrainConfig))
    assert leads_to_its_runs(cfg, ["experiment=mine"]).endswith(" tracking.experiment=lenses")


def test_where_the_environment_is_not_activated_its_python_is_named(monkeypatch, tmp_path):
    cfg = absolute_paths(compose_cell("train", [], TrainConfig))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shlex.split(aggregate_command(run_of(cfg, [])))[0] == sys.executable
    (tmp_path / "python").touch(0o755)  # that of the system
    assert shlex.split(aggregate_command(run_of(cfg, [])))[0] == sys.executable


@pytest.mark.parametrize(
    ("folds", "failed", "is_whole"), [("0123", "", True), ("01", "", False), ("0123", "2", False)]
)
def test_a_report_on_some_folds_alone_has_to_be_allowed(folds, failed, is_whole):
    runs = [
        run_of(absolute_paths(compose_cell("train", [f"fold={fold}"], TrainConfig)), [], fold not in failed)
        for fold in folds
    ]
    said = way_to_report(runs[0], runs)
    assert said.endswith(AGGREGATE if is_whole else f"{AGGREGATE} allow_partial=true")
    assert ("of those folds alone" in said) != is_whole


def run_of(cfg: TrainConfig, overrides: list[str], is_done: bool = True) -> Any:
    folder = SimpleNamespace(is_done=lambda: is_done, is_over=lambda: True)
    return SimpleNamespace(cfg=cfg, overrides=tuple(overrides), folder=folder)


def leads_to_its_runs(cfg: TrainConfig, overrides: list[str]) -> str:
    said = aggregate_command(run_of(cfg, overrides))
    with environment(dict.fromkeys(VARIABLES)):
        there = absolute_paths(compose_cell("aggregate", shlex.split(said)[3:], AggregateConfig))
    assert there.tracking == cfg.tracking
    assert there.paths.root == cfg.paths.root
    return said
