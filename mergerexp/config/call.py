"""A call of a verb, composed and validated: a single run, or all combinations of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from mergerexp.config.launcher import Options

Config = TypeVar("Config")


@dataclass(frozen=True)
class Cell(Generic[Config]):
    """One combination of a sweep's values.

    Attributes
    ----------
    overrides
        The overrides that make it.
    cfg
        Its config.
    label
        The overrides that tell it from the sweep's other cells; empty for a single run.
    """

    overrides: tuple[str, ...]
    cfg: Config
    label: str = ""


@dataclass(frozen=True)
class Call(Generic[Config]):
    """What a verb is called with.

    Attributes
    ----------
    cells
        All combinations, of which there is at least one.
    launcher
        Options of the launcher that is to start them; None for this process.
    """

    cells: Sequence[Cell[Config]]
    launcher: Options | None = None

    @property
    def configs(self) -> list[Config]:
        """The cells' configs."""
        return [cell.cfg for cell in self.cells]


class Done(NamedTuple):
    """What a verb hands back.

    Attributes
    ----------
    exit_code
        0 if all went well.
    values
        For a sweeper that optimises it, the value of each cell; None for a cell that failed.
    """

    exit_code: int = 0
    values: Sequence[Any] = ()


def differences(cells: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return, for each cell's overrides, those that not all cells share."""
    shared = set.intersection(*(set(cell) for cell in cells)) if len(cells) > 1 else set()
    return [[override for override in cell if override not in shared] for cell in cells]


def labels(cells: Sequence[Sequence[str]]) -> list[str]:
    """Return what tells each cell of a sweep from the others; empty for a single one."""
    return [" ".join(cell) for cell in differences(cells)] if len(cells) > 1 else [""] * len(cells)
