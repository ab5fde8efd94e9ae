"""What the tests of the lesion study say together, in words that follow from their p-values."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

from mergerexp.analysis.lesion import Comparison
from mergerexp.frames import records
from mergerexp.report.numbers import equals, p_value_text
from mergerexp.report.texts import texts

# The level of the one-tailed tests in either direction, which is that of a two-sided 95 % interval.
LEVEL = 0.025
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


def verdict(comparison: Comparison | None) -> str:
    """Return a sentence that says which arm is better, if that is settled, and by which tests."""
    sentences = texts()["verdict"]
    if comparison is None:
        return str(sentences["none"])
    found, names = judgements(comparison), {"better": comparison.better, "worse": comparison.worse}
    outcomes = {judgement.outcome for judgement in found}
    if len(outcomes) > 1:
        first, second = (sentences["says"][judgement.outcome].format(**names) for judgement in found)
        claim = sentences["unsettled"].format(first=first, second=second)
    else:
        by = sentences["by_both"] if len(found) > 1 else sentences["by_one"]
        claim = sentences[outcomes.pop()].format(by=by, **names)
    tests = sentences["tests"]
    ps = " and ".join(f"{p_value_text(judgement.p)} {tests[judgement.test]}" for judgement in found)
    return str(sentences["sentence"].format(claim=claim, ps=ps, level=LEVEL, **names))


def details(comparison: Comparison | None, has_several_seeds: bool = False) -> str:
    """Return what lies behind the verdict: the difference of the errors, and what each test allows for."""
    if comparison is None:
        return ""
    sentences = texts()["verdict"]
    joint = combined_test(comparison, "mean_over_sizes", "paired_bootstrap")
    assert joint is not None  # It is there wherever two arms are compared.
    winner = comparison.better
    least, *limits = (joint[key] for key in ("difference", "low", "high"))
    if least < 0:
        winner, least, limits = comparison.worse, -least, [-limit for limit in reversed(limits)]
    difference = {"winner": winner, "difference": least, "low": limits[0], "high": limits[1]}
    chosen = [sentences["difference"].format(**difference)]
    if not has_several_seeds:
        chosen.append(sentences["one_seed"])
    if any(judgement.test == "corrected_t" for judgement in judgements(comparison)):
        chosen.append(sentences["folds"])
    welch = combined_test(comparison, "stouffer", "welch")
    p = f" (p {equals(welch['p_value'])})" if welch else ""
    return f"{' '.join(chosen)}\n\n{sentences['welch'].format(p=p)}"


def combined_test(comparison: Comparison, combination: str, test: str) -> dict[str, Any] | None:
    """Return a row of `Comparison.combined`; None where the study is too small for that test."""
    table = comparison.combined
    rows = records(table[(table["combination"] == combination) & (table["test"] == test)])
    return rows[0] if rows else None
