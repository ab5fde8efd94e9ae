"""What a study's two classes are called: a report on odd galaxies must not speak of mergers."""

from __future__ import annotations

from typing import NamedTuple


class Words(NamedTuple):
    """Names of the classes, as they stand in a sentence.

    Attributes
    ----------
    one
        What a galaxy is called: "a merger", "odd".
    many
        Galaxies of the rare class: "mergers", "odd galaxies".
    others
        Those of the other: "non-interacting galaxies", "ordinary galaxies".
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
