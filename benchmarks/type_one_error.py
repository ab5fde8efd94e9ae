"""Measure how often the significance tests of the lesion study find a difference where there is none.

Two arms are equal on average over data sets: each fits a ridge regression to its own half of the features,
and both halves have the same information about the class. Every replicate is a new data set with four
rotating folds (test k, validation k+1, training on the other two) and nested subsets, as in the study. A test
is right if the rate of its rejections is its level.

python benchmarks/type_one_error.py --replicates 1600
"""

from __future__ import annotations

import argparse
import itertools
import time

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm

from mergerexp.analysis.fold_errors import learning_table
from mergerexp.analysis.lesion import compare_arms

FOLDS = 4
SUBSETS = (1.0, 0.5, 0.3, 0.17, 0.1)
FEATURES = 20  # the number of features of each arm
# The distance of the mean of a class from the overall mean in each feature, in standard deviations.
APART = 0.38
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def ridge(x: Floats, label: Ints) -> Floats:
    """Fit labels by ridge regression.

    Parameters
    ----------
    x
        The features, of shape (objects, features).
    label
        The labels, 0 or 1.

    Returns
    -------
    NDArray
        The weights of the features, and as the last one the intercept.
    """
    x1 = np.column_stack([x, np.ones(len(x))])
    target = x1.T @ (2.0 * label - 1)
    return np.asarray(np.linalg.solve(x1.T @ x1 + np.eye(x1.shape[1]), target), dtype=np.float64)


def predict(weights: Floats, x: Floats) -> Floats:
    """Return p_m of each object, which is a logistic function of the fit.

    Parameters
    ----------
    weights
        The result of `ridge`.
    x
        The features, of shape (objects, features).
    """
    p_m: Floats = expit(2 * (x @ weights[:-1] + weights[-1]))
    return p_m


def simulate(setting: argparse.Namespace, rng: np.random.Generator) -> pd.DataFrame:
    """Draw a data set, and return the test predictions of all runs on it.

    Parameters
    ----------
    setting
        The result of `parse_arguments`.
    rng
        The random numbers.
    """
    half = setting.objects // 2
    label = np.repeat([0, 1], half)
    place = np.concatenate([rng.permutation(half), rng.permutation(half)])
    fold, rank = place % FOLDS, (place // FOLDS + 0.5) * FOLDS / half  # rank in (0, 1) within fold and class
    x = rng.normal(size=(2 * half, 2 * FEATURES)) + APART * (2 * label - 1)[:, None]
    arms = {"a": x[:, :FEATURES], "b": x[:, FEATURES:]}
    runs = []
    for subset, k in itertools.product(SUBSETS, range(FOLDS)):
        test = np.flatnonzero((fold == k) & ((rank < subset) | (setting.subset_of == "train")))
        train = np.flatnonzero((fold != k) & (fold != (k + 1) % FOLDS) & (rank < subset))
        for arm, seen in arms.items():
            weights = ridge(seen[train], label[train])
            for seed in range(setting.seeds):
                noise = rng.normal(size=len(weights)) * setting.noise * np.sqrt((weights**2).mean())
                p_m = predict(weights + noise, seen[test])
                run = {"arm": arm, "subset": subset, "n_train": len(train), "seed": seed, "fold": k}
                rated = {"split": "test", "objid": test, "label": label[test], "p_m": p_m}
                runs.append(pd.DataFrame({**run, **rated}))
    return pd.concat(runs, ignore_index=True)


def rejections(table: pd.DataFrame, by: list[str], replicates: int, level: float) -> pd.Series:
    """Return the rate of rejections of each test, as text with its binomial standard error.

    Parameters
    ----------
    table
        The p-values of the tests in all replicates.
    by
        The columns of the table that distinguish the tests.
    replicates
        The number of replicates.
    level
        The p-value below which a test rejects.
    """
    p_value = table["p_value"].fillna(1 - table["p_better"]) if "p_better" in table else table["p_value"]
    counts = (p_value < level).groupby([table[name] for name in by]).sum()

    def text(count: int) -> str:
        rate = count / replicates
        return f"{rate:.3f}±{np.sqrt(rate * (1 - rate) / replicates):.3f}"

    return counts.map(text)


def parse_arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--replicates", type=int, default=1600, help="data sets to draw")
    parser.add_argument("--objects", type=int, default=6000, help="size of a data set, half of it mergers")
    parser.add_argument("--subset-of", choices=("all", "train"), default="all", help="what a subset cuts")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each run")
    parser.add_argument("--noise", type=float, default=0.0, help="noise of the weights, relative to them")
    parser.add_argument("--draws", type=int, default=1000, help="draws of a bootstrap")
    parser.add_argument("--level", type=float, default=0.05, help="p below which a test rejects")
    parser.add_argument("--seed", type=int, default=0, help="seed of the data sets (%(default)s)")
    return parser.parse_args()


def main() -> None:
    """Print the rejection rates, each with its binomial standard error."""
    setting = parse_arguments()
    rng = np.random.default_rng(setting.seed)
    started = time.perf_counter()
    per_size, combined, errors, correlations = [], [], [], []
    for replicate in range(setting.replicates):
        predictions = simulate(setting, rng)
        found = compare_arms(predictions, "a", "b", seed=replicate, draws=setting.draws)
        per_size.append(found.per_size)
        combined.append(found.combined)
        correlations.append(found.correlation.to_numpy())
        errors.append(learning_table(predictions).set_index("n_train")["error"].groupby("n_train").mean())
    seconds = time.perf_counter() - started

    print(f"{setting.replicates} data sets in {seconds:.0f} s; rejections at p < {setting.level:g}, by size")
    sizes = pd.concat(per_size)
    rates = rejections(sizes, ["test", "n_train"], setting.replicates, setting.level)
    print(rates.unstack().to_string())  # noqa: PD010
    print("\nmean test error", pd.concat(errors).groupby("n_train").mean().round(3).to_dict())
    print("\nall sizes together")
    together = pd.concat(combined)
    print(rejections(together, ["test", "combination"], setting.replicates, setting.level).to_string())
    between = np.triu_indices(len(SUBSETS), 1)
    for test, value in (("welch", "p_value"), ("paired_t", "p_value"), ("paired_bootstrap", "difference")):
        of_test = sizes.loc[sizes["test"] == test, value].to_numpy().reshape(-1, len(SUBSETS))
        z = norm.isf(of_test.clip(1e-15, 1 - 1e-15)) if value == "p_value" else of_test
        what = "z" if value == "p_value" else "differences"
        print(f"mean correlation of sizes: {what} of {test} {np.corrcoef(z.T)[between].mean():.2f}")
    estimated = np.mean(correlations, axis=0)[between].mean()
    print(f"mean correlation of sizes as the bootstrap estimates it {estimated:.2f}")


if __name__ == "__main__":
    main()
