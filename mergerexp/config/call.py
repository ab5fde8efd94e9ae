"""A call of a verb, composed and validated: a single run, or all combinations of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from mergerexp.config.schema import TrainerConfig, unused_groups
from mergerexp.settings import declared

if TYPE_CHECKING:
    from mergerexp.config.launcher import Options

Config = TypeVar("Config")
# The keys of the trainer that can't change a result.
WITHOUT_RESULT = {
    field.name for field in fields(TrainerConfig) if (known := declared(field)) and not known.identity
}


@dataclass(frozen=True)
class Cell(Generic[Config]):
    """One combination of a sweep's values.

    Attributes
    ----------
    overrides
        The overrides that make the cell.
    cfg
        The config of the cell.
    label
        The overrides that tell the cell from the others of the sweep; empty for a single run.
    """

    overrides: tuple[str, ...]
    cfg: Config
    label: str = ""


@dataclass(frozen=True)
class Call(Generic[Config]):
    """The argument of a verb: all cells of a sweep, and the launcher that is to start them.

    Attributes
    ----------
    cells
        All combinations, of which there is at least one.
    launcher
        The options of the launcher; None if the cells are to run in this process.
    """

    cells: Sequence[Cell[Config]]
    launcher: Options | None = None

    @property
    def configs(self) -> list[Config]:
        """The configs of the cells."""
        return [cell.cfg for cell in self.cells]


class Done(NamedTuple):
    """The result of a verb.

    Attributes
    ----------
    exit_code
        0 if all went well.
    values
        The value of each cell, for a sweeper that optimises it; None for a cell that failed.
    """

    exit_code: int = 0
    values: Sequence[Any] = ()


def without_effect(cells: Sequence[Cell[Any]]) -> list[str]:
    """Return the overrides that none of the cells with them makes use of, because of the model's kind.

    An override of a sweep over several kinds of models is meant for those that use it. Keys that can't change
    a result, such as the number of threads, may have their use with all.
    """
    used: dict[str, bool] = {}
    for cell in cells:
        unused = unused_groups(getattr(getattr(cell.cfg, "model", None), "kind", None))
        for override in cell.overrides:
            group, _, key = override.lstrip("+~").partition("=")[0].partition(".")
            is_used = group not in unused or key in WITHOUT_RESULT
            used[override] = used.get(override, False) or is_used
    return [override for override, is_used in used.items() if not is_used]


def differences(cells: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return, for each cell's overrides, those that not all cells share."""
    shared = set.intersection(*(set(cell) for cell in cells)) if len(cells) > 1 else set()
    return [[override for override in cell if override not in shared] for cell in cells]


def cell_labels(cells: Sequence[Sequence[str]]) -> list[str]:
    """Return a text with the overrides that not all cells share, for each cell; empty for a single one."""
    return [" ".join(cell) for cell in differences(cells)] if len(cells) > 1 else [""] * len(cells)
