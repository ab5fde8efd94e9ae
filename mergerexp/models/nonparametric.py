"""Rules and random forests on measured morphologies, the methods that the paper compares networks with.

Every method calls a galaxy whose measurement failed (statmorph's flag above 1) a non-merger, with p_m = 0, so
that no method can leave out difficult objects; forests do not learn from it either.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import load_file, save_file

from mergerexp.config.schema import NonparametricConfig
from mergerexp.errors import DataError
from mergerexp.files import read_json, write_json, written
from mergerexp.models.morphology import CASGM, FEATURES, GOOD
from mergerexp.runs.run_folder import MODEL, WEIGHTS

# Lotz et al. 2008, ApJ 672, 177; Conselice 2003, ApJS 147, 1. The smoothness is that of statmorph, as in
# Lotz, Primack & Madau 2004. That of Conselice is ten times as large, and would find few mergers on pictures
# with the noise of SDSS (an error of 0.44 instead of 0.31 on `data=simulated_small`).
GINI_M20 = "gini > 0.33 - 0.14 * m20"
ASYMMETRY = "asymmetry > 0.35 and asymmetry > smoothness"
RULES = {"gini_m20": GINI_M20, "asymmetry": ASYMMETRY, "either": f"({GINI_M20}) or ({ASYMMETRY})"}
FORESTS = {"forest_cas": CASGM, "forest_all": FEATURES}
AT_ONCE = 4096  # the number of galaxies that are sent through a forest together
LEAF = -1


@dataclass(frozen=True)
class Rule:
    """A fixed rule.

    Attributes
    ----------
    method
        A key of `RULES`.
    """

    method: str

    def p_m(self, measured: pd.DataFrame) -> NDArray[np.float64]:
        """Return 1 for each galaxy of a table of measurements where the rule holds, else 0; shape (n,)."""
        holds = np.asarray(measured.eval(RULES[self.method], engine="python"), dtype=bool)
        return (holds & is_good(measured)).astype(np.float64)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return no tensors, since a rule has none."""
        return {}

    def description(self) -> dict[str, Any]:
        """Return a description of the rule for a JSON file."""
        return {"rule": RULES[self.method], "output": "p_m is 1 where flag <= 1 and the rule holds, else 0"}


@dataclass(frozen=True)
class Forest:
    """A random forest (Breiman 2001), as the arrays of its trees' nodes.

    Attributes
    ----------
    method
        A key of `FORESTS`, which determines the features.
    roots
        The node at the root of each tree, int32, shape (trees,).
    left
        The node that follows if the feature is at most the threshold, int32, shape (nodes,), -1 at a leaf.
    right
        The node that follows if it is not, int32, shape (nodes,), -1 at a leaf.
    feature
        The number of the feature that each node uses, int32, shape (nodes,).
    threshold
        The threshold of each node, float64, shape (nodes,).
    p_merger
        The weighted fraction of mergers among the training galaxies of each node, float64, shape (nodes,).
    """

    method: str
    roots: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    p_merger: NDArray[np.float64]

    @classmethod
    def fit(
        cls, settings: NonparametricConfig, measured: pd.DataFrame, labels: ArrayLike, seed: int, threads: int
    ) -> Forest:
        """Grow a forest with equal weights of both classes, as in the mini-batches of networks.

        Parameters
        ----------
        settings
            The method, a key of `FORESTS`, the number of trees and the smallest number of galaxies in a leaf.
        measured
            The measurements of the training galaxies, with the columns
            `mergerexp.models.morphology.MEASURED`.
        labels
            The label (0 or 1) of each galaxy, shape (n,).
        seed
            The seed of the forest.
        threads
            The number of threads that grow trees.

        Raises
        ------
        DataError
            If no galaxy of a class could be measured.
        """
        from sklearn.ensemble import RandomForestClassifier

        method, good = settings.method, is_good(measured)
        label = np.asarray(labels)[good]
        for value in (0, 1):
            if value not in label:
                raise DataError(
                    f"model.method={method}: no training galaxy of class {value} could be measured; use more "
                    "galaxies, and check whether data.stretch is that of the pictures"
                )
        forest = RandomForestClassifier(
            settings.trees,
            min_samples_leaf=settings.min_leaf,
            class_weight="balanced",
            random_state=seed % 2**32,
            n_jobs=threads,
        ).fit(_inputs(measured[good], method), label)
        grown = [estimator.tree_ for estimator in forest.estimators_]
        counts = [tree.node_count for tree in grown]
        roots = np.cumsum([0, *counts[:-1]])

        def joined(children: str) -> NDArray[np.int32]:
            nodes = np.concatenate([getattr(tree, children) for tree in grown])
            return np.where(nodes == LEAF, LEAF, nodes + np.repeat(roots, counts)).astype(np.int32)

        fractions = np.concatenate([tree.value[:, 0] for tree in grown])
        return cls(
            method,
            roots=roots.astype(np.int32),
            left=joined("children_left"),
            right=joined("children_right"),
            feature=np.concatenate([tree.feature for tree in grown]).astype(np.int32),
            threshold=np.concatenate([tree.threshold for tree in grown]),
            p_merger=fractions[:, 1] / fractions.sum(axis=1),
        )

    def p_m(self, measured: pd.DataFrame) -> NDArray[np.float64]:
        """Return the mean of the trees' fractions of mergers for a table of measurements; shape (n,)."""
        good = is_good(measured)
        inputs = _inputs(measured[good], self.method)
        parts = [self._descend(inputs[start : start + AT_ONCE]) for start in range(0, len(inputs), AT_ONCE)]
        p = np.zeros(len(measured))
        p[good] = np.concatenate([np.zeros(0), *parts])
        return p

    def _descend(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        galaxy = np.arange(len(inputs))
        node = np.repeat(self.roots[:, None], len(inputs), axis=1)
        while (inner := self.left[node] != LEAF).any():
            is_left = inputs[galaxy, self.feature[node]] <= self.threshold[node]
            node = np.where(inner, np.where(is_left, self.left[node], self.right[node]), node)
        return np.asarray(self.p_merger[node].mean(axis=0))

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name."""
        return {name: value for name, value in vars(self).items() if name != "method"}

    def description(self) -> dict[str, Any]:
        """Return a description of the use of the arrays for a JSON file."""
        return {
            "features": list(FORESTS[self.method]),
            "trees": len(self.roots),
            "node": "left[node] if float32(features[feature[node]]) <= threshold[node] else right[node]; "
            "begin at roots; a leaf has left = -1",
            "output": "p_m is the mean over the trees of p_merger at the leaf; 0 where flag > 1",
        }


Nonparametric = Rule | Forest


def is_good(measured: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which measurements are reliable, shape (n,)."""
    return np.asarray(measured["flag"] <= GOOD)


def _inputs(measured: pd.DataFrame, method: str) -> NDArray[np.float32]:
    """Return the features that a forest uses, shape (n, D), in float32 as scikit-learn takes them."""
    return measured[list(FORESTS[method])].to_numpy(dtype=np.float32)


def save(folder: Path, model: Nonparametric, measurement: dict[str, Any]) -> None:
    """Write ``model.safetensors``, which is empty for a rule, and ``model.json``.

    Parameters
    ----------
    folder
        The folder of the run.
    model
        The rule or the forest.
    measurement
        A description of how its inputs were measured.
    """
    with written(folder / WEIGHTS) as partial:
        save_file(model.tensors(), partial)
    about = {"kind": "nonparametric", "method": model.method, **model.description()}
    write_json(folder / MODEL, {**about, "measurement": measurement})


def load(folder: Path) -> Nonparametric:
    """Read a rule or a forest that `save` wrote; no code in the files is executed.

    Raises
    ------
    DataError
        If the model of the run is neither a rule nor a forest.
    """
    method = read_json(folder / MODEL).get("method")
    if method in RULES:
        return Rule(method)
    if method in FORESTS:
        return Forest(method, **load_file(folder / WEIGHTS))
    raise DataError(f"{folder}: model.json describes neither a rule nor a forest")
