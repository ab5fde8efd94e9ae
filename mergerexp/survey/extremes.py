"""The objects with the highest and the lowest p_best, as Table 2 of the paper lists them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mergerexp.frames import safe_csv_text, sexagesimal

DECIMALS = 6  # of probabilities, as in the paper


class Extremes:
    """Keeps the objects at one end of p_best while the rows of a catalogue pass by.

    Objects of the training set are left out, since fewer networks rate them. Of objects with equal p_best,
    which saturates, the one with the more extreme p_logitmean comes first; then the one of the earlier row.

    Parameters
    ----------
    number
        How many objects are kept.
    highest
        Whether these are the ones with the highest p_best, or the lowest.
    """

    def __init__(self, number: int, highest: bool) -> None:
        self._number, self._sign = number, -1.0 if highest else 1.0
        self._kept: pa.Table | None = None

    def add(self, table: pa.Table) -> None:
        """Look at further rows."""
        own = pc.and_(pc.is_valid(table["p_best"]), pc.invert(table["in_training_set"]))
        candidates = table.filter(own)
        if self._kept is not None and self._kept.num_rows == self._number:
            limit = self._ranks(self._kept)[0].max()
            candidates = candidates.filter(pa.array(self._ranks(candidates)[0] <= limit))
        both = candidates if self._kept is None else pa.concat_tables([self._kept, candidates])
        best, mean = self._ranks(both)
        self._kept = both.take(np.lexsort((mean, best))[: self._number])

    def _ranks(self, table: pa.Table) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what the rows are sorted by, the first ones first."""
        best, mean = (table[name].to_numpy() * self._sign for name in ("p_best", "p_logitmean"))
        return best, mean

    def frame(self, columns: Sequence[str]) -> pd.DataFrame:
        """Return the objects, the most extreme first, in the format of Table 2.

        Parameters
        ----------
        columns
            The columns, of which some may not be there.

        Returns
        -------
        DataFrame
            Positions are ``HH:MM:SS.ss`` and ``±DD:MM:SS.s``, and empty where they are not known.
        """
        if self._kept is None:
            return pd.DataFrame(columns=list(columns))
        frame: pd.DataFrame = self._kept.select(columns).to_pandas()
        known = frame["ra"].notna() & frame["dec"].notna()
        texts = sexagesimal(frame.loc[known, "ra"].to_numpy(), frame.loc[known, "dec"].to_numpy())
        for name, values in zip(("ra", "dec"), texts, strict=True):
            frame[name] = frame[name].astype(object).where(known, "")
            frame.loc[known, name] = values
        if not pd.api.types.is_integer_dtype(frame["objid"]):
            frame["objid"] = frame["objid"].map(safe_csv_text)
        return frame
