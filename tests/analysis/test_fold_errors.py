"""Errors of the folds and their means: worked numbers, and those of `metrics`."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mergerexp.analysis.fold_errors import fold_errors, learning_table
from mergerexp.analysis.metrics import scores
from tests.analysis.conftest import row


@pytest.mark.parametrize("prevalence", [0.5, None, 0.02])
def test_fold_errors_are_the_scores_of_the_test_folds(predictions, prevalence):
    table = fold_errors(predictions, prevalence)
    assert len(table) == 40
    assert list(table) == ["arm", "subset", "seed", "fold", "n_train", "error"]
    for run in table.sample(5, random_state=1).itertuples():
        own = predictions.query(
            "arm == @run.arm and subset == @run.subset and fold == @run.fold and split == 'test'"
        )
        assert run.error == scores(own["label"], own["p_m"], prevalence)["error"]
        assert run.n_train == own["n_train"].iloc[0]


def worked_example():
    """One arm, four folds, two seeds: 0, 1, 2, 3 of 10 mergers missed, one more in the second seed."""
    runs = []
    for fold in range(4):
        for seed in (0, 1):
            label = np.repeat([1, 0], 10)
            p_m = np.where(np.arange(20) < fold + seed, 0.2, 0.5 + 0.3 * (2 * label - 1))
            run = {"arm": "a", "subset": 1.0, "n_train": 40 + fold, "seed": seed, "fold": fold}
            rated = {"split": "test", "objid": 100 * fold + np.arange(20), "label": label, "p_m": p_m}
            runs.append(pd.DataFrame({**run, **rated}))
    return pd.concat(runs, ignore_index=True)


def test_learning_table_worked_by_hand():
    """Errors of the folds, seeds averaged: .025, .075, .125, .175; s² = .0125 / 3."""
    example = worked_example()
    table = learning_table(example)
    assert len(table) == 1
    found = row(table, arm="a", subset=1.0)
    assert found.error == pytest.approx(0.1)
    assert found.sem == pytest.approx((0.0125 / 3) ** 0.5 / 2)
    assert (found.n_train, found.folds, found.seeds, found.runs) == (42, 4, 2, 8)
    assert found.text == "0.10(3)"
    lost = learning_table(example[~((example["fold"] == 2) & (example["seed"] == 1))])
    assert (lost["seeds"].item(), lost["runs"].item()) == (2, 7)
    single = learning_table(example[example["fold"] == 1]).iloc[0]
    assert np.isnan(single["sem"])
    assert single["text"] == "0.075"
