"""Errors on degraded images against hand-made ratings whose errors are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mergerexp.analysis.degradation_curves import doubling_strength, doubling_strengths, robustness_curves


def rated(wrong: int, **own) -> pd.DataFrame:
    """Ten mergers and twenty others of a run at a level; some of the mergers are rated wrongly."""
    label = np.repeat([1, 0], [10, 20])
    p_m = np.where(label == 1, 0.9, 0.1)
    p_m[:wrong] = 0.2
    run = {"arm": "imagenet", "subset": 1.0, "seed": 0, "fold": 0, "degradation": "jpeg", "strength": 100.0}
    return pd.DataFrame({"objid": np.arange(30), "label": label, "p_m": p_m}).assign(**{**run, **own})


@pytest.fixture
def ratings() -> pd.DataFrame:
    wrong = {100.0: (1, 1, 2, 4), 50.0: (2, 2, 2, 2), 10.0: (8, 10, 8, 10)}
    parts = [
        rated(n, fold=fold, strength=strength)
        for strength, numbers in wrong.items()
        for fold, n in enumerate(numbers)
    ]
    return pd.concat(parts, ignore_index=True)


def test_mean_and_its_error_over_folds(ratings):
    curve = robustness_curves(ratings)
    assert curve["strength"].tolist() == [100, 50, 10]  # as they came, not sorted
    assert curve["error"].tolist() == pytest.approx([0.1, 0.1, 0.45])  # half the share of lost mergers
    spread = np.std([0.05, 0.05, 0.1, 0.2], ddof=1) / 2
    assert curve["sem"].tolist() == pytest.approx([spread, 0, np.std([0.4, 0.5, 0.4, 0.5], ddof=1) / 2])
    assert set(curve["folds"]) == {4}
    assert (curve["degradation"] == "jpeg").all()


def test_seeds_of_a_fold_are_one_measurement(ratings):
    again = ratings.assign(seed=1)
    curve, both = robustness_curves(ratings), robustness_curves(pd.concat([ratings, again]))
    pd.testing.assert_frame_equal(curve, both)


def test_each_arm_at_its_largest_size_or_the_one_asked_for(ratings):
    small = rated(5, subset=0.3)
    other = rated(3, subset=0.3, arm="random")
    every = pd.concat([small, other, ratings])
    chosen = robustness_curves(every).drop_duplicates("arm").set_index("arm")
    assert chosen["subset"].to_dict() == {"imagenet": 1.0, "random": 0.3}
    assert robustness_curves(every, subset=0.3)["error"].tolist() == pytest.approx([0.25, 0.15])
    assert np.isnan(robustness_curves(every, subset=0.3)["sem"]).all()  # of a single fold


def test_doubling_of_each_arm(ratings):
    table = doubling_strengths(robustness_curves(pd.concat([ratings, rated(1, arm="random")])))
    first, second = table.to_dict("records")
    assert (first["arm"], first["none"], first["worst"]) == (
        "imagenet",
        pytest.approx(0.1),
        pytest.approx(0.45),
    )
    assert first["doubled"] == pytest.approx(50 - 40 * 0.1 / 0.35)  # falls, as quality does
    assert second["arm"] == "random"
    assert np.isnan(second["doubled"])


@pytest.mark.parametrize(
    ("strengths", "errors", "expected"),
    [
        ([0, 1, 2, 4], [0.1, 0.1, 0.15, 0.25], 3.0),
        ([0, 1, 2, 4], [0.1, 0.2, 0.1, 0.5], 1.0),  # the first time
        ([1, 0.5, 0.1], [0.05, 0.06, 0.14], 0.3),
        ([0, 10], [0.1, 0.19], None),
        ([0, 10], [0.3, 0.5], None),
        ([0, 10], [0.0, 0.5], None),  # nothing to double
        ([0], [0.2], None),
    ],
)
def test_doubling_strength(strengths, errors, expected):
    assert doubling_strength(strengths, errors) == (None if expected is None else pytest.approx(expected))


def test_bad_input(ratings):
    with pytest.raises(ValueError, match="no column strength"):
        robustness_curves(ratings.drop(columns="strength"))
    with pytest.raises(ValueError, match=r"no ratings of subset 0\.5"):
        robustness_curves(ratings, subset=0.5)
    uneven = ratings[~((ratings["fold"] == 2) & (ratings["strength"] == 10))]
    with pytest.raises(ValueError, match="imagenet, fold 2, seed 0: not rated at jpeg 10"):
        robustness_curves(uneven)
    with pytest.raises(ValueError, match="both classes"):
        robustness_curves(ratings[ratings["label"] == 1])
    with pytest.raises(ValueError, match="alike"):
        doubling_strength([0, 1], [0.1])
    with pytest.raises(ValueError, match="finite"):
        doubling_strength([0, 1], [0.1, np.nan])
