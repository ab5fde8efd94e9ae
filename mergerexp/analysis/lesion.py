"""The lesion study: whether one arm's error is smaller than another's, at each size and over all of them.

Everything is computed from predictions as `mergerexp.analysis.fold_errors` takes them. Where a column group
is there, objects of one group (images of one encounter) are resampled together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from mergerexp.analysis.fold_errors import fold_errors, test_rows
from mergerexp.analysis.metrics import Floats, class_weights
from mergerexp.analysis.significance import (
    ROPE,
    bootstrap_outcome,
    corrected_t,
    correlated_bayes_t,
    mcnemar,
    paired_t,
    resample_sums,
    stouffer,
    welch,
)

CELL = ["subset", "fold"]
T_TESTS = ("welch", "paired_t", "corrected_t")
PER_SIZE = ["subset", "n_train", "folds", "objects", "test", "difference", "statistic", "df", "p_value"]
PER_SIZE += ["low", "high", "p_better", "p_equal", "p_worse", "only_better_wrong", "only_worse_wrong"]
COMBINED = ["test", "combination", "sizes", "statistic", "df", "p_value", "difference", "low", "high"]


@dataclass(frozen=True)
class Comparison:
    """Whether one arm's error is smaller than another's.

    Attributes
    ----------
    better, worse
        The arms; all tests are one-tailed, with the alternative that ``better`` has the smaller error.
    per_size
        A row a size and test: subset, n_train, folds and objects (that both arms have), test (a key of
        `significance.ASSUMES`), difference (error of ``worse`` less that of ``better``), statistic, df,
        p_value; low and high (95 % interval) of the bootstrap; p_better, p_equal and p_worse of the
        Bayesian t; only_better_wrong and only_worse_wrong (objects) of McNemar's test, whose difference
        weighs all objects alike. NaN where a test has no such number, or where all folds agree.
    combined
        A row a combined test: test, combination (``stouffer``, ``strube`` or ``mean_over_sizes``), sizes
        (how many), statistic (Z, or t of a mean), df, p_value, difference (mean over the sizes), low and
        high (of the bootstrap).
    correlation
        Of the sizes' bootstrapped differences, negative ones as 0, which ``strube`` takes for that of the
        z; a row and a column for each subset.
    left_out
        A sentence for everything of the two arms that was not compared.
    """

    better: str
    worse: str
    per_size: pd.DataFrame
    combined: pd.DataFrame
    correlation: pd.DataFrame
    left_out: tuple[str, ...]


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
    """Test at each size, and over all, whether one arm's error is smaller than another's.

    Paper mode is Welch's test on each size's folds, combined by Stouffer's unweighted Z. Paired tests take
    the objects that both arms rated in the same fold. Several seeds are averaged within a fold first; only
    McNemar's test takes the lowest seed that each arm has of the fold. All sizes are resampled together: an
    object is drawn as often in one subset as in the others that hold it. How often each test errs where
    the arms are equal is what benchmarks/type_one_error.py measures.

    Parameters
    ----------
    predictions
        As `fold_errors` takes them, with group if objects have any.
    better, worse
        Names of two arms.
    prevalence
        Fraction of mergers that errors are weighed to; None for the data's own.
    seed, draws
        Of the bootstrap.
    test_to_train
        n_test / n_train, as for `corrected_t`, one for all sizes or by subset; the Bayesian t takes
        ρ = n_test / (n_test + n_train), and the mean over sizes the largest ratio, to be on the safe side.
    rope
        As for `correlated_bayes_t`.

    Raises
    ------
    ValueError
        As `fold_errors` does; or if an arm is absent, the arms share nothing, or an object is in the test
        folds of two numbers.
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
            left_out.append(f"subset {subset:g}: the arms share one fold only, so no test over folds")
    per_size = pd.DataFrame(table).reindex(columns=PER_SIZE)
    without = per_size[per_size["test"].isin(T_TESTS) & per_size["p_value"].isna()]
    left_out += [
        f"subset {subset:g}: all folds agree, so no {test} test, alone or in a combination"
        for subset, test in zip(without["subset"], without["test"], strict=True)
    ]

    sizes_of_fold = folds.groupby("fold").size()
    left_out += [
        f"fold {fold}: not shared at every size, so not in the corrected t of the mean over sizes"
        for fold in sizes_of_fold.index[sizes_of_fold < len(subsets)]
    ]
    correlation = pd.DataFrame(_correlation(drawn), index=subsets, columns=subsets)
    combined = [
        *_combined_p(per_size, correlation),
        *_means_over_sizes(folds, per_size, drawn, max(ratios.values())),
    ]
    return Comparison(
        better,
        worse,
        per_size,
        pd.DataFrame(combined).reindex(columns=COMBINED),
        correlation,
        tuple(left_out),
    )


def _rows_of_arms(predictions: pd.DataFrame, better: str, worse: str) -> pd.DataFrame:
    if better == worse:
        raise ValueError(f"better and worse must be two arms, not {better!r} twice")
    rows = test_rows(predictions)
    for arm in (better, worse):
        if not (rows["arm"] == arm).any():
            raise ValueError(f"arm {arm!r} has no test predictions; there are {sorted(set(rows['arm']))}")
    return rows[rows["arm"].isin([better, worse])]


def _pair(
    rows: pd.DataFrame, better: str, worse: str, prevalence: float | None
) -> tuple[pd.DataFrame, list[str]]:
    """Pair the arms' answers about the objects that both rated in the same fold.

    Returns a row an object and size: subset, fold, objid, group, label; wrong_a and wrong_b, 1 for wrong,
    averaged over seeds; once_a and once_b, of the lowest seed; in_fold and in_size, the object's weight in
    the error of its fold and of its size. And a sentence for everything that is left out.
    """
    wrong = ((rows["p_m"] >= 0.5) != (rows["label"] == 1)).astype(float)
    by_seed = rows.assign(wrong=wrong).sort_values("seed", kind="stable")
    by_seed = by_seed if "group" in by_seed else by_seed.assign(group=by_seed["objid"])
    key = [*CELL, "objid", "group", "label"]
    of_a, of_b = (
        by_seed[by_seed["arm"] == arm].groupby(key)["wrong"].agg(["mean", "first"]).set_axis(names, axis=1)
        for arm, names in ((better, ["wrong_a", "once_a"]), (worse, ["wrong_b", "once_b"]))
    )
    either = of_a.join(of_b, how="outer").reset_index()
    left_out: list[str] = []
    parts = []
    for subset, of_size in either.groupby("subset"):
        where = f"subset {subset:g}"
        if (only := _only_one(of_size, better, worse)) is not None:
            left_out.append(f"{where}: only {only} has it")
            continue
        for fold, cell in of_size.groupby("fold"):
            both = cell.dropna()
            if (only := _only_one(cell, better, worse)) is not None:
                left_out.append(f"{where}, fold {fold}: only {only} has it")
            elif both["label"].nunique() < 2:
                left_out.append(f"{where}, fold {fold}: the arms share no objects of both classes")
            else:
                parts.append(both)
                if len(both) < len(cell):
                    n = len(cell) - len(both)
                    left_out.append(
                        f"{where}, fold {fold}: {n} objects that only one arm rated are not paired"
                    )
    if not parts:
        raise ValueError(f"{better} and {worse} can't be compared: " + "; ".join(left_out))
    pairs = pd.concat(parts, ignore_index=True)
    folds_of = pairs[["objid", "fold"]].drop_duplicates()["objid"]
    if (twice := folds_of.duplicated()).any():
        raise ValueError(f"object {folds_of[twice].iloc[0]} is in the test folds of two numbers")

    def weight(label: pd.Series) -> Floats:
        return class_weights(label.to_numpy() == 1, prevalence)

    in_fold = pairs.groupby(CELL)["label"].transform(weight)
    in_size = pairs.groupby("subset")["label"].transform(weight)
    return pairs.assign(in_fold=in_fold, in_size=in_size), left_out


def _only_one(part: pd.DataFrame, better: str, worse: str) -> str | None:
    """Return the arm that alone has these rows."""
    if part["wrong_b"].isna().all():
        return better
    return worse if part["wrong_a"].isna().all() else None


def _fold_table(runs: pd.DataFrame, pairs: pd.DataFrame, better: str, worse: str) -> pd.DataFrame:
    """Return errors of shared folds: own_a and own_b of all an arm's objects, a and b of the paired ones."""
    own = runs.groupby(["arm", *CELL])[["error", "n_train"]].mean()
    of_a, of_b = own.loc[better], own.loc[worse]
    weighed = {side: pairs["in_fold"] * pairs[f"wrong_{side}"] for side in ("a", "b")}
    paired = pairs.assign(**weighed).groupby(CELL)[["a", "b"]].sum()
    n_train = (of_a["n_train"] + of_b["n_train"]) / 2
    return paired.assign(own_a=of_a["error"], own_b=of_b["error"], n_train=n_train)


def _tests_over_folds(folds: pd.DataFrame, test_to_train: float, rope: float) -> Iterator[dict[str, object]]:
    if len(folds) < 2:
        return
    own_a, own_b, a, b = (folds[name].to_numpy() for name in ("own_a", "own_b", "a", "b"))
    rho = test_to_train / (1 + test_to_train)
    yield {"test": "welch", "difference": own_b.mean() - own_a.mean(), **asdict(welch(own_a, own_b))}
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

    What is drawn are the groups' objects of one fold and class. Strata are these and the subsets that hold
    some of them, so that every draw has as many groups of each fold and class at each size as there are.
    """
    unit, first, row = np.unique(
        pairs[["fold", "label", "group"]].to_numpy(), axis=0, return_index=True, return_inverse=True
    )
    subsets, size = np.unique(pairs["subset"], return_inverse=True)
    shape = (len(unit), 2, len(subsets))
    at = np.ravel_multi_index((row.reshape(-1), pairs["label"].to_numpy(), size), shape)
    # Of each class at each size: how many objects, and how often the worse arm alone is wrong.
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
    """Return the correlation of the columns, at least 0; one without spread has none with the others.

    Sharing objects can't make sizes disagree: a negative estimate is chance, and would add to significance.
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
