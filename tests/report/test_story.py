"""What the report says in words follows from the tests."""

from __future__ import annotations

from dataclasses import replace

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


@pytest.mark.parametrize(
    ("difference", "p_of_folds", "agrees"),
    [
        (0.03, 0.01, True),
        (0.03, 0.04, False),  # one-tailed: not at the level of a 95 % interval
        (0.01, 0.04, True),  # nor is the interval clear of 0
        (0.01, 0.5, True),
        (0.01, 0.01, False),
        (-0.03, 0.99, True),
        (-0.03, 0.5, False),
    ],
)
def test_the_corrected_t_agrees_at_the_same_level(difference, p_of_folds, agrees):
    found = comparison(difference)
    row = {"test": "corrected_t", "combination": "mean_over_sizes", "p_value": p_of_folds}
    combined = pd.concat([pd.DataFrame([row]), found.combined], ignore_index=True)
    text = verdict(replace(found, combined=combined))
    assert ("it says the same" in text) == agrees
    assert ("the two disagree" in text) == (not agrees)


def test_no_comparison():
    assert "compare=[ARM,ARM]" in verdict(None)
