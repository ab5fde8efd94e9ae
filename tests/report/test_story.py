"""What the report says in words follows from the tests."""

from __future__ import annotations

import pandas as pd
import pytest

from mergerexp.analysis.lesion import Comparison
from mergerexp.report.story import verdict


def comparison(p_value: float) -> Comparison:
    row = {"test": "paired_bootstrap", "combination": "mean_over_sizes", "p_value": p_value}
    combined = pd.DataFrame([{**row, "difference": 0.02, "low": -0.01, "high": 0.05}])
    return Comparison("imagenet", "random", pd.DataFrame(), combined, pd.DataFrame(), ())


@pytest.mark.parametrize(
    ("p_value", "said"),
    [
        (0.003, "imagenet is better than random on these galaxies"),
        (0.4, "imagenet and random can't be told apart"),
        (0.99, "random is better than imagenet on these galaxies"),
    ],
)
def test_verdict(p_value, said):
    text = verdict(comparison(p_value))
    assert said in text
    assert f"one-tailed p = {p_value:.2g}" in text
    assert "It is not safe" in text


def test_no_comparison():
    assert "compare=[ARM,ARM]" in verdict(None)
