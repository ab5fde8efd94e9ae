import numpy as np
import pytest

from mergerexp.config.schema import SplitConfig
from mergerexp.data.splits import Split, assign_folds, doubts_about_folds, make_split, n_balanced
from mergerexp.errors import DataError

# The paper's sample, with groups of two or three in both classes.
LABELS = np.r_[np.ones(3003, int), np.zeros(10_000, int)]
GROUPS = np.arange(13_003)
GROUPS[1:600:2] = GROUPS[0:600:2]
GROUPS[5001:6000:3] = GROUPS[5000:5999:3]
GROUPS[5002:6000:3] = GROUPS[5000:5998:3]
SUBSETS = (0.1, 0.17, 0.3, 0.5, 1.0)
PAPER = {"folds": 4, "subset_of": "all", "negatives": "all", "seed": 0}


def split(labels=LABELS, groups=GROUPS, fold=0, subset=1.0, **changes) -> Split:
    return make_split(labels, groups, SplitConfig(**{**PAPER, **changes}), fold, subset)


@pytest.mark.parametrize("groups", [np.arange(13_003), GROUPS], ids=["singles", "groups"])
@pytest.mark.parametrize("folds", [3, 4, 10])
def test_folds_are_stratified_within_one_object_and_keep_groups_whole(groups, folds):
    fold_of = assign_folds(LABELS, groups, folds, seed=1)
    assert fold_of.dtype == np.int8
    counts = np.bincount(2 * fold_of + LABELS, minlength=2 * folds).reshape(folds, 2)
    assert np.ptp(counts, axis=0).max() <= 1
    for group in np.unique(groups[np.r_[:600, 5000:6000]]):
        assert np.ptp(fold_of[groups == group]) == 0


def test_large_mixed_groups_are_spread_as_evenly_as_they_allow():
    rng = np.random.default_rng(0)
    labels = (rng.random(2000) < 0.3).astype(int)
    groups = rng.integers(0, 150, 2000)
    fold_of = assign_folds(labels, groups, 4, seed=0)
    counts = np.bincount(2 * fold_of + labels, minlength=8).reshape(4, 2)
    assert np.ptp(counts, axis=0).max() <= 12  # a group has 13 objects on average


def test_folds_depend_on_the_seed():
    folds = [assign_folds(LABELS, GROUPS, 4, seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(folds[0], folds[1])
    assert 0.6 < (folds[0] != folds[2]).mean() < 0.9


@pytest.mark.parametrize("subset_of", ["all", "train"])
@pytest.mark.parametrize("negatives", ["all", "matched"])
def test_parts_are_disjoint_and_each_object_is_tested_once_and_validated_once(subset_of, negatives):
    tested, validated, trained = (np.zeros(13_003, int) for _ in range(3))
    for fold in range(4):
        parts = split(fold=fold, subset_of=subset_of, negatives=negatives)
        tested[parts.test] += 1
        validated[parts.val] += 1
        trained[parts.train] += 1
        for a, b in ((parts.train, parts.val), (parts.train, parts.test), (parts.val, parts.test)):
            assert not np.intersect1d(GROUPS[a], GROUPS[b]).size
    np.testing.assert_array_equal(tested, validated)
    in_use = tested == 1
    assert in_use[LABELS == 1].all()
    whole = negatives == "all" or subset_of == "train"
    assert in_use.all() if whole else in_use.sum() == 2 * 3003
    assert set(trained[LABELS == 1]) == {2}


def test_validation_is_the_next_fold():
    np.testing.assert_array_equal(split(fold=3).val, split(fold=0).test)
    np.testing.assert_array_equal(split(fold=1).val, split(fold=2).test)


@pytest.mark.parametrize("negatives", ["all", "matched"])
@pytest.mark.parametrize("subset_of", ["all", "train"])
def test_subsets_nest(subset_of, negatives):
    smaller = None
    for subset in SUBSETS:
        larger = split(subset=subset, subset_of=subset_of, negatives=negatives)
        if smaller is not None:
            for part in ("train", "val", "test"):
                assert np.isin(getattr(smaller, part), getattr(larger, part)).all()
        smaller = larger


def test_sizes_are_the_papers():
    for subset, size in zip(SUBSETS, (300, 510, 900, 1500, 3000), strict=True):
        for fold in range(4):
            for negatives in ("all", "matched"):
                train = split(subset=subset, fold=fold, negatives=negatives).train
                assert abs(n_balanced(LABELS[train]) - size) <= 4


def test_subset_of_train_leaves_validation_and_test_whole():
    cut, full = split(subset=0.1, subset_of="train", negatives="matched"), split()
    np.testing.assert_array_equal(cut.test, full.test)
    np.testing.assert_array_equal(cut.val, full.val)
    assert np.bincount(LABELS[cut.train]).tolist() == [150, 150]
    literal = split(subset=0.1, negatives="matched")
    np.testing.assert_array_equal(cut.train, literal.train)
    assert np.bincount(LABELS[literal.test]).tolist() == [75, 75]


def test_a_tiny_subset_keeps_one_object_of_each_fold_and_class():
    parts = split(subset=1e-6)
    assert np.bincount(LABELS[parts.train]).tolist() == [2, 2]
    assert np.bincount(LABELS[parts.test]).tolist() == [1, 1]


def test_names_the_class_and_the_part_that_would_be_empty():
    labels = np.r_[np.ones(3, int), np.zeros(30, int)]
    with pytest.raises(ValueError, match=r"class 1 has no object in (val|test|train) \(subset 0.5"):
        for fold in range(4):
            split(labels, np.arange(33), fold=fold, subset=0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": 2}, "split.folds=2: must be 3 to 100|split.folds=2: must be at least 3"),
        ({"fold": 4}, r"fold must be in 0..3"),
        ({"fold": -1}, r"fold must be in 0..3"),
        ({"subset": 0.0}, r"subset must be in \(0, 1\]"),
        ({"subset": 1.1}, r"subset must be in \(0, 1\]"),
        ({"subset_of": "test"}, "split.subset_of=test: choose one of all, train"),
        ({"negatives": "some"}, "split.negatives=some: choose one of all, matched"),
    ],
)
def test_refuses_arguments_out_of_range(changes, message):
    with pytest.raises(ValueError, match=message):
        split(**changes)


@pytest.mark.parametrize("groups", [np.arange(13_003), GROUPS], ids=["singles", "groups"])
@pytest.mark.parametrize("folds", [3, 4, 10])
def test_even_folds_raise_no_doubts(groups, folds):
    assert doubts_about_folds(LABELS, groups, SplitConfig(**{**PAPER, "folds": folds}), 0.1) == []


@pytest.mark.parametrize("n", range(4, 20))
def test_few_objects_without_groups_raise_no_doubts(n):
    labels = np.repeat([0, 1], [n, 2 * n])
    assert doubts_about_folds(labels, np.arange(3 * n), SplitConfig(**PAPER)) == []


def test_folds_that_a_large_group_makes_uneven_are_named_with_it():
    labels = np.repeat([0, 1], [45, 40])
    groups = np.r_[np.full(40, 7), np.arange(100, 145)]
    (doubt,) = doubts_about_folds(labels, groups, SplitConfig(**PAPER))
    sizes = ", ".join(map(str, np.bincount(assign_folds(labels, groups, 4, 0)[:45], minlength=4)))
    assert f"far from even: of class 0 they have {sizes} objects" in doubt
    assert "(group 7 of the catalogue) has 40 of 45" in doubt


def test_a_subset_of_less_than_an_object_is_named():
    doubts = doubts_about_folds(LABELS, GROUPS, SplitConfig(**PAPER), 1e-300)
    assert len(doubts) == 2
    assert all("subset=1e-300 is less than half an object" in doubt for doubt in doubts)


def test_the_remedy_speaks_of_groups_where_they_are_the_cause():
    labels = np.repeat([0, 1], [40, 40])
    in_three = np.r_[np.repeat([1, 2, 3], [20, 10, 10]), np.arange(100, 140)]
    message = r"class 0 has no object in \w+ .*40 of the class in all, 20 of them in group 1 .*smaller groups"
    with pytest.raises(DataError, match=message):
        for fold in range(4):
            split(labels, in_three, fold=fold)
    with pytest.raises(DataError, match=r"class 1 has no object.*smaller groups"):
        for fold in range(4):
            split(1 - labels, in_three, fold=fold, negatives="matched")
