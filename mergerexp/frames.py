"""Conversion of data frames, and of their cells."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

FORMULA = r"^[=+\-@\t\r\n]"  # a cell that a spreadsheet would run


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a data frame as dictionaries, whose keys are the names of the columns as text."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def safe_csv_text(text: str) -> str:
    """Return a text for a CSV file, which a spreadsheet will not take for a formula.

    Excel and LibreOffice run a cell that begins with ``=``, ``+``, ``-`` or ``@``, or with a tab or line
    break before it. An apostrophe in front makes it a text; other texts are returned as they are.

    Examples
    --------
    >>> safe_csv_text("=1+1"), safe_csv_text("merger/1.png")
    ("'=1+1", 'merger/1.png')
    """
    return f"'{text}" if re.match(FORMULA, text) else text
