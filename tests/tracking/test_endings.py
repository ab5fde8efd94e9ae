"""How training ended, from what a run keeps."""

from __future__ import annotations

import pytest

from mergerexp.tracking.endings import CUT_OFF, DIVERGED, UNTUNED, caveats


@pytest.mark.parametrize(
    ("best", "epochs", "found"),
    [
        (3, 12, []),  # eight epochs without a better one
        (16, 25, []),  # the same, and no epoch was left
        (17, 25, [CUT_OFF]),
        (24, 25, [CUT_OFF]),
        (-1, 8, [UNTUNED]),
        (-1, 5, [UNTUNED, DIVERGED]),
        (4, 7, [DIVERGED]),
    ],
)
def test_caveats(best, epochs, found):
    metrics = {"run/best_epoch": float(best), "run/finetune_epochs": float(epochs)}
    assert caveats(metrics, max_epochs=25, patience=8) == found


def test_a_rule_has_none():
    assert caveats({"test/error": 0.2}, max_epochs=25, patience=8) == []
