"""Small images of some test galaxies, kept with a run: a report can show what was right and wrong.

They go into the record so that a report needs no access to the data set.
"""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from mergerexp.data.seeding import seed_for

SIDE = 128  # pixels, at most
OUTCOME = 16  # random draws of each of true and false positives and negatives
CONFIDENT = 8  # most confident mistakes of each kind
BIN = 2  # of each class in each tenth of p_m


def choose_examples(predictions: pd.DataFrame, seed: int) -> NDArray[np.int64]:
    """Choose test galaxies to show, the same ones in different runs as far as their p_m allow.

    Parameters
    ----------
    predictions
        objid, split, label, p_m of a run.
    seed
        Of the order in which galaxies are drawn; each one's place depends on its objid alone.

    Returns
    -------
    ndarray
        Sorted objids, int64.
    """
    test = predictions[predictions["split"] == "test"]
    order = [np.random.default_rng([seed, objid]).random() for objid in test["objid"].abs()]
    test = test.assign(order=order).sort_values("order")
    called = test["p_m"] >= 0.5
    wrong = test[called != (test["label"] == 1)]
    doubt = (wrong["p_m"] - 0.5).abs()
    tenth = (test["p_m"] * 10).astype(int).clip(upper=9)
    parts = [
        test.groupby(["label", called]).head(OUTCOME),
        wrong.assign(doubt=doubt).sort_values("doubt", ascending=False).groupby("label").head(CONFIDENT),
        test.groupby(["label", tenth]).head(BIN),
    ]
    return np.unique(np.concatenate([part["objid"].to_numpy() for part in parts]))


def encode_examples(objids: NDArray[np.int64], images: NDArray[np.uint8]) -> pd.DataFrame:
    """Return objid and jpeg (bytes) of images, uint8 of shape (n, H, W, 3), made small where they are not."""
    return pd.DataFrame({"objid": objids, "jpeg": [_jpeg(image) for image in images]})


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def run_examples(
    predictions: pd.DataFrame, images: NDArray[np.uint8], objids: NDArray[np.int64], split_seed: int
) -> pd.DataFrame:
    """Choose and encode the examples of a run.

    Parameters
    ----------
    predictions
        As stored.
    images, objids
        Of the data set; shapes (N, H, W, 3) and (N,).
    split_seed
        What the draw depends on, besides the predictions.
    """
    chosen = choose_examples(predictions, seed_for(split_seed, "examples"))
    rows = np.flatnonzero(np.isin(objids, chosen))
    return encode_examples(objids[rows], images[rows])
