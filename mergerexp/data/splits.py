"""Folds and nested subsets (``docs/science.md`` §1, #1-4).

They depend on the data and the seed alone, so that runs can be paired.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mergerexp.config.bounds import check_bounds
from mergerexp.config.schema import SplitConfig
from mergerexp.errors import DataError
from mergerexp.seeding import seed_for

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """The sorted positions of the objects that train, validate and test, which are disjoint."""

    train: Indices
    val: Indices
    test: Indices


def assign_folds(labels: ArrayLike, groups: ArrayLike, folds: int, seed: int) -> NDArray[np.int8]:
    """Assign objects to stratified folds, where all objects of a group are in the same fold.

    The rule is that of scikit-learn's ``StratifiedGroupKFold``: large groups come first, and each goes to the
    fold that makes the classes most even. Without that class's passes over all folds for each group it is 20
    times faster, and where groups have one object each, every class is divided exactly evenly.

    Parameters
    ----------
    labels
        The label (0 or 1) of each object, shape (n,).
    groups
        The group (int) of each object, shape (n,).
    folds
        The number of folds.
    seed
        The seed of the shuffle.

    Returns
    -------
    ndarray
        The fold of each object, int8, shape (n,).
    """
    label = np.asarray(labels, dtype=np.int64)
    names, member_of = np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.bincount(2 * member_of + label, minlength=2 * len(names)).reshape(-1, 2)
    rng = np.random.default_rng(seed_for(seed, "folds", folds))
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order].sum(axis=1), kind="stable")]

    # This loop takes thousands of tiny steps, in which Python's numbers are faster than numpy's.
    weight0, weight1 = (1.0 / np.maximum(sizes.sum(axis=0), 1) ** 2).tolist()
    filled = [[0, 0] for _ in range(folds)]
    fold_of_group = np.empty(len(sizes), dtype=np.int8)
    for group, (n0, n1) in zip(order.tolist(), sizes[order].tolist(), strict=True):
        # The group adds 2·n·filled + n² to the sum of squared class counts, which is smallest if even.
        costs = [(weight0 * n0 * f0 + weight1 * n1 * f1, f0 + f1) for f0, f1 in filled]
        fold = costs.index(min(costs))
        fold_of_group[group] = fold
        filled[fold][0] += n0
        filled[fold][1] += n1
    return fold_of_group[member_of]


def make_split(
    labels: ArrayLike, groups: ArrayLike, settings: SplitConfig, fold: int, subset: float
) -> Split:
    """Choose the objects of one run, which tests on one fold, validates on the next and trains on the rest.

    Subsets are nested: they are the first parts of a seeded permutation of each fold and class, so that the
    objects of subset 0.1 are among those of 0.17. No group is in two folds.

    Parameters
    ----------
    labels
        The label (0 or 1) of each object, shape (n,).
    groups
        The group (int) of each object, shape (n,); objects of the same group stay in one fold.
    settings
        The number and the seed of the folds, and what subsets are taken of. With ``subset_of="all"`` they
        are taken of everything before the folds are made, as in the paper; with "train" validation and test
        keep all their objects. With ``negatives="matched"`` as many objects of class 0 are kept as there are
        of class 1, in each fold that subsets are taken of and before they are: the whole data set becomes
        balanced with "all", as in the paper's code, and the training folds alone with "train".
    fold
        The test fold.
    subset
        The fraction of the objects, in (0, 1]; at least one object of each fold and class is kept.

    Raises
    ------
    UserError
        If an argument is out of range, or a class would be empty in train, val or test.
    """
    check_bounds(settings, "split.")
    label, folds = np.asarray(labels), settings.folds
    if not 0 <= fold < folds:
        raise DataError(f"fold must be in 0..{folds - 1}, not {fold}")
    if not 0 < subset <= 1:
        raise DataError(f"subset must be in (0, 1], not {subset}")
    fold_of = assign_folds(label, groups, folds, settings.seed)
    val_fold = (fold + 1) % folds
    whole = (fold, val_fold) if settings.subset_of == "train" else ()
    kept = [
        np.flatnonzero(fold_of == k) if k in whole else _cut(label, fold_of, k, subset, settings)
        for k in range(folds)
    ]
    training = [kept[k] for k in range(folds) if k not in (fold, val_fold)]
    split = Split(train=np.sort(np.concatenate(training)), val=kept[val_fold], test=kept[fold])
    _check_classes(split, label, np.asarray(groups), folds, f"subset {subset}, test fold {fold} of {folds}")
    return split


def doubts_about_folds(
    labels: ArrayLike, groups: ArrayLike, settings: SplitConfig, subset: float = 1.0
) -> list[str]:
    """Say which folds are so uneven, or which subsets so small, that results may mean something else.

    The folds of a class are far from even if one has less than half or more than twice the objects that it
    would have if all had equally many. Without groups of several objects they differ by one at most.

    Parameters
    ----------
    labels, groups
        The label (0 or 1) and the group (int) of each object, shape (n,).
    settings
        The number and the seed of the folds.
    subset
        The smallest fraction of the objects that is trained on.

    Returns
    -------
    list of str
        A sentence for each doubt.
    """
    label, group = np.asarray(labels), np.asarray(groups)
    fold_of = assign_folds(label, group, settings.folds, settings.seed)
    doubts = []
    for value in (0, 1):
        sizes = np.bincount(fold_of[label == value], minlength=settings.folds)
        share = sizes.mean()
        if sizes.min() < share / 2 or sizes.max() > 2 * share:
            name, largest = _largest_group(label, group, value)
            counts = ", ".join(map(str, sizes))
            doubts.append(
                f"the folds are far from even: of class {value} they have {counts} objects; "
                f"no group is divided, and the largest (group {name} of the catalogue) has {largest} of "
                f"{sizes.sum()}: give smaller groups, or set split.folds to fewer folds"
            )
        if subset * sizes.min() < 0.5:
            doubts.append(
                f"subset={subset:g} is less than half an object of class {value} in a fold with "
                f"{sizes.min()}; one of each class and fold is kept, so that the training set is larger"
            )
    return doubts


def _largest_group(
    label: NDArray[np.generic], group: NDArray[np.generic], value: int
) -> tuple[np.generic, int]:
    """Return the group with the most objects of a class, and their number."""
    names, sizes = np.unique(group[label == value], return_counts=True)
    return names[sizes.argmax()], int(sizes.max())


def n_balanced(labels: ArrayLike) -> int:
    """Return the size of the largest class-balanced subset, which the paper calls the training-set size."""
    return 2 * int(np.bincount(np.asarray(labels), minlength=2).min())


def _check_classes(
    split: Split, label: NDArray[np.generic], group: NDArray[np.generic], folds: int, where: str
) -> None:
    for name, part in vars(split).items():
        for value in (1, 0):  # where negatives are matched, a fold without class 1 has none of class 0
            if value in label[part]:
                continue
            n = np.count_nonzero(label == value)
            why, remedy = f"{n} of the class in all", "use fewer folds or more data"
            if n >= folds:  # these would be enough, if they were not kept together
                largest, size = _largest_group(label, group, value)
                why += f", {size} of them in group {largest} of the catalogue, and no group is divided"
                remedy = "give smaller groups, or use fewer folds"
            raise DataError(f"class {value} has no object in {name} ({where}, {why}): {remedy}")


def _cut(
    label: NDArray[np.generic], fold_of: NDArray[np.int8], fold: int, subset: float, settings: SplitConfig
) -> Indices:
    """Return the first part of the permutation of each class in one fold."""
    members = [np.flatnonzero((fold_of == fold) & (label == value)) for value in (0, 1)]
    available = [len(of_class) for of_class in members]
    if settings.negatives == "matched":
        available[0] = min(available)
    kept = []
    for value, (of_class, n) in enumerate(zip(members, available, strict=True)):
        order = np.random.default_rng(seed_for(settings.seed, "subset", fold, value)).permutation(of_class)
        kept.append(order[: min(n, max(1, round(subset * n)))])
    return np.sort(np.concatenate(kept))
