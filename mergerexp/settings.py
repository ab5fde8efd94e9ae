"""A key of the configuration: what it means, and which values it may have.

The dataclasses of `mergerexp.config.schema` and of the simulator declare their fields with `setting`;
`mergerexp.config.bounds` checks values against it, and ``--help`` shows it.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import Any

INF = float("inf")
DECLARED = "setting"  # where a field's metadata holds its `Setting`


@dataclass(frozen=True)
class Setting:
    """The declaration of a key.

    Attributes
    ----------
    meaning
        What the key means, for ``--help``.
    low, high
        Inclusive bounds of a number, or of every entry of a list of numbers.
    above
        Exclusive lower bound.
    choices
        The allowed strings; empty where any will do.
    word
        The text that may stand in place of a number; empty where none may.
    unit
        The unit of a number.
    neutral
        The first entry of a list of strengths, which changes nothing; the others go away from it.
    identity
        False if the key cannot change a run's result, and so has no part in its fingerprint.
    """

    meaning: str
    low: float = -INF
    high: float = INF
    above: float = -INF
    choices: tuple[str, ...] = ()
    word: str = ""
    unit: str = ""
    neutral: float | None = None
    identity: bool = True

    @property
    def limits(self) -> str:
        """The allowed values in words; empty where all are allowed."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        floor = f"above {_text(self.above)}" if self.above > -INF else f"at least {_text(self.low)}"
        limits = [floor] if max(self.above, self.low) > -INF else []
        limits += [f"at most {_text(self.high)}"] if self.high < INF else []
        return (f"{self.word}, or a number that is " if self.word else "") + " and ".join(limits)

    @property
    def short_limits(self) -> str:
        """The allowed values in fewer words, for a list of many keys."""
        if self.choices or self.low == -INF or self.high == INF:
            return self.limits
        return (f"{self.word} or " if self.word else "") + f"{_text(self.low)} to {_text(self.high)}"

    def problem(self, value: Any) -> str | None:
        """Say why a single value is not allowed; None if it is."""
        if self.choices and value not in self.choices:
            return f"choose {self.limits}"
        if self.word and isinstance(value, str) and value != self.word:
            return f"must be {self.limits}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        # Python compares integers of any length with floats; `math.isfinite` does not take them.
        finite = isinstance(value, int) or math.isfinite(value)
        if finite and self.low <= value <= self.high and value > self.above:
            return None
        return f"must be {self.limits or 'a finite number'}"

    def problem_of_strengths(self, strengths: list[float]) -> str | None:
        """Say why a list of strengths does not begin with the neutral one and grow ever more severe."""
        if self.neutral is None:
            return None
        away = [abs(strength - self.neutral) for strength in strengths]
        if len(away) > 1 and away[0] == 0 and all(a < b for a, b in itertools.pairwise(away)):
            return None
        return (
            f"must begin with {self.neutral:g}, which changes nothing, and grow more severe with each entry"
        )


def _text(number: float) -> str:
    return f"{number:.0f}" if float(number).is_integer() else f"{number:g}"


def setting(
    meaning: str, low: float = -INF, high: float = INF, *, default: Any = dataclasses.MISSING, **more: Any
) -> Any:
    """Declare a key, in general without a default: its value must come from YAML or an override.

    Parameters
    ----------
    meaning, low, high, **more
        See `Setting`.
    default
        The value for programs that leave it out.
    """
    return dataclasses.field(default=default, metadata={DECLARED: Setting(meaning, low, high, **more)})


def declared(field: dataclasses.Field[Any]) -> Setting | None:
    """Return the declaration of a dataclass field; None for one that holds another group of keys."""
    found: Setting | None = field.metadata.get(DECLARED)
    return found
