"""The words for a study's two classes: a report on odd galaxies must not speak of mergers."""

from __future__ import annotations

from typing import NamedTuple


class Words(NamedTuple):
    """Names of the classes, as they stand in a sentence.

    Attributes
    ----------
    one
        What a galaxy of the rare class is called, such as "a merger" or "odd".
    many
        The galaxies of the rare class, such as "mergers" or "odd galaxies".
    others
        The galaxies of the other class, such as "non-interacting galaxies" or "ordinary galaxies".
    """

    one: str = "a merger"
    many: str = "mergers"
    others: str = "non-interacting galaxies"

    @classmethod
    def of(cls, positive: str, negative: str) -> Words:
        """Return the words for two classes of a data set."""
        one, many = (cls().one, cls().many) if positive == "merger" else (positive, f"{positive} galaxies")
        others = cls().others if negative == "noninteracting" else f"{negative} galaxies"
        return cls(one, many, others)
