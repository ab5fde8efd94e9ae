"""Conversion of data frames, and of texts that go into tables."""

from __future__ import annotations

from typing import Any

import pandas as pd


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a data frame as dictionaries, whose keys are the names of the columns as text."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def safe_csv_text(text: str) -> str:
    """Return a text for a cell of a CSV, with an apostrophe before what a spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text
