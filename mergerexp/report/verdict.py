"""What the tests of the lesion study say together, in words that follow from the numbers beside them."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

from mergerexp.analysis.lesion import Comparison
from mergerexp.frames import records
from mergerexp.report.numbers import equals, p_value_text
from mergerexp.report.texts import texts

LEVEL = 0.025  # one-tailed, in either direction: that of a two-sided 95 % interval
JUDGES = ("paired_bootstrap", "corrected_t")  # of the mean over the sizes: over galaxies, and over folds


class Judgement(NamedTuple):
    """What one test says of the first arm: one-tailed p of the smaller error; better, worse or unclear."""

    test: str
    p: float
    outcome: str


def judgements(comparison: Comparison) -> list[Judgement]:
    """Return what the tests of the mean over all sizes say; a study of one fold has none over folds."""
    found = []
    for test in JUDGES:
        row = combined_test(comparison, "mean_over_sizes", test)
        if row is None or pd.isna(row["p_value"]):
            continue
        is_worse = row["high"] < 0 if test == "paired_bootstrap" else row["p_value"] > 1 - LEVEL
        outcome = "better" if row["p_value"] < LEVEL else "worse" if is_worse else "unclear"
        found.append(Judgement(test, row["p_value"], outcome))
    return found


def verdict(comparison: Comparison | None) -> str:
    """Return one sentence: which arm is better, if that is settled, by which tests, at which level."""
    said = texts()["verdict"]
    if comparison is None:
        return str(said["none"])
    found, names = judgements(comparison), {"better": comparison.better, "worse": comparison.worse}
    outcomes = {judgement.outcome for judgement in found}
    if len(outcomes) > 1:
        first, second = (said["says"][judgement.outcome].format(**names) for judgement in found)
        claim = said["unsettled"].format(first=first, second=second)
    else:
        by = said["by_both"] if len(found) > 1 else said["by_one"]
        claim = said[outcomes.pop()].format(by=by, **names)
    ps = " and ".join(f"{p_value_text(judgement.p)} {said['tests'][judgement.test]}" for judgement in found)
    return str(said["sentence"].format(claim=claim, ps=ps, level=LEVEL, **names))


def details(comparison: Comparison | None, seeds: int = 1) -> str:
    """Return what lies behind the verdict: the difference, and what each test allows for; seeds: how many."""
    if comparison is None:
        return ""
    said = texts()["verdict"]
    joint = combined_test(comparison, "mean_over_sizes", "paired_bootstrap")
    assert joint is not None  # wherever two arms are compared
    winner = comparison.better
    least, *limits = (joint[key] for key in ("difference", "low", "high"))
    if least < 0:
        winner, least, limits = comparison.worse, -least, [-limit for limit in reversed(limits)]
    sentences = [said["difference"].format(winner=winner, difference=least, low=limits[0], high=limits[1])]
    if seeds == 1:
        sentences.append(said["one_seed"])
    if any(judgement.test == "corrected_t" for judgement in judgements(comparison)):
        sentences.append(said["folds"])
    return f"{' '.join(sentences)}\n\n{said['welch'].format(p=_welch(comparison))}"


def combined_test(comparison: Comparison, combination: str, test: str) -> dict[str, Any] | None:
    """Return a row of `Comparison.combined`; None where the study is too small for that test."""
    table = comparison.combined
    rows = records(table[(table["combination"] == combination) & (table["test"] == test)])
    return rows[0] if rows else None


def _welch(comparison: Comparison) -> str:
    row = combined_test(comparison, "stouffer", "welch")
    return "" if row is None or pd.isna(row["p_value"]) else f" (p {equals(row['p_value'])})"
