"""Conversion of data frames, and of their cells."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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


def sexagesimal(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> tuple[list[str], list[str]]:
    """Return positions in degrees as Table 2 of the paper writes them: ``HH:MM:SS.ss`` and ``±DD:MM:SS.s``.

    Examples
    --------
    >>> sexagesimal(np.array([359.99999999, 15.0]), np.array([-0.0014, 59.96 / 3600]))
    (['00:00:00.00', '01:00:00.00'], ['-00:00:05.0', '+00:01:00.0'])
    """
    if not len(ra):
        return [], []
    from astropy.coordinates import Angle  # takes seconds to import

    # Rounded first, so that what is rounded up to 24 hours is 0.
    seconds = np.round(ra / 360 * 86_400, 2) % 86_400
    hours = Angle(seconds / 3600, "hourangle").to_string(sep=":", pad=True, precision=2)
    degrees = Angle(dec, "deg").to_string("deg", sep=":", pad=True, precision=1, alwayssign=True)
    return [str(each) for each in hours], [str(each) for each in degrees]
