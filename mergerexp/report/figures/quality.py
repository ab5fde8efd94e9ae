"""Histograms of p_m, calibration, ROC and precision-recall (Ackermann et al. 2018, Figs 3 to 7)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mergerexp.analysis.calibration import calibration_curve
from mergerexp.analysis.curves import precision_recall, roc
from mergerexp.analysis.metrics import auroc
from mergerexp.report.figures.style import (
    MERGER,
    OTHER,
    add_legend,
    colour_of,
    figure,
    line_of,
    marker_of,
    plain,
    plain_logarithms,
)
from mergerexp.report.quality import BALANCED
from mergerexp.report.results import StudyResults
from mergerexp.report.texts import published
from mergerexp.report.words import Words

NAMES = {"p_m": r"$p_m$", "p_cal": r"recalibrated $p_m$"}
UNIT_SQUARE: dict[str, Any] = {"xlim": (-0.01, 1.01), "ylim": (-0.01, 1.01), "aspect": "equal"}


def draw_histogram(test: pd.DataFrame, words: Words, column: str = "p_m") -> Figure:
    """Draw how p_m is distributed for mergers and for others, with each class normalised to one."""
    with figure() as (made, axes):
        edges = np.linspace(0, 1, 21).tolist()
        for label, name, colour in ((0, words.others, OTHER), (1, words.many, MERGER)):
            p = test.loc[test["label"] == label, column]
            weights = np.full(len(p), 1 / len(p))
            axes.hist(p, edges, weights=weights, histtype="stepfilled", color=colour, alpha=0.25)
            axes.hist(
                p, edges, weights=weights, histtype="step", color=colour, label=plain(name), linewidth=1.6
            )
        axes.set(yscale="log", xlim=(0, 1), xlabel=NAMES[column], ylabel="fraction of the class")
        plain_logarithms(axes)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        return made


def draw_calibration(test: pd.DataFrame, words: Words, column: str = "p_m") -> Figure:
    """Draw the fraction of mergers in ten bins of p_m, with 2-sigma Jeffreys intervals."""
    with figure() as (made, axes):
        axes.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle="--", label="perfectly calibrated")
        for kind, colour, marker, shift in (("width", MERGER, "o", 0.0), ("mass", OTHER, ".", 0.004)):
            curve = calibration_curve(test["label"], test[column], kind=kind, prevalence=BALANCED)  # type: ignore[arg-type]
            curve = curve[curve["n"] > 0]
            off = [
                curve["fraction"] - curve["fraction_low"],
                curve["fraction_high"] - curve["fraction"],
            ]
            to_limits = [curve["mean_p"] - curve["low"], curve["high"] - curve["mean_p"]]
            axes.errorbar(
                curve["mean_p"] + shift,
                curve["fraction"],
                yerr=off,
                xerr=to_limits if kind == "width" else None,
                fmt=marker,
                color=colour,
                elinewidth=1,
                alpha=1.0 if kind == "width" else 0.7,
                label={"width": "bins of equal width", "mass": "bins of equal number"}[kind],
            )
        axes.set(**UNIT_SQUARE, xlabel=f"mean {NAMES[column]} in the bin")
        axes.set_ylabel(f"fraction of {plain(words.many)}, classes weighted equally")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))
        return made


def draw_roc(results: StudyResults) -> Figure:
    """Draw the receiver operating characteristic of every method at its largest size."""
    with figure() as (made, axes):
        for arm in results.arms:
            test = results.study.pooled[arm].all_seeds
            curve = roc(test["label"], test["p_m"])
            area = auroc(test["label"], test["p_m"])
            colour, line = colour_of(results.arms, arm), line_of(results.arms, arm)
            axes.plot(curve.fpr, curve.tpr, line, color=colour, label=f"{plain(arm)}: {area:.4f}")
        axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle="--")
        axes.set(**UNIT_SQUARE, xlabel="false-positive rate", ylabel="completeness (true-positive rate)")
        title = "AUROC of the pooled folds"
        if results.with_published:
            title += f"\n(published: {published()['auroc']})"
        add_legend(axes, len(results.arms), loc="lower right", title=title, title_fontsize=9)
        return made


def draw_precision_recall(results: StudyResults) -> Figure:
    """Draw purity against completeness for equally many mergers and others, and for a survey.

    A rule, which has no threshold, is a single point.
    """
    shares = [(BALANCED, "-", "full")]
    if results.settings.prevalence != BALANCED:
        shares.append((results.settings.prevalence, ":", "none"))
    with figure() as (made, axes):
        for arm in results.arms:
            test, colour = results.study.pooled[arm].all_seeds, colour_of(results.arms, arm)
            is_rule, marker = test["p_m"].nunique() <= 2, marker_of(results.arms, arm)
            axes.plot([], [], marker if is_rule else "-", color=colour, label=plain(arm))
            for prevalence, line, filled in shares:
                curve = precision_recall(test["label"], test["p_m"], prevalence)
                if is_rule:
                    # A rule that calls no galaxy a merger has no point.
                    at = (curve.threshold == test["p_m"].max()) & (curve.threshold >= 0.5)
                    recall, precision = curve.recall[at], curve.precision[at]
                    axes.plot(recall, precision, marker, color=colour, fillstyle=filled)
                else:
                    axes.plot(curve.recall, curve.precision, line, color=colour)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.03))
        axes.set(xlabel="completeness (recall)", ylabel="purity (precision)")
        many = plain(results.words.many)
        for prevalence, line, _ in shares:
            axes.plot([], [], line, color="#666666", label=f"{100 * prevalence:.3g} % {many}")
        add_legend(axes, len(results.arms), above=True)  # curves may be anywhere
        return made
