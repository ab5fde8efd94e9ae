"""Small images of some test galaxies, with which a report can show correct and wrong predictions.

They are kept in the record of a run, so that a report needs no access to the data set.
"""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from mergerexp.data.store import Dataset
from mergerexp.seeding import seed_for

SIDE = 128  # the largest side in pixels
OUTCOME = 16  # random galaxies for each of true and false positives and negatives
CONFIDENT = 8  # the most confident mistakes about each class
BIN = 2  # galaxies of each class in each tenth of p_m


def choose_examples(predictions: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Choose test galaxies to show, which are the same in different runs as far as their p_m allow.

    Parameters
    ----------
    predictions
        The predictions of a run, with the columns objid, split, label and p_m.
    seed
        The seed of the order in which galaxies are drawn. The place of a galaxy depends on its objid alone.

    Returns
    -------
    DataFrame
        The columns objid (int64, ascending) and drawn (bool), which is true for a galaxy that was drawn at
        random from its outcome, and false for one that was chosen for its p_m.
    """
    test = predictions[predictions["split"] == "test"]
    order = [np.random.default_rng([seed, abs(objid)]).random() for objid in test["objid"].tolist()]
    doubt = (test["p_m"] - 0.5).abs()
    test = test.assign(order=order, doubt=doubt).sort_values("order")
    called = test["p_m"] >= 0.5
    wrong = test[called != (test["label"] == 1)].sort_values("doubt", ascending=False)
    tenth = (test["p_m"] * 10).astype(int).clip(upper=9)
    drawn = test.groupby(["label", called]).head(OUTCOME)["objid"]
    confident = wrong.groupby("label").head(CONFIDENT)["objid"]
    spread = test.groupby(["label", tenth]).head(BIN)["objid"]
    chosen = np.unique(np.concatenate([drawn, confident, spread]))
    return pd.DataFrame({"objid": chosen, "drawn": np.isin(chosen, drawn)})


def run_examples(predictions: pd.DataFrame, dataset: Dataset, split_seed: int) -> pd.DataFrame:
    """Choose the examples of a run, and make small images of them.

    Parameters
    ----------
    predictions
        The predictions of the run.
    dataset
        The data set that the run was trained on.
    split_seed
        The seed of the split, which the draw depends on.

    Returns
    -------
    DataFrame
        The columns objid and drawn (see `choose_examples`) and jpeg (bytes).
    """
    chosen = choose_examples(predictions, seed_for(split_seed, "examples"))
    rows = dataset.rows_of(chosen["objid"].to_numpy())
    return chosen.assign(jpeg=[_jpeg(dataset.images[row]) for row in rows])


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
