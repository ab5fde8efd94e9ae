"""Numbers are written alike wherever they stand."""

from __future__ import annotations

import numpy as np
import pytest

from mergerexp.report.numbers import GRID, LEVEL, p_m_text, p_value_text
from mergerexp.report.page.explorer import cells_of


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.9966, "0.9966"),
        (0.99696, "0.9969"),
        (0.49999, "0.4999"),
        (0.9999999, ">0.9999"),
        (0.99991, ">0.9999"),
        (0.9999, "0.9999"),
        (0.0001, "0.0001"),
        (0.00009, "<0.0001"),
        (0.5, "0.5000"),
        (0, "<0.0001"),
        (1, ">0.9999"),
        (0.12344, "0.1234"),
        (0.12346, "0.1235"),
    ],
)
def test_p_m_is_rounded_not_cut(p, text):
    assert p_m_text(p) == text


def test_p_m_as_it_is_written_reaches_the_thresholds_that_it_reaches():
    rng = np.random.default_rng(0)
    p = np.concatenate([rng.random(2000), 1 - 10 ** rng.uniform(-9, 0, 2000), np.arange(GRID + 1) / GRID])
    within = p[(p >= 1e-4) & (p <= 1 - 1e-4)]
    written = [p_m_text(value) for value in within]
    assert {len(text) for text in written} == {len("0.1234")}
    assert (cells_of(list(map(float, written))) == cells_of(within)).all()
    assert np.abs(np.array(written, dtype=float) - within).max() <= 1e-4


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (float("nan"), ""),
        (9e-5, "< 0.0001"),
        (0.0012, "0.0012"),
        (0.0213, "0.021"),
        (0.0249, "0.0249"),
        (0.0251, "0.0251"),
        (0.025, "0.025"),
        (0.024998, "0.024998"),
        (0.9749, "0.97"),
        (0.9751, "0.98"),
        (0.975, "0.975"),
        (0.3, "0.30"),
        (0.99996, "> 0.99"),
    ],
)
def test_p_values(p, text):
    assert p_value_text(p) == text


def test_p_as_it_is_written_is_on_the_side_of_the_level_that_it_is_on():
    rng = np.random.default_rng(0)
    near = [level + sign * 10 ** rng.uniform(-9, -1, 500) for level in (LEVEL, 1 - LEVEL) for sign in (-1, 1)]
    for p in np.concatenate(near):
        if 1e-4 < p <= 0.995:
            shown = float(p_value_text(p))
            assert (shown < LEVEL, shown > 1 - LEVEL) == (p < LEVEL, p > 1 - LEVEL)
