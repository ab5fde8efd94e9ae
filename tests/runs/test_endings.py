"""How training ended, from what a run keeps."""

from __future__ import annotations

import pytest

from mergerexp.runs.endings import CUT_OFF, DIVERGED, UNTUNED, caveats


@pytest.mark.parametrize(
    ("best", "epochs", "diverged", "found"),
    [
        (3, 12, False, []),  # eight epochs without a better one
        (16, 25, False, []),  # the same, and no epoch was left
        (17, 25, False, [CUT_OFF]),
        (24, 25, False, [CUT_OFF]),
        (-1, 8, False, [UNTUNED]),
        (-1, 5, True, [UNTUNED, DIVERGED]),
        (4, 7, True, [DIVERGED]),
        (23, 25, True, [DIVERGED]),  # in the last epoch that it was allowed
    ],
)
def test_caveats(best, epochs, diverged, found):
    metrics = {"run/best_epoch": best, "run/finetune_epochs": epochs, "run/diverged": diverged}
    metrics = {name: float(value) for name, value in metrics.items()}
    assert caveats(metrics, max_epochs=25, patience=8) == found


def test_a_rule_has_none():
    assert caveats({"test/error": 0.2}, max_epochs=25, patience=8) == []
