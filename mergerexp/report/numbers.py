"""How numbers are written in tables, in figures and on the page."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

import numpy as np

from mergerexp.analysis.significance import shorthand

GRID = 1000  # how many steps of p_m between 0 and 1 can be chosen as thresholds
LEAST = 0.0001  # the last decimal of p_m that is written
# The level of the one-tailed tests in either direction, which is that of a two-sided 95 % interval.
LEVEL = 0.025


def p_m_text(p_m: float) -> str:
    """Return p_m with four decimals, rounded down where rounding up would carry it to a higher threshold.

    At a threshold of 0.997, for example, a galaxy with p_m = 0.99696 is not called a merger. Written as
    0.9970, it would seem to have been left out by mistake. What is nearer to 0 or 1 than the last decimal is
    written as <0.0001 or >0.9999.

    Raises
    ------
    ValueError
        If p_m is outside [0, 1].
    """
    if not 0 <= p_m <= 1:
        raise ValueError(f"p_m must lie in [0, 1], without NaN, not {p_m}")
    if p_m < LEAST or p_m > 1 - LEAST:
        return f"<{LEAST:.4f}" if p_m < LEAST else f">{1 - LEAST:.4f}"
    rounded = f"{p_m:.4f}"
    reaches_more = int(float(rounded) * GRID + 1e-9) > int(p_m * GRID + 1e-9)
    return f"{float(rounded) - LEAST:.4f}" if reaches_more else rounded


def p_value_text(p: float) -> str:
    """Return a p-value with as many digits as matter, so that it is on the right side of the level.

    Written with three decimals, 0.0249 and 0.0251 would look alike, although the verdicts differ.
    """
    if p != p:
        return ""
    if p < 1e-4 or p > 0.995:
        return "< 0.0001" if p < 1e-4 else "> 0.99"
    usual = 4 if p < 0.01 else 3 if p < 0.1 else 2
    written = (f"{p:.{digits}f}" for digits in count(usual))
    return next(text for text in written if _sides(float(text)) == _sides(p))


def _sides(p: float) -> list[float]:
    """Tell where a p-value is of the level in either direction: -1 is below, 0 at it, and 1 above."""
    return [np.sign(p - level) for level in (LEVEL, 1 - LEVEL)]


def mean_text(row: Mapping[str, Any]) -> str:
    """Return a mean over folds, with its standard error if there are several folds, such as 0.17(1)."""
    return shorthand(row["mean"], row["sem"])


def equals(p: float) -> str:
    """Return a p-value with the sign that follows the letter p in a sentence."""
    text = p_value_text(p)
    return text if text[:1] in ("<", ">") else f"= {text}"
