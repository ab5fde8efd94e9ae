"""How numbers are written in tables, in figures and on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mergerexp.analysis.significance import shorthand

GRID = 1000  # how many steps of p_m between 0 and 1 can be chosen as thresholds


def p_m_text(p_m: float) -> str:
    """Return p_m rounded to four decimals, or more where it would seem to reach a threshold that it does not.

    At a threshold of 0.997, for example, a galaxy with p_m = 0.99696 is not called a merger. Written as
    0.9970, it would seem to have been left out by mistake.

    Raises
    ------
    ValueError
        If p_m is outside [0, 1].
    """
    if not 0 <= p_m <= 1:
        raise ValueError(f"p_m must lie in [0, 1], without NaN, not {p_m}")
    for decimals in (4, 5, 6):
        text = f"{p_m:.{decimals}f}"
        if int(float(text) * GRID + 1e-9) == int(p_m * GRID + 1e-9):
            return text
    return f"{int(p_m * 1e6) / 1e6:.6f}"


def p_value_text(p: float) -> str:
    """Return a p-value with as many digits as matter."""
    if p != p:
        return ""
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.01 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def mean_text(row: Mapping[str, Any]) -> str:
    """Return a mean over folds, with its standard error if there are several folds, such as 0.17(1)."""
    return shorthand(row["mean"], row["sem"])


def equals(p: float) -> str:
    """Return a p-value with the sign that follows the letter p in a sentence."""
    text = p_value_text(p)
    return text if text.startswith("<") else f"= {text}"
