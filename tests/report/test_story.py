"""What the report says in words follows from the tests."""

from __future__ import annotations

import pandas as pd
import pytest

from mergerexp.analysis.lesion import Comparison
from mergerexp.report.story import verdict


def comparison(difference: float) -> Comparison:
    row = {"test": "paired_bootstrap", "combination": "mean_over_sizes", "p_value": 0.01}
    interval = {"difference": difference, "low": difference - 0.02, "high": difference + 0.02}
    combined = pd.DataFrame([{**row, **interval}])
    return Comparison("imagenet", "random", pd.DataFrame(), combined, pd.DataFrame(), ())


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (0.03, "imagenet is better than random on these galaxies"),
        (0.01, "imagenet and random can't be told apart"),
        (0.0, "imagenet and random can't be told apart"),
        (
            -0.03,
            "random is better than imagenet on these galaxies: the error of random is smaller by 0.03",
        ),
    ],
)
def test_verdict(difference, said):
    text = verdict(comparison(difference))
    assert said in text
    assert "one-tailed p = 0.01" in text
    assert "It is not safe" in text


def test_no_comparison():
    assert "compare=[ARM,ARM]" in verdict(None)
