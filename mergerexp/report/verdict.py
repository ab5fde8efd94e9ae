"""What the tests of the lesion study say together, in words that follow from their p-values."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

from mergerexp.analysis.lesion import Comparison
from mergerexp.frames import records
from mergerexp.report.numbers import LEVEL, equals, p_value_text
from mergerexp.report.texts import texts

# The tests of the mean over all sizes from which the verdict follows: one over galaxies, one over folds.
DECISIVE_TESTS = ("paired_bootstrap", "corrected_t")


class Judgement(NamedTuple):
    """What one test says about the first arm.

    Attributes
    ----------
    test
        The name of the test.
    p
        The one-tailed p-value of the first arm having the smaller error.
    outcome
        One of better, worse and unclear.
    """

    test: str
    p: float
    outcome: str


def judgements(comparison: Comparison) -> list[Judgement]:
    """Return what the tests of the mean over all sizes say; a study with one fold has no test over folds."""
    found = []
    for test in DECISIVE_TESTS:
        row = combined_test(comparison, "mean_over_sizes", test)
        if row is None or pd.isna(row["p_value"]):
            continue
        is_worse = row["high"] < 0 if test == "paired_bootstrap" else row["p_value"] > 1 - LEVEL
        outcome = "better" if row["p_value"] < LEVEL else "worse" if is_worse else "unclear"
        found.append(Judgement(test, row["p_value"], outcome))
    return found


def verdict(comparison: Comparison | None, is_alone: bool = False) -> str:
    """Say in short sentences which method is better, if that is settled, and by which tests.

    Parameters
    ----------
    comparison
        The tests; None where no two methods are compared.
    is_alone
        Whether the study has one method only.
    """
    sentences = texts()["verdict"]
    if comparison is None:
        return str(sentences["alone" if is_alone else "none"])
    found, names = judgements(comparison), _names(comparison)
    outcomes = {judgement.outcome for judgement in found}
    if len(outcomes) > 1:
        first, second = (sentences["says"][judgement.outcome].format(**names) for judgement in found)
        return str(sentences["unsettled"].format(first=first, second=second, **names))
    outcome = outcomes.pop()
    by = ("unclear_" if outcome == "unclear" else "") + ("by_both" if len(found) > 1 else "by_one")
    return str(sentences[outcome].format(by=sentences[by], **names))


def evidence(comparison: Comparison | None, learning: pd.DataFrame) -> str:
    """Say what the verdict follows from: the errors, their difference, and the p-values.

    Parameters
    ----------
    comparison
        The tests; None where no two methods are compared, of which there is nothing to be said.
    learning
        The errors at each size; see `mergerexp.analysis.fold_errors.learning_table`.
    """
    if comparison is None:
        return ""
    sentences, names = texts()["verdict"], _names(comparison)
    largest = learning[learning["subset"] == comparison.per_size["subset"].max()].set_index("arm")
    of_better, of_worse = (largest.loc[arm] for arm in (comparison.better, comparison.worse))
    errors = {"of_better": of_better["text"], "of_worse": of_worse["text"]}
    tests = sentences["tests"]
    ps = " and ".join(f"{p_value_text(found.p)} {tests[found.test]}" for found in judgements(comparison))
    said = [
        sentences["errors"].format(size=f"{of_better['n_train']:.0f}", **errors, **names),
        _difference(comparison),
        sentences["ps"].format(ps=ps, level=LEVEL, opposite=1 - LEVEL, **names),
    ]
    return " ".join(said)


def _names(comparison: Comparison) -> dict[str, str]:
    return {"better": comparison.better, "worse": comparison.worse}


def _difference(comparison: Comparison) -> str:
    """Say whose error is smaller, and by how much."""
    joint = combined_test(comparison, "mean_over_sizes", "paired_bootstrap")
    assert joint is not None  # It is there wherever two arms are compared.
    winner = comparison.better
    least, low, high = (joint[key] for key in ("difference", "low", "high"))
    if least < 0:
        winner, least, low, high = comparison.worse, -least, -high, -low
    sentence = texts()["verdict"]["mean_difference" if comparison.sizes > 1 else "difference"]
    return str(sentence.format(winner=winner, difference=least, low=low, high=high, sizes=comparison.sizes))


def details(comparison: Comparison | None, has_several_seeds: bool = False) -> str:
    """Say what each test of the comparison allows for."""
    if comparison is None:
        return ""
    sentences = texts()["verdict"]
    chosen = [] if has_several_seeds else [sentences["one_seed"]]
    if any(judgement.test == "corrected_t" for judgement in judgements(comparison)):
        chosen.append(sentences["folds"])
    welch = combined_test(comparison, "stouffer", "welch")
    p = f" (p {equals(welch['p_value'])})" if welch else ""
    published = sentences["welch_combined" if comparison.sizes > 1 else "welch_alone"].format(p=p)
    return "\n\n".join(filter(None, [" ".join(chosen), published]))


def combined_test(comparison: Comparison, combination: str, test: str) -> dict[str, Any] | None:
    """Return a row of `Comparison.combined`; None where the study is too small for that test."""
    table = comparison.combined
    rows = records(table[(table["combination"] == combination) & (table["test"] == test)])
    return rows[0] if rows else None
