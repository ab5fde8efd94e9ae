"""The table at the end of a call: no number is cut off in the narrowest usual terminal."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from mergerexp.study.run_table import run_table
from tests.studies import add_run


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("table")
    cells = [(init, fold) for init in ("imagenet", "random") for fold in (0, 1)]
    return [add_run(root, f"init={init}", f"fold={fold}", "tracking=none") for init, fold in cells]


def shown(folders, width: int) -> str:
    text = io.StringIO()
    Console(file=text, width=width).print(run_table(folders))
    return text.getvalue()


@pytest.mark.parametrize("width", [80, 140])
def test_arms_are_shown_with_whole_numbers(width, folders):
    lines = shown(folders, width).splitlines()
    (row,) = [line for line in lines if line.startswith("imagenet")]
    cells = re.split(r"\s{2,}", row.strip())
    assert cells[0] == "imagenet" and cells[3] == "2 of 2"
    assert all(len(part) == 6 for cell in cells[4:6] for part in cell.split("±"))
    assert "simulated_small, tf_efficientnet_lite0" in lines[0]  # what all runs share is said once
    assert max(map(len, lines)) <= width


def test_a_run_is_shown_with_whole_numbers(folders):
    lines = shown(folders[:1], 80).splitlines()
    (row,) = [line for line in lines if line.startswith("imagenet")]
    assert "…" not in row and "done" in row


def test_a_column_that_differs_stays(folders, tmp_path):
    other = add_run(tmp_path, "init=random", "model.backbone=test_resnet", "tracking=none")
    assert "test_resnet" in shown([*folders, other], 140)
