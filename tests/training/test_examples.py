"""The images that a run keeps of its test galaxies."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mergerexp.data.store import Dataset
from mergerexp.training.examples import BIN, CONFIDENT, OUTCOME, choose_examples, run_examples


def predictions(n: int = 2000, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    p_m = 1 / (1 + np.exp(-rng.normal(3 * (2 * label - 1), 3)))
    split = np.where(np.arange(n) < n // 4, "val", "test")
    return pd.DataFrame({"objid": 10**18 + np.arange(n), "split": split, "label": label, "p_m": p_m})


def test_every_kind_is_there():
    rated = predictions()
    chosen = choose_examples(rated, seed=1)
    shown = rated.merge(chosen, on="objid")
    assert set(shown["split"]) == {"test"}
    assert len(chosen) <= 4 * OUTCOME + 2 * CONFIDENT + 20 * BIN
    drawn = shown[shown["drawn"]]
    assert (drawn.groupby(["label", drawn["p_m"] >= 0.5]).size() == OUTCOME).all()
    test = rated[rated["split"] == "test"]
    for label, worst in ((1, "min"), (0, "max")):
        assert test.loc[test["label"] == label, "p_m"].agg(worst) in set(shown["p_m"])
    assert set((shown["p_m"] * 10).astype(int)) == set(range(10))


@pytest.mark.slow
def test_drawn_ones_are_fair_and_the_same_in_other_runs():
    """Every galaxy of an outcome has the same chance; its place does not depend on who rated it, or when."""
    rated = predictions(400)
    often = np.zeros(400)
    for seed in range(300):
        chosen = choose_examples(rated, seed)
        often[chosen.loc[chosen["drawn"], "objid"].to_numpy() - 10**18] += 1
    test = rated[rated["split"] == "test"]
    right = test[(test["p_m"] >= 0.5) & (test["label"] == 1)]
    counts = often[right.index]
    chance = OUTCOME / len(right)
    assert abs(counts.mean() / 300 - chance) < 1e-12
    spread = np.sqrt(300 * chance * (1 - chance))
    assert abs(counts - 300 * chance).max() < 4.5 * spread
    shuffled = rated.sample(frac=1, random_state=1)
    assert choose_examples(shuffled, 3).equals(choose_examples(rated, 3))


def test_images_are_those_of_the_galaxies():
    rated = predictions(300)
    images = np.zeros((300, 200, 200, 3), dtype=np.uint8)
    images[:] = (np.arange(300) % 256).astype(np.uint8)[:, None, None, None]
    catalogue, order = rated[["objid", "label"]], np.random.default_rng(5).permutation(300)
    kept = run_examples(rated, Dataset(Path(), images[order], catalogue.iloc[order], {}), split_seed=0)
    for row in kept.itertuples():
        shown = np.asarray(Image.open(io.BytesIO(row.jpeg)))
        assert shown.shape == (128, 128, 3)
        assert abs(int(shown.mean()) - (row.objid - 10**18) % 256) <= 1
