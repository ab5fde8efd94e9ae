"""Figures of many arms: told apart, and not hidden by their legend."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from mergerexp.report.figures.style import COLOURS, FEW, add_legend, colour_of, figure, line_of, marker_of

ARMS = [f"arm {k}" for k in range(3 * len(COLOURS))]


def test_arms_are_told_apart():
    looks = {(colour_of(ARMS, arm), marker_of(ARMS, arm)) for arm in ARMS}
    assert len(looks) == len(ARMS)
    lines = {(colour_of(ARMS, arm), line_of(ARMS, arm)) for arm in ARMS}
    assert len(lines) == len(ARMS)


@pytest.mark.parametrize("arms", [2, FEW + 1, 9])
def test_the_legend_of_many_arms_lies_beside_the_data(arms):
    with figure() as (made, axes):
        for arm in ARMS[:arms]:
            axes.plot([0, 1], [0, 1], color=colour_of(ARMS, arm), label=arm)
        add_legend(axes, arms)
        made.draw_without_rendering()
        (legend,) = made.legends if arms > FEW else [axes.get_legend()]
        legend, data = legend.get_window_extent(), axes.get_window_extent()
        assert (legend.x0 >= data.x1) == (arms > FEW)
        assert legend.x1 <= figure_width(made)


def figure_width(made: Figure) -> float:
    return made.get_size_inches()[0] * made.dpi
