"""Folds and nested subsets (``docs/science.md`` §1, #1-4), of data and seed only: runs can be paired."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mergerexp.config.schema import SplitConfig
from mergerexp.data.store import Dataset
from mergerexp.seeding import seed_for

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """Which objects of the data set train, validate and test: sorted positions, disjoint."""

    train: Indices
    val: Indices
    test: Indices


def assign_folds(labels: ArrayLike, groups: ArrayLike, folds: int, seed: int) -> NDArray[np.int8]:
    """Deal objects into stratified folds, each group whole into one of them.

    The greedy rule of scikit-learn's ``StratifiedGroupKFold`` (large groups first, each to the fold that
    it leaves most even) without its passes over all folds for each group: 20 times quicker, and for
    groups of one object each class is dealt out exactly evenly.

    Parameters
    ----------
    labels
        0 or 1, shape (n,).
    groups
        Integers, shape (n,); objects of equal group stay together.
    folds
        Number of folds.
    seed
        Seed of the shuffle.

    Returns
    -------
    ndarray
        Fold of each object, int8, shape (n,).
    """
    label = np.asarray(labels, dtype=np.int64)
    names, member_of = np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.bincount(2 * member_of + label, minlength=2 * len(names)).reshape(-1, 2)
    rng = np.random.default_rng(seed_for(seed, "folds", folds))
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order].sum(axis=1), kind="stable")]

    # Plain Python numbers: this loop takes thousands of tiny steps, where numpy is slow.
    weight0, weight1 = (1.0 / np.maximum(sizes.sum(axis=0), 1) ** 2).tolist()
    filled = [[0, 0] for _ in range(folds)]
    fold_of_group = np.empty(len(sizes), dtype=np.int8)
    for group, (n0, n1) in zip(order.tolist(), sizes[order].tolist(), strict=True):
        # The group adds 2·n·filled + n² to the sum of squared class counts, which is least when even.
        costs = [(weight0 * n0 * f0 + weight1 * n1 * f1, f0 + f1) for f0, f1 in filled]
        fold = costs.index(min(costs))
        fold_of_group[group] = fold
        filled[fold][0] += n0
        filled[fold][1] += n1
    return fold_of_group[member_of]


def make_split(
    labels: ArrayLike,
    groups: ArrayLike,
    *,
    fold: int,
    folds: int,
    subset: float,
    subset_of: str,
    negatives: str,
    seed: int,
) -> Split:
    """Choose the objects of one run: test = fold, val = the next one, train = the rest.

    Subsets nest: within each fold and class a seeded permutation is cut to its first part, so that the
    objects of subset 0.1 are among those of 0.17, and no group straddles folds.

    Parameters
    ----------
    labels, groups
        As for `assign_folds`.
    fold, folds
        The test fold, and the number of folds (at least 3).
    subset
        Fraction of the objects, in (0, 1]; at least one object of each fold and class is kept.
    subset_of
        "all": every fold is cut, as in the paper ("subset everything, then cross-validate").
        "train": only the training folds are cut; validation and test stay whole.
    negatives
        "all": keep every object of class 0. "matched": before subsetting, keep in each fold as many as
        there are of class 1, in the folds that `subset_of` cuts: with "all" the whole data set becomes
        balanced, as in the paper's code; with "train" validation and test keep their natural ratio.
    seed
        Seed of folds and permutations.

    Raises
    ------
    ValueError
        If an argument is out of range, or a class would be empty in train, val or test.
    """
    _check(fold, folds, subset, subset_of, negatives)
    label = np.asarray(labels)
    fold_of = assign_folds(label, groups, folds, seed)
    val_fold = (fold + 1) % folds
    whole = (fold, val_fold) if subset_of == "train" else ()
    kept = [
        np.flatnonzero(fold_of == k) if k in whole else _cut(label, fold_of, k, subset, negatives, seed)
        for k in range(folds)
    ]
    training = [kept[k] for k in range(folds) if k not in (fold, val_fold)]
    split = Split(train=np.sort(np.concatenate(training)), val=kept[val_fold], test=kept[fold])
    _check_classes(split, label, f"subset {subset}, test fold {fold} of {folds}")
    return split


def split_dataset(dataset: Dataset, settings: SplitConfig, fold: int, subset: float) -> Split:
    """Choose the objects of one run of a data set; see `make_split`."""
    return make_split(
        dataset.labels,
        dataset.groups,
        fold=fold,
        folds=settings.folds,
        subset=subset,
        subset_of=settings.subset_of,
        negatives=settings.negatives,
        seed=settings.seed,
    )


def n_balanced(labels: ArrayLike) -> int:
    """Size of the largest class-balanced set within `labels`: the paper's "size" of a training set."""
    return 2 * int(np.bincount(np.asarray(labels), minlength=2).min())


def _check(fold: int, folds: int, subset: float, subset_of: str, negatives: str) -> None:
    if folds < 3:
        raise ValueError(f"split.folds must be at least 3 (test, validation, training), not {folds}")
    if not 0 <= fold < folds:
        raise ValueError(f"fold must be in 0..{folds - 1}, not {fold}")
    if not 0 < subset <= 1:
        raise ValueError(f"subset must be in (0, 1], not {subset}")
    if subset_of not in ("all", "train"):
        raise ValueError(f"split.subset_of must be 'all' or 'train', not {subset_of!r}")
    if negatives not in ("all", "matched"):
        raise ValueError(f"split.negatives must be 'all' or 'matched', not {negatives!r}")


def _check_classes(split: Split, label: NDArray[np.generic], where: str) -> None:
    for name, part in vars(split).items():
        for value in (0, 1):
            if value not in label[part]:
                n = np.count_nonzero(label == value)
                raise ValueError(
                    f"class {value} has no object in {name} ({where}, {n} of the class in all): "
                    "use fewer folds or more data"
                )


def _cut(
    label: NDArray[np.generic], fold_of: NDArray[np.int8], fold: int, subset: float, negatives: str, seed: int
) -> Indices:
    """Keep the first part of each class's permutation within one fold."""
    members = [np.flatnonzero((fold_of == fold) & (label == value)) for value in (0, 1)]
    available = [len(of_class) for of_class in members]
    if negatives == "matched":
        available[0] = min(available)
    kept = []
    for value, (of_class, n) in enumerate(zip(members, available, strict=True)):
        order = np.random.default_rng(seed_for(seed, "subset", fold, value)).permutation(of_class)
        kept.append(order[: min(n, max(1, round(subset * n)))])
    return np.sort(np.concatenate(kept))
