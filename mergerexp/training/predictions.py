"""The predictions of a run: p_m of every validation and test galaxy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mergerexp.batches.images import ImageStore
from mergerexp.data.splits import Split
from mergerexp.data.store import Dataset
from mergerexp.models.classifier import Classifier, exact_float32, merger_probability


@torch.inference_mode()
def predict_logits(
    classifier: Classifier, images: ImageStore, rows: NDArray[np.int64], batch: int
) -> NDArray[np.float32]:
    """Return the logits of some images in float32, shape (n, 2), without augmentation."""
    classifier.eval()
    with exact_float32():
        logits = [
            classifier(images.scaled(images.pixels(rows[start : start + batch]))).float().cpu().numpy()
            for start in range(0, len(rows), batch)
        ]
    return np.concatenate(logits)


def predict_split(
    classifier: Classifier, images: ImageStore, dataset: Dataset, split: Split, batch: int
) -> pd.DataFrame:
    """Rate the validation and test galaxies of a run with its network, as `prediction_table` does."""

    def rate(rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        logits = predict_logits(classifier, images, rows, batch)
        return merger_probability(logits), logits

    return prediction_table(dataset, split, rate)


def prediction_table(
    dataset: Dataset,
    split: Split,
    rate: Callable[[NDArray[np.int64]], tuple[NDArray[np.float64], NDArray[np.float32]]],
) -> pd.DataFrame:
    """Rate the validation and test galaxies of a run.

    Parameters
    ----------
    dataset
        The data set.
    split
        The galaxies that validate and test.
    rate
        A function of rows of the data set, which returns p_m, shape (n,), and logits, shape (n, 2).

    Returns
    -------
    DataFrame
        One row for each galaxy: objid, group (int64; that of images of one object or encounter), split
        (``val`` or ``test``), label, file (where the source has files), p_m (float64), logit_0 and logit_1
        (float32).
    """
    columns = [name for name in ("objid", "group", "label", "file") if name in dataset.catalogue]
    parts = []
    for name, rows in (("val", split.val), ("test", split.test)):
        p_m, logits = rate(rows)
        galaxies = dataset.catalogue[columns].iloc[rows]
        galaxies.insert(2, "split", name)
        parts.append(galaxies.assign(p_m=p_m, logit_0=logits[:, 0], logit_1=logits[:, 1]))
    return pd.concat(parts, ignore_index=True)
