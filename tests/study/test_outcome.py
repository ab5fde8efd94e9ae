"""What a call says once its runs are over."""

from __future__ import annotations

import shlex
from types import SimpleNamespace
from typing import Any

import pytest

from mergerexp.config.compose import compose_cell
from mergerexp.config.paths import absolute_paths
from mergerexp.config.schema import AggregateConfig, TrainConfig
from mergerexp.study.outcome import aggregate_command


@pytest.mark.parametrize(
    ("overrides", "command"),
    [
        (["fold=0", "init=random"], "python -m mergerexp.aggregate"),
        (
            ["fold=0", "tracking.experiment=lenses"],
            "python -m mergerexp.aggregate tracking.experiment=lenses",
        ),
        (["paths.root=/my/root", "data.size=64"], "python -m mergerexp.aggregate paths.root=/my/root"),
        (["tracking=server", "tracking.uri=http://a:5000"], None),
    ],
)
def test_the_command_for_a_report_leads_to_the_runs(overrides, command, monkeypatch):
    monkeypatch.setenv("MERGEREXP_TRACKING", "sqlite")
    said = leads_to_its_runs(absolute_paths(compose_cell("train", overrides, TrainConfig)), overrides)
    assert command is None or said == command


def test_an_experiment_file_that_chooses_the_store_is_followed(monkeypatch):
    monkeypatch.setenv("MERGEREXP_TRACKING", "sqlite")
    cfg = absolute_paths(compose_cell("train", ["tracking.experiment=lenses"], TrainConfig))
    assert leads_to_its_runs(cfg, ["experiment=mine"]).endswith(" tracking.experiment=lenses")


def leads_to_its_runs(cfg: TrainConfig, overrides: list[str]) -> str:
    run: Any = SimpleNamespace(cfg=cfg, overrides=tuple(overrides))
    said = aggregate_command(run)
    given = shlex.split(said)[3:]
    assert absolute_paths(compose_cell("aggregate", given, AggregateConfig)).tracking == cfg.tracking
    return said
