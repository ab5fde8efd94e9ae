"""What the report says in words follows from the tests."""

from __future__ import annotations

import pandas as pd
import pytest

from mergerexp.analysis.lesion import Comparison
from mergerexp.report.verdict import details, verdict


def comparison(p: float, difference: float = 0.03, p_of_folds: float | None = None) -> Comparison:
    """Return what the two tests over all sizes found; without p_of_folds there is one fold only."""
    row = {"test": "paired_bootstrap", "combination": "mean_over_sizes", "p_value": p}
    half = 0.02 if abs(difference) > 0.02 else 0.04
    interval = {"difference": difference, "low": difference - half, "high": difference + half}
    rows = [{**row, **interval}]
    if p_of_folds is not None:
        rows.append({"test": "corrected_t", "combination": "mean_over_sizes", "p_value": p_of_folds})
    rows.append({"test": "welch", "combination": "stouffer", "p_value": 0.004})
    combined = pd.DataFrame(rows)
    return Comparison("imagenet", "random", pd.DataFrame(), combined, pd.DataFrame(), ())


@pytest.mark.parametrize(
    ("p", "difference", "p_of_folds", "expected"),
    [
        (0.00001, 0.03, 0.01, "imagenet is better than random on these galaxies, according to both"),
        (0.99999, -0.03, 0.99, "random is better than imagenet on these galaxies, according to both"),
        (
            0.3,
            0.01,
            0.04,
            "imagenet and random can't be told apart on these galaxies, according to both",
        ),
        (
            0.01,
            0.03,
            0.04,
            "that imagenet is better than random, the corrected t that imagenet and random can't",
        ),
        (0.3, 0.01, 0.01, "can't be told apart, the corrected t that imagenet is better than random"),
        (0.999, -0.03, 0.5, "that random is better than imagenet, the corrected t that"),
        (0.001, 0.03, None, "imagenet is better than random on these galaxies, according to the only"),
        (
            1.0,
            0.0,
            0.5,
            "can't be told apart on these galaxies, according to both",
        ),  # the arms never differ
    ],
)
def test_one_sentence_says_what_both_tests_say(p, difference, p_of_folds, expected):
    """The tests' p stand beside each other, with the level; a verdict of one test alone is no verdict."""
    text = verdict(comparison(p, difference, p_of_folds))
    assert expected in text
    assert text.count(". ") == 0 and text.endswith("with a level of 0.025 in either direction.")
    assert "by the paired bootstrap over galaxies" in text
    assert ("by the corrected t over folds" in text) == (p_of_folds is not None)
    assert text.startswith("It is not settled") == ("the corrected t that" in text)


def test_the_ps_of_the_verdict_are_those_of_the_tests():
    text = verdict(comparison(0.00001, p_of_folds=0.0213))
    assert "is < 0.0001 by the paired bootstrap over galaxies and 0.021 by the corrected t over folds" in text


def test_details_give_the_difference_of_whoever_is_better():
    assert "the error of imagenet is smaller by 0.030 (95 % bootstrap interval: 0.010 to 0.050" in details(
        comparison(0.01)
    )
    text = details(comparison(0.99, -0.03))
    assert "the error of random is smaller by 0.030 (95 % bootstrap interval: 0.010 to 0.050" in text
    assert "is in the tables as well (p = 0.0040). It finds differences too often" in text
    assert "would show how much of the difference is luck" in text
    assert "would show how much of the difference is luck" not in details(
        comparison(0.01), has_several_seeds=True
    )


def test_no_comparison():
    assert "compare=[ARM,ARM]" in verdict(None)
