"""A study's title says how its runs were chosen."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from mergerexp.report.settings import study_title


@pytest.mark.parametrize(
    ("where", "title"),
    [
        ({"data.name": "[v2] lenses"}, "s, data [v2] lenses"),
        ({"data.name": ["lenses", "rings"], "subset": [0.5, 1.0]}, "s, data lenses, rings, subset 0.5, 1.0"),
        ({"optimizer.lr": 0.1, "init.name": "random"}, "s, optimizer lr 0.1, init random"),
    ],
)
def test_values_are_named_as_they_are_given(where, title):
    assert study_title("s", None, where) == study_title("s", None, OmegaConf.create(where)) == title
