"""What the report says in words follows from the tests."""

from __future__ import annotations

import pandas as pd
import pytest

from mergerexp.analysis.lesion import Comparison
from mergerexp.report.verdict import details, evidence, verdict

LEARNING = pd.DataFrame(
    {
        "arm": ["imagenet", "random"] * 2,
        "subset": [0.5, 0.5, 1.0, 1.0],
        "n_train": [80, 80, 160, 160],
        "text": ["0.25(1)", "0.30(1)", "0.20(1)", "0.23(2)"],
    }
)


def comparison(
    p: float, difference: float = 0.03, p_of_folds: float | None = None, sizes: int = 2
) -> Comparison:
    """Return what the two tests over all sizes found; without p_of_folds there is one fold only."""
    row = {"test": "paired_bootstrap", "combination": "mean_over_sizes", "p_value": p}
    half = 0.02 if abs(difference) > 0.02 else 0.04
    interval = {"difference": difference, "low": difference - half, "high": difference + half}
    rows = [{**row, **interval}]
    if p_of_folds is not None:
        rows.append({"test": "corrected_t", "combination": "mean_over_sizes", "p_value": p_of_folds})
    rows.append({"test": "welch", "combination": "stouffer", "p_value": 0.004})
    combined = pd.DataFrame(rows)
    per_size = pd.DataFrame({"subset": [1.0, 0.5][:sizes]})
    return Comparison("imagenet", "random", per_size, combined, pd.DataFrame(), ())


@pytest.mark.parametrize(
    ("p", "difference", "p_of_folds", "expected"),
    [
        (0.00001, 0.03, 0.01, "imagenet is better than random on these galaxies. Both tests say so."),
        (0.99999, -0.03, 0.99, "random is better than imagenet on these galaxies. Both tests say so."),
        (
            0.3,
            0.01,
            0.04,
            "imagenet and random can't be told apart on these galaxies. Neither test",
        ),
        (
            0.01,
            0.03,
            0.04,
            "that imagenet is better than random. The corrected t says that imagenet and random can't",
        ),
        (0.3, 0.01, 0.01, "can't be told apart. The corrected t says that imagenet is better than random."),
        (0.999, -0.03, 0.5, "that random is better than imagenet. The corrected t says that"),
        (0.001, 0.03, None, "imagenet is better than random on these galaxies. The only test that"),
        (
            1.0,
            0.0,
            0.5,
            "can't be told apart on these galaxies. Neither test",
        ),  # the methods never differ
    ],
)
def test_the_verdict_says_what_both_tests_say(p, difference, p_of_folds, expected):
    """A verdict of one test alone is no verdict."""
    text = verdict(comparison(p, difference, p_of_folds))
    assert expected in text
    assert text.startswith("It is not settled") == ("The corrected t says" in text)


def test_the_evidence_is_both_errors_their_difference_and_the_ps():
    """In sentences that are short; the errors are those of the largest training set."""
    text = evidence(comparison(0.00001, p_of_folds=0.0213), LEARNING)
    assert "With N = 160 training images, the test error of imagenet is 0.20(1), and that of random" in text
    assert "and that of random is 0.23(2)." in text
    assert (
        "On average over the 2 sizes of the training set, the error of imagenet is smaller by 0.030 " in text
    )
    assert (
        "is < 0.0001 by the paired bootstrap over galaxies and 0.021 by the corrected t over folds." in text
    )
    assert "imagenet better if its p-value is below 0.025, and random better if it is above 0.975" in text
    assert all(len(sentence.split()) <= 35 for sentence in text.split(". "))
    one_fold = evidence(comparison(0.01), LEARNING)
    assert "paired bootstrap over galaxies" in one_fold and "corrected t" not in one_fold


def test_the_evidence_gives_the_difference_of_whoever_is_better():
    """With 95 % limits; of a single size there is no average."""
    text = evidence(comparison(0.01, sizes=1), LEARNING)
    assert " The error of imagenet is smaller by 0.030 (95 % bootstrap interval: 0.010 to 0.050)" in text
    assert "sizes" not in text
    text = evidence(comparison(0.99, -0.03), LEARNING)
    assert "the error of random is smaller by 0.030 (95 % bootstrap interval: 0.010 to 0.050)" in text


def test_details_say_what_the_tests_allow_for():
    text = details(comparison(0.01))
    assert "is in the tables as well (p = 0.0040). It finds differences too often" in text
    assert "would show how much of the difference is luck" in text
    assert "would show how much of the difference is luck" not in details(
        comparison(0.01), has_several_seeds=True
    )
    assert "Stouffer" in text and "Stouffer" not in details(comparison(0.01, sizes=1))


def test_no_comparison():
    assert "compare=[METHOD,METHOD]" in verdict(None)
    assert verdict(None, is_alone=True) == "There is one method, and so none to compare it with."
    assert evidence(None, LEARNING) == details(None) == ""
