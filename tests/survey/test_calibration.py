"""Calibrators of a fold: fitted on all of its test galaxies, and without each part of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mergerexp.analysis.calibrators import Platt
from mergerexp.errors import UserError
from mergerexp.files import write_json
from mergerexp.survey.calibration import PARTS, draw_parts, read_calibrators, write_calibrators


@pytest.fixture
def test_fold() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    label = (rng.random(120) < 0.3).astype(int)
    p_m = 1 / (1 + np.exp(-2 * (2 * label - 1) - rng.normal(size=120)))
    return pd.DataFrame(
        {"objid": rng.permutation(120), "label": label, "group": np.arange(120) // 3, "p_m": p_m}
    )


def test_a_group_is_in_one_part_and_the_order_does_not_matter(test_fold):
    part = draw_parts(test_fold, seed=5)
    assert set(part) == set(range(PARTS))
    assert test_fold.assign(part=part).groupby("group")["part"].nunique().max() == 1
    shuffled = test_fold.sample(frac=1, random_state=1)
    again = pd.Series(draw_parts(shuffled, seed=5), shuffled.index).sort_index()
    assert again.tolist() == part.tolist()
    assert draw_parts(test_fold, seed=6).tolist() != part.tolist()


def test_each_part_has_a_calibrator_that_never_saw_it(test_fold, tmp_path):
    part = draw_parts(test_fold, seed=5)
    write_calibrators(tmp_path / "calibrators.json", test_fold, part)
    found = read_calibrators(tmp_path / "calibrators.json")["platt"]
    assert found.of_part(-1) == Platt.fit(test_fold["label"], test_fold["p_m"])
    for number in range(PARTS):
        rest = test_fold[part != number]
        assert found.of_part(number) == Platt.fit(rest["label"], rest["p_m"])


def test_a_rest_of_one_class_has_no_calibrator(test_fold, tmp_path):
    rare = test_fold.assign(label=0, group=np.arange(120))
    rare.loc[0, "label"] = 1
    part = draw_parts(rare, seed=5)
    write_calibrators(tmp_path / "calibrators.json", rare, part)
    found = read_calibrators(tmp_path / "calibrators.json")
    assert [found["isotonic"].of_part(number) is None for number in range(PARTS)] == [
        number == part[0] for number in range(PARTS)
    ]


def test_a_file_without_them_is_named(tmp_path):
    write_json(tmp_path / "calibrators.json", {"platt": {}})
    with pytest.raises(UserError, match=r"calibrators.json has no calibrators of platt, isotonic"):
        read_calibrators(tmp_path / "calibrators.json")
