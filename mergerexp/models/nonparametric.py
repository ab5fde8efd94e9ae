"""Rules and random forests on measured morphologies: what the paper claims to beat.

A galaxy whose measurement failed (statmorph's flag above 1) is called a non-merger by every method, with
p_m = 0, so that no method may drop hard objects; forests do not learn from it either.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import load_file, save_file

from mergerexp.errors import DataError
from mergerexp.files import read_json, write_json, written
from mergerexp.models.morphology import CASGM, FEATURES, GOOD

# Lotz et al. 2008, ApJ 672, 177; Conselice 2003, ApJS 147, 1. S is statmorph's, that of Lotz, Primack & Madau
# 2004; Conselice's own is ten times as large, and on pictures with SDSS's noise would leave few mergers (an
# error of .44 instead of .31 on `data=simulated_small`).
GINI_M20 = "gini > 0.33 - 0.14 * m20"
ASYMMETRY = "asymmetry > 0.35 and asymmetry > smoothness"
RULES = {"gini_m20": GINI_M20, "asymmetry": ASYMMETRY, "either": f"({GINI_M20}) or ({ASYMMETRY})"}
FORESTS = {"forest_cas": CASGM, "forest_all": FEATURES}
AT_ONCE = 4096  # galaxies that are sent through a forest together
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
        """Return 1 where the rule holds, else 0, for a table of measurements; shape (n,)."""
        holds = np.asarray(measured.eval(RULES[self.method], engine="python"), dtype=bool)
        return (holds & is_good(measured)).astype(np.float64)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return nothing: the rule says it all."""
        return {}

    def description(self) -> dict[str, Any]:
        """Say what it does."""
        return {"rule": RULES[self.method], "output": "p_m is 1 where flag <= 1 and the rule holds, else 0"}


@dataclass(frozen=True)
class Forest:
    """A random forest (Breiman 2001), as the arrays of its trees' nodes.

    Attributes
    ----------
    method
        A key of `FORESTS`, which says what features it looks at.
    roots
        Node of each tree's root, int32, shape (trees,).
    left, right
        Node that follows if the feature is at most the threshold, and else; int32, shape (nodes,), -1 at a
        leaf.
    feature
        Which feature a node looks at; int32, shape (nodes,).
    threshold
        float64, shape (nodes,).
    p_merger
        Weighted fraction of mergers among the training galaxies of a node; float64, shape (nodes,).
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
        cls,
        method: str,
        measured: pd.DataFrame,
        labels: ArrayLike,
        *,
        trees: int,
        min_leaf: int,
        seed: int,
        threads: int = 1,
    ) -> Forest:
        """Grow a forest; both classes weigh alike, as in the networks' mini-batches.

        Raises
        ------
        DataError
            If no galaxy of a class could be measured.
        """
        from sklearn.ensemble import RandomForestClassifier

        good = is_good(measured)
        label = np.asarray(labels)[good]
        for value in (0, 1):
            if value not in label:
                raise DataError(
                    f"model.method={method}: no training galaxy of class {value} could be measured; use more "
                    "of them, and see whether data.stretch is that of the pictures"
                )
        forest = RandomForestClassifier(
            trees,
            min_samples_leaf=min_leaf,
            class_weight="balanced",
            random_state=seed % 2**32,
            n_jobs=threads,
        ).fit(_inputs(measured[good], method), label)
        grown = [estimator.tree_ for estimator in forest.estimators_]
        roots = np.cumsum([0, *(tree.node_count for tree in grown[:-1])])

        def joined(children: str) -> NDArray[np.int32]:
            own = [getattr(tree, children) for tree in grown]
            parts = [
                np.where(nodes == LEAF, LEAF, nodes + root) for nodes, root in zip(own, roots, strict=True)
            ]
            return np.concatenate(parts).astype(np.int32)

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
        """Say how the arrays are to be used."""
        return {
            "features": list(FORESTS[self.method]),
            "trees": len(self.roots),
            "node": "left[node] if float32(features[feature[node]]) <= threshold[node] else right[node]; "
            "begin at roots; a leaf has left = -1",
            "output": "p_m is the mean over the trees of p_merger at the leaf; 0 where flag > 1",
        }


Nonparametric = Rule | Forest


def is_good(measured: pd.DataFrame) -> NDArray[np.bool_]:
    """Tell which measurements can be relied on, shape (n,)."""
    return np.asarray(measured["flag"] <= GOOD)


def _inputs(measured: pd.DataFrame, method: str) -> NDArray[np.float32]:
    """Return what a forest looks at, shape (n, D), in float32 as scikit-learn takes it."""
    return measured[list(FORESTS[method])].to_numpy(dtype=np.float32)


def save(folder: Path, model: Nonparametric, measurement: dict[str, Any]) -> None:
    """Write ``model.safetensors`` (the arrays of a forest; none of a rule) and ``model.json``.

    Parameters
    ----------
    folder
        Of the run.
    model
        The rule or forest.
    measurement
        How its inputs were measured.
    """
    with written(folder / "model.safetensors") as partial:
        save_file(model.tensors(), partial)
    about = {"kind": "nonparametric", "method": model.method, **model.description()}
    write_json(folder / "model.json", {**about, "measurement": measurement})


def load(folder: Path) -> Nonparametric:
    """Read what `save` wrote; nothing in the files is executed.

    Raises
    ------
    DataError
        If the run is not one of a rule or forest.
    """
    method = read_json(folder / "model.json").get("method")
    if method in RULES:
        return Rule(method)
    if method in FORESTS:
        return Forest(method, **load_file(folder / "model.safetensors"))
    raise DataError(f"{folder}: model.json is of no rule or forest")
