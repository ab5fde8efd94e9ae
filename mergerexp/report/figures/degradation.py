"""Test error against the strength of each degradation of the test images."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from mergerexp.report.figures.style import WIDE, add_legend, draw_errors, figure, plain
from mergerexp.report.results import StudyResults

COLUMNS = 3


def draw_degradations(results: StudyResults) -> Figure:
    """Draw a panel for each degradation, beginning with the images as they are."""
    assert results.robustness is not None
    kinds = list(dict.fromkeys(results.robustness["degradation"]))
    rows = math.ceil(len(kinds) / COLUMNS)
    with figure(WIDE, 2.7 * rows, nrows=rows, ncols=COLUMNS, squeeze=False, sharey=True) as (made, grid):
        for axes in grid.flat[len(kinds) :]:
            axes.set_axis_off()
        for axes, kind in zip(grid.flat, kinds, strict=False):
            curves = results.robustness[results.robustness["degradation"] == kind]
            # The strengths are in the order in which they were configured, from harmless to ruinous.
            strengths = list(dict.fromkeys(curves["strength"]))
            for arm in (arm for arm in results.arms if arm in set(results.robustness["arm"])):
                curve = curves[curves["arm"] == arm].set_index("strength").reindex(strengths)
                draw_errors(axes, results.arms, arm, range(len(strengths)), curve, markersize=4, capsize=2)
            axes.axhline(0.5, color="#bbbbbb", linewidth=1, linestyle="--")
            axes.set_xticks(range(len(strengths)), [f"{strength:g}" for strength in strengths])
            axes.set(title=plain(kind), ylim=(0, 0.6))
        for axes in grid[:, 0]:
            axes.set_ylabel("test error")
        add_legend(grid.flat[0], len(results.arms))
        return made
