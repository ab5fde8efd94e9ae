"""The calibrators of a fold's model: fitted on its test fold, and once more without each part of it.

A model rates the objects of its own test fold, on which its calibrator was fitted. The probability of such an
object comes from a calibrator that was fitted without the object's part (cross-fitting).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergerexp.analysis.calibrators import Calibrator, calibrator_class, calibrator_from_dict
from mergerexp.errors import UserError, describe
from mergerexp.files import read_json, write_json

PARTS = 5
METHODS = ("platt", "isotonic")


def draw_parts(test: pd.DataFrame, seed: int) -> NDArray[np.int8]:
    """Divide the galaxies of a test fold into `PARTS` parts, with each group in one part.

    Parameters
    ----------
    test
        The galaxies, with the columns objid, label and group.
    seed
        The seed of the division, which does not depend on the order of the galaxies.

    Returns
    -------
    ndarray
        The part of each galaxy, shape (n,).
    """
    from sklearn.model_selection import StratifiedGroupKFold  # here, since it takes a while to load

    order = np.argsort(test["objid"].to_numpy(), kind="stable")
    label, group = (test[name].to_numpy()[order] for name in ("label", "group"))
    part = np.zeros(len(test), dtype=np.int8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes with few galaxies, whose parts are then without one
        splitter = StratifiedGroupKFold(PARTS, shuffle=True, random_state=seed % 2**32)
        if len(np.unique(group)) < PARTS:
            return part
        for number, (_, members) in enumerate(splitter.split(label, label, group)):
            part[order[members]] = number
    return part


@dataclass(frozen=True)
class FoldCalibrators:
    """The calibrators of one method for a fold's model.

    Attributes
    ----------
    whole
        The calibrator that was fitted to the whole test fold.
    without
        The calibrator that was fitted without each part; None where the rest had galaxies of one class only.
    """

    whole: Calibrator
    without: tuple[Calibrator | None, ...]

    @classmethod
    def fit(cls, method: str, test: pd.DataFrame, part: NDArray[np.int8]) -> FoldCalibrators:
        """Fit the calibrators to the label and p_m of a test fold, whose galaxies are in parts."""
        kind = calibrator_class(method)

        def fitted(rows: pd.DataFrame) -> Calibrator | None:
            return kind.fit(rows["label"], rows["p_m"]) if rows["label"].nunique() == 2 else None

        whole = kind.fit(test["label"], test["p_m"])
        return cls(whole, tuple(fitted(test[part != number]) for number in range(PARTS)))

    def of_part(self, part: int) -> Calibrator | None:
        """Return the calibrator for objects of a part, and for those of none (-1) the whole one."""
        return self.whole if part < 0 else self.without[part]


def write_calibrators(path: Path, test: pd.DataFrame, part: NDArray[np.int8]) -> None:
    """Fit the calibrators of every method to a test fold, and write them."""
    content = {}
    for method in METHODS:
        fitted = FoldCalibrators.fit(method, test, part)
        content[method] = {
            "whole": fitted.whole.to_dict(),
            "without": [None if each is None else each.to_dict() for each in fitted.without],
        }
    write_json(path, content)


def read_calibrators(path: Path) -> dict[str, FoldCalibrators]:
    """Read the calibrators of a fold's model, by method.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    try:
        content: dict[str, Any] = read_json(path)
        return {method: _from_dict(content[method]) for method in METHODS}
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path} has no calibrators of {', '.join(METHODS)} ({describe(error)})") from error


def _from_dict(content: dict[str, Any]) -> FoldCalibrators:
    without = [None if each is None else calibrator_from_dict(each) for each in content["without"]]
    return FoldCalibrators(calibrator_from_dict(content["whole"]), tuple(without))
