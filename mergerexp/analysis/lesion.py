"""The lesion study: whether one arm's error is smaller than another's, at each size and over all of them.

The functions take predictions as `mergerexp.analysis.fold_errors` does. Where these have a column group,
objects of one group (images of one encounter) are resampled together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from mergerexp.analysis.fold_errors import fold_errors, rows_of_test_split
from mergerexp.analysis.metrics import Floats, class_weights
from mergerexp.analysis.paired_objects import bootstrap_outcome, mcnemar, resample_sums
from mergerexp.analysis.significance import ROPE, corrected_t, correlated_bayes_t, paired_t, stouffer, welch

SUBSET_AND_FOLD = ["subset", "fold"]
T_TESTS = {"welch": "Welch's test", "paired_t": "paired t-test", "corrected_t": "corrected t-test"}
PER_SIZE = ["subset", "n_train", "folds", "objects", "test", "difference", "statistic", "df", "p_value"]
PER_SIZE += ["low", "high", "p_better", "p_equal", "p_worse", "only_better_wrong", "only_worse_wrong"]
COMBINED = ["test", "combination", "sizes", "statistic", "df", "p_value", "difference", "low", "high"]


@dataclass(frozen=True)
class Comparison:
    """The tests of whether one arm's error is smaller than another's.

    Attributes
    ----------
    better : str
        The arm that has the smaller error under the alternative of all tests, which are one-tailed.
    worse : str
        The other arm.
    per_size : DataFrame
        One row for each size and test: subset, n_train, folds and objects (numbers of those that both arms
        have), test (a key of `mergerexp.analysis.significance.ASSUMES`), difference (the error of ``worse``
        less that of ``better``), statistic, df and p_value; low and high (the 95 % interval of the
        bootstrap); p_better, p_equal and p_worse (of the Bayesian t); only_better_wrong and only_worse_wrong
        (numbers of objects in McNemar's test, whose difference weights all objects alike). Numbers that a
        test does not have, or that do not exist since all folds agree, are NaN.
    combined : DataFrame
        One row for each combined test: test, combination (``stouffer``, ``strube`` or ``mean_over_sizes``),
        sizes (the number of them), statistic (Z, or the t of a mean), df, p_value, difference (the mean over
        the sizes), low and high (the 95 % interval of the bootstrap).
    correlation : DataFrame
        The correlation of the bootstrapped differences, with a row and a column for each subset and 0
        instead of negative values; ``strube`` takes it for the correlation of the z.
    left_out : tuple of str
        A sentence for each part of the two arms' results that was not compared.
    """

    better: str
    worse: str
    per_size: pd.DataFrame
    combined: pd.DataFrame
    correlation: pd.DataFrame
    left_out: tuple[str, ...]

    @property
    def sizes(self) -> int:
        """Count the training-set sizes at which the arms were compared.

        Returns
        -------
        int
            Their number.
        """
        return int(self.per_size["subset"].nunique())


def compare_arms(
    predictions: pd.DataFrame,
    better: str,
    worse: str,
    prevalence: float | None = 0.5,
    *,
    seed: int,
    draws: int = 10_000,
    test_to_train: float | Mapping[float, float] = 0.5,
    rope: float = ROPE,
) -> Comparison:
    """Test at each size, and over all sizes, whether one arm's error is smaller than another's.

    The paper's analysis is Welch's test on the folds of each size, combined by Stouffer's unweighted Z. The
    paired tests use the objects that both arms rated in the same fold. Results with several seeds are
    averaged within a fold; only McNemar's test uses the lowest seed that each arm has in the fold. All sizes
    are resampled together, so that an object is drawn equally often in all subsets that contain it.
    benchmarks/type_one_error.py measures how often each test rejects where the arms are equal.

    Parameters
    ----------
    predictions : DataFrame
        The predictions, as `mergerexp.analysis.fold_errors.fold_errors` takes them, with a column group if
        objects have groups.
    better : str
        The arm that has the smaller error under the alternative.
    worse : str
        The other arm.
    prevalence : float or None, default 0.5
        The fraction of mergers that the classes are weighted to; None keeps the sample's own fraction.
    seed : int
        The seed of the bootstrap.
    draws : int, default 10000
        The number of bootstrap draws.
    test_to_train : float or mapping of float to float, default 0.5
        The ratio n_test / n_train that `corrected_t` uses, one for all sizes or one for each subset. The
        Bayesian t uses ρ = n_test / (n_test + n_train), and the mean over the sizes the largest ratio, to be
        conservative.
    rope : float, default 0.001
        The largest difference of errors that `correlated_bayes_t` counts as none.

    Returns
    -------
    Comparison
        The tests at each size and over all sizes.

    Raises
    ------
    ValueError
        If an arm is absent, the arms share no objects of one of the classes, an object is in two different
        test folds, or `fold_errors` raises it.

    Examples
    --------
    Four folds of one size, in each of which only the arm "random" is wrong about a merger.

    >>> fold = pd.DataFrame({"label": [1, 1, 0, 0], "p_m": [0.9, 0.8, 0.1, 0.2]})
    >>> folds = [fold.assign(fold=k, objid=range(4 * k, 4 * k + 4)) for k in range(4)]
    >>> imagenet = pd.concat(folds).assign(arm="imagenet", subset=1.0, n_train=8, seed=0, split="test")
    >>> random = imagenet.assign(arm="random", p_m=imagenet["p_m"].replace(0.8, 0.4))
    >>> found = compare_arms(pd.concat([imagenet, random]), "imagenet", "random", seed=1, draws=999)
    >>> tests = found.per_size[["test", "objects", "difference", "p_value"]]
    >>> print(tests[tests["test"] == "mcnemar"].to_string(index=False))
       test  objects  difference  p_value
    mcnemar       16        0.25   0.0625
    """
    rows = _rows_of_arms(predictions, better, worse)
    runs = fold_errors(rows, prevalence)
    pairs, left_out = _pair(rows, better, worse, prevalence)
    folds = _fold_table(runs, pairs, better, worse)
    drawn = _resample(pairs, prevalence, np.random.default_rng(seed), draws)
    subsets = folds.index.unique("subset")
    if not isinstance(test_to_train, Mapping):
        test_to_train = dict.fromkeys(subsets, test_to_train)
    ratios = {subset: test_to_train[subset] for subset in subsets}

    table = []
    for (subset, part), of_draws in zip(pairs.groupby("subset"), drawn.T, strict=True):
        of_size = folds.loc[[subset]]
        size = {"subset": subset, "n_train": round(of_size["n_train"].mean())}
        size |= {"folds": len(of_size), "objects": len(part)}
        table += [{**size, **test} for test in _tests_over_folds(of_size, ratios[subset], rope)]
        table += [{**size, **test} for test in _tests_over_objects(part, of_draws)]
        if len(of_size) == 1:
            left_out.append(
                f"subset={subset:g}: {better} and {worse} share only one fold, and tests need two"
            )
    per_size = pd.DataFrame(table).reindex(columns=PER_SIZE)
    without = per_size[per_size["test"].isin(T_TESTS) & per_size["p_value"].isna()]
    left_out += [
        f"subset={subset:g}: the difference is the same in all folds, so this size has no {T_TESTS[test]}, "
        "and the combined one leaves it out"
        for subset, test in zip(without["subset"], without["test"], strict=True)
    ]

    sizes_of_fold = folds.groupby("fold").size()
    left_out += [
        f"fold={fold}: one of the two methods lacks this fold at some size, so the corrected t-test of the "
        "mean over the sizes leaves it out"
        for fold in sizes_of_fold.index[sizes_of_fold < len(subsets)]
    ]
    correlation = pd.DataFrame(_correlation(drawn), index=subsets, columns=subsets)
    combined = [
        *_combined_p(per_size, correlation),
        *_means_over_sizes(folds, per_size, drawn, max(ratios.values())),
    ]
    over_sizes = pd.DataFrame(combined).reindex(columns=COMBINED)
    return Comparison(better, worse, per_size, over_sizes, correlation, tuple(left_out))


def _rows_of_arms(predictions: pd.DataFrame, better: str, worse: str) -> pd.DataFrame:
    if better == worse:
        raise ValueError(f"better and worse must be two methods, not {better!r} twice")
    rows = rows_of_test_split(predictions)
    for arm in (better, worse):
        if not (rows["arm"] == arm).any():
            raise ValueError(f"arm {arm!r} has no test predictions; there are {sorted(set(rows['arm']))}")
    return rows[rows["arm"].isin([better, worse])]


def _pair(
    rows: pd.DataFrame, better: str, worse: str, prevalence: float | None
) -> tuple[pd.DataFrame, list[str]]:
    """Pair the arms' answers about the objects that both rated in the same fold.

    Returns one row for each object and size, and a sentence for each part that is left out. The columns are
    subset, fold, objid, group, label; wrong_a and wrong_b (1 for wrong, averaged over the seeds); once_a and
    once_b (the same with the lowest seed only); in_fold and in_size (the weight of the object in the error
    of its fold and of its size).
    """
    wrong = ((rows["p_m"] >= 0.5) != (rows["label"] == 1)).astype(float)
    by_seed = rows.assign(wrong=wrong).sort_values("seed", kind="stable")
    by_seed = by_seed if "group" in by_seed else by_seed.assign(group=by_seed["objid"])
    key = [*SUBSET_AND_FOLD, "objid", "group", "label"]
    of_a, of_b = (
        by_seed[by_seed["arm"] == arm].groupby(key)["wrong"].agg(["mean", "first"]).set_axis(names, axis=1)
        for arm, names in ((better, ["wrong_a", "once_a"]), (worse, ["wrong_b", "once_b"]))
    )
    either = of_a.join(of_b, how="outer").reset_index()
    left_out: list[str] = []
    parts = []
    for subset, of_size in either.groupby("subset"):
        if (only := _only_one(of_size, better, worse)) is not None:
            left_out.append(f"subset={subset:g}: only {only} has results here")
            continue
        for fold, cell in of_size.groupby("fold"):
            both, where = cell.dropna(), f"subset={subset:g} fold={fold}"
            if (only := _only_one(cell, better, worse)) is not None:
                left_out.append(f"{where}: only {only} has results here")
            elif both["label"].nunique() < 2:
                left_out.append(f"{where}: there is a class of which {better} and {worse} share no object")
            else:
                parts.append(both)
                if n := len(cell) - len(both):
                    left_out.append(
                        f"{where}: paired tests leave out what one method has not rated ({n} objects)"
                    )
    if not parts:
        raise ValueError(f"{better} and {worse} can't be compared: " + "; ".join(left_out))
    pairs = pd.concat(parts, ignore_index=True)
    folds_of = pairs[["objid", "fold"]].drop_duplicates()["objid"]
    if (twice := folds_of.duplicated()).any():
        raise ValueError(f"object {folds_of[twice].iloc[0]} is in two different test folds")

    def weight(label: pd.Series) -> Floats:
        return class_weights(label.to_numpy() == 1, prevalence)

    in_fold = pairs.groupby(SUBSET_AND_FOLD)["label"].transform(weight)
    in_size = pairs.groupby("subset")["label"].transform(weight)
    return pairs.assign(in_fold=in_fold, in_size=in_size), left_out


def _only_one(part: pd.DataFrame, better: str, worse: str) -> str | None:
    """Return the arm that alone has these rows."""
    if part["wrong_b"].isna().all():
        return better
    return worse if part["wrong_a"].isna().all() else None


def _fold_table(runs: pd.DataFrame, pairs: pd.DataFrame, better: str, worse: str) -> pd.DataFrame:
    """Return errors of the shared folds: a and b on the paired objects, all_a and all_b on all objects."""
    of_all = runs.groupby(["arm", *SUBSET_AND_FOLD])[["error", "n_train"]].mean()
    of_a, of_b = of_all.loc[better], of_all.loc[worse]
    weighed = {side: pairs["in_fold"] * pairs[f"wrong_{side}"] for side in ("a", "b")}
    paired = pairs.assign(**weighed).groupby(SUBSET_AND_FOLD)[["a", "b"]].sum()
    n_train = (of_a["n_train"] + of_b["n_train"]) / 2
    return paired.assign(all_a=of_a["error"], all_b=of_b["error"], n_train=n_train)


def _tests_over_folds(folds: pd.DataFrame, test_to_train: float, rope: float) -> Iterator[dict[str, object]]:
    if len(folds) < 2:
        return
    all_a, all_b, a, b = (folds[name].to_numpy() for name in ("all_a", "all_b", "a", "b"))
    rho = test_to_train / (1 + test_to_train)
    yield {"test": "welch", "difference": all_b.mean() - all_a.mean(), **asdict(welch(all_a, all_b))}
    for name, outcome in (
        ("paired_t", paired_t(a, b)),
        ("corrected_t", corrected_t(a, b, test_to_train)),
        ("correlated_bayes_t", correlated_bayes_t(a, b, rho, rope)),
    ):
        yield {"test": name, "difference": (b - a).mean(), **asdict(outcome)}


def _tests_over_objects(pairs: pd.DataFrame, drawn: Floats) -> Iterator[dict[str, object]]:
    counted = mcnemar(pairs["once_a"], pairs["once_b"])
    yield {
        "test": "mcnemar",
        "difference": (counted.only_b_wrong - counted.only_a_wrong) / len(pairs),
        "p_value": counted.p_value,
        "only_better_wrong": counted.only_a_wrong,
        "only_worse_wrong": counted.only_b_wrong,
    }
    difference = float((pairs["in_size"] * (pairs["wrong_b"] - pairs["wrong_a"])).sum())
    yield {"test": "paired_bootstrap", **asdict(bootstrap_outcome(difference, drawn))}


def _resample(pairs: pd.DataFrame, prevalence: float | None, rng: np.random.Generator, draws: int) -> Floats:
    """Bootstrap the difference of errors at all sizes together, shape (draws, sizes).

    A unit is made of the objects of one group that are in one fold and class. Units in the same fold, class
    and subsets form a stratum, so that every draw has as many units of each fold and class at each size as
    the sample.
    """
    unit, first, row = np.unique(
        pairs[["fold", "label", "group"]].to_numpy(), axis=0, return_index=True, return_inverse=True
    )
    subsets, size = np.unique(pairs["subset"], return_inverse=True)
    shape = (len(unit), 2, len(subsets))
    at = np.ravel_multi_index((row.reshape(-1), pairs["label"].to_numpy(), size), shape)
    # For each class and size: the number of objects, and how much more often the worse arm is wrong.
    has = np.bincount(at, minlength=np.prod(shape))
    more = np.bincount(at, pairs["wrong_b"] - pairs["wrong_a"], np.prod(shape))
    held = (has.reshape(shape).sum(axis=1) > 0).astype(np.int64)
    design = np.column_stack([held, pairs[["fold", "label"]].to_numpy()[first]])
    _, stratum = np.unique(design, axis=0, return_inverse=True)
    sums = np.column_stack([has.reshape(len(unit), -1), more.reshape(len(unit), -1)]).astype(np.float64)
    drawn = resample_sums(sums, stratum.reshape(-1), draws, rng)
    objects, excess = np.moveaxis(drawn.reshape(draws, 2, 2, len(subsets)), 1, 0)
    if prevalence is None:
        everything: Floats = excess.sum(axis=1) / objects.sum(axis=1)
        return everything
    weighed: Floats = np.einsum("c,dcs->ds", [1 - prevalence, prevalence], excess / objects)
    return weighed


def _correlation(drawn: Floats) -> Floats:
    """Return the correlation of the columns, at least 0, and 0 where a column does not spread.

    Sharing objects can't make sizes disagree, so a negative estimate is due to chance, and would increase the
    significance.
    """
    centred = drawn - drawn.mean(axis=0)
    sd = np.sqrt((centred**2).mean(axis=0))
    unit = np.where(sd > 1e-12, centred / np.maximum(sd, 1e-12), 0) / len(drawn) ** 0.5
    correlation: Floats = (unit.T @ unit).clip(0, 1)
    np.fill_diagonal(correlation, 1)
    return correlation


def _combined_p(per_size: pd.DataFrame, correlation: pd.DataFrame) -> Iterator[dict[str, object]]:
    for test in T_TESTS:
        sizes = per_size[(per_size["test"] == test) & per_size["p_value"].notna()]
        if sizes.empty:
            continue
        shared = {"test": test, "sizes": len(sizes), "difference": sizes["difference"].mean()}
        known = correlation.loc[sizes["subset"], sizes["subset"]]
        yield {**shared, "combination": "stouffer", **asdict(stouffer(sizes["p_value"]))}
        corrected = stouffer(sizes["p_value"], correlation=known)
        yield {**shared, "combination": "strube", **asdict(corrected)}


def _means_over_sizes(
    folds: pd.DataFrame, per_size: pd.DataFrame, drawn: Floats, test_to_train: float
) -> Iterator[dict[str, object]]:
    """Test the mean over the sizes: on the folds shared at all of them, and by the joint bootstrap."""
    shared = {"combination": "mean_over_sizes", "sizes": drawn.shape[1]}
    complete = folds[folds.groupby("fold")["a"].transform("size") == drawn.shape[1]]
    of_fold = complete.groupby("fold")[["a", "b"]].mean()
    if len(of_fold) > 1:
        outcome = corrected_t(of_fold["a"], of_fold["b"], test_to_train)
        difference = (of_fold["b"] - of_fold["a"]).mean()
        yield {"test": "corrected_t", **shared, "difference": difference, **asdict(outcome)}
    difference = per_size.loc[per_size["test"] == "paired_bootstrap", "difference"].mean()
    bootstrap = bootstrap_outcome(difference, drawn.mean(axis=1))
    yield {"test": "paired_bootstrap", **shared, **asdict(bootstrap)}
