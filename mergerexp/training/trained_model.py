"""The result of a run: a trained model and its predictions, whatever kind of model it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

Row = dict[str, Any]


@dataclass(frozen=True)
class TrainedModel:
    """A trained model, and how it rates the validation and test galaxies.

    Attributes
    ----------
    predictions
        The predictions (see `mergerexp.training.predictions.prediction_table`).
    save
        The function that writes ``model.safetensors`` and ``model.json`` to a folder.
    history
        A row for each epoch; empty where there are no epochs.
    metrics
        The facts of the training by name (``run/...``).
    """

    predictions: pd.DataFrame
    save: Callable[[Path], None]
    history: list[Row]
    metrics: dict[str, float]
