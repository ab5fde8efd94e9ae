"""Small images of some test galaxies, kept with a run: a report can show what was right and wrong.

They go into the record so that a report needs no access to the data set.
"""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from mergerexp.seeding import seed_for

SIDE = 128  # pixels, at most
OUTCOME = 16  # random draws of each of true and false positives and negatives
CONFIDENT = 8  # most confident mistakes of each kind
BIN = 2  # of each class in each tenth of p_m


def choose_examples(predictions: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Choose test galaxies to show, the same ones in different runs as far as their p_m allow.

    Parameters
    ----------
    predictions
        objid, split, label, p_m of a run.
    seed
        Of the order in which galaxies are drawn; each one's place depends on its objid alone.

    Returns
    -------
    DataFrame
        objid (int64, ascending) and drawn (bool): chosen at random from its outcome, the others for their
        p_m.
    """
    test = predictions[predictions["split"] == "test"]
    order = [np.random.default_rng([seed, abs(objid)]).random() for objid in test["objid"].tolist()]
    test = test.assign(order=order).sort_values("order")
    called = test["p_m"] >= 0.5
    wrong = test[called != (test["label"] == 1)]
    doubt = (wrong["p_m"] - 0.5).abs()
    tenth = (test["p_m"] * 10).astype(int).clip(upper=9)
    drawn = test.groupby(["label", called]).head(OUTCOME)["objid"]
    parts = [
        drawn,
        wrong.assign(doubt=doubt)
        .sort_values("doubt", ascending=False)
        .groupby("label")
        .head(CONFIDENT)["objid"],
        test.groupby(["label", tenth]).head(BIN)["objid"],
    ]
    chosen = np.unique(np.concatenate([part.to_numpy() for part in parts]))
    return pd.DataFrame({"objid": chosen, "drawn": np.isin(chosen, drawn)})


def run_examples(
    predictions: pd.DataFrame, images: NDArray[np.uint8], objids: NDArray[np.int64], split_seed: int
) -> pd.DataFrame:
    """Choose the examples of a run and make them small.

    Parameters
    ----------
    predictions
        As stored.
    images, objids
        Of the data set; uint8 of shape (N, H, W, 3), and (N,).
    split_seed
        What the draw depends on, besides the predictions.

    Returns
    -------
    DataFrame
        objid, drawn (see `choose_examples`), jpeg (bytes).
    """
    chosen = choose_examples(predictions, seed_for(split_seed, "examples"))
    row_of = pd.Series(np.arange(len(objids)), index=objids)
    return chosen.assign(jpeg=[_jpeg(images[row]) for row in row_of[chosen["objid"]]])


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
