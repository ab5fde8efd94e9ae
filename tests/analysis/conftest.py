"""A lesion study that is made up, for the tests of what compares its arms."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mergerexp.analysis.lesion import compare_arms

SUBSETS = (1.0, 0.5, 0.3, 0.17, 0.1)

SKILL = {"imagenet": 1.6, "random": 1.4}  # distance of a class from the middle, in standard deviations


def study(rng, objects=1200, subsets=SUBSETS, arms=SKILL, seeds=(0,), folds=4, shared=0.5):
    """Nested subsets of galaxies, a quarter of them mergers; ratings share a part over sizes and arms."""
    objid = 5_870_000_000_000_000_000 + np.arange(objects)
    label = (np.arange(objects) % 4 == 0).astype(int)
    fold, rank = np.arange(objects) // 4 % folds, rng.permutation(objects) / objects
    common = rng.normal(size=objects)
    runs = []
    for subset in subsets:
        for arm, skill in arms.items():
            for seed in seeds:
                noise = np.sqrt(shared) * common + np.sqrt(1 - shared) * rng.normal(size=objects)
                p_m = stats.norm.cdf(skill * (2 * label - 1) + noise)
                for k in range(folds):
                    for split, of in (("test", k), ("val", (k + 1) % folds)):
                        own = (fold == of) & (rank < subset)
                        run = {"arm": arm, "subset": subset, "n_train": round(objects / 4 * subset)}
                        rated = {"objid": objid[own], "label": label[own], "p_m": p_m[own]}
                        runs.append(pd.DataFrame({**run, "seed": seed, "fold": k, "split": split, **rated}))
    return pd.concat(runs, ignore_index=True)


@pytest.fixture(scope="module")
def predictions():
    return study(np.random.default_rng(1))


@pytest.fixture(scope="module")
def comparison(predictions):
    return compare_arms(predictions, "imagenet", "random", seed=1, draws=2000)


def row(table, **where):
    found = table.loc[np.logical_and.reduce([table[key] == value for key, value in where.items()])]
    assert len(found) == 1, where
    return SimpleNamespace(**found.iloc[0].to_dict())
