"""Figures of many arms: told apart, and not hidden by their legend."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from mergerexp.report.figures.style import (
    COLOURS,
    FEW,
    WIDTH,
    add_legend,
    colour_of,
    figure,
    line_of,
    marker_of,
    plain_logarithms,
)

ARMS = [f"arm {k}" for k in range(3 * len(COLOURS))]


def test_arms_are_told_apart():
    looks = {(colour_of(ARMS, arm), marker_of(ARMS, arm)) for arm in ARMS}
    assert len(looks) == len(ARMS)
    lines = {(colour_of(ARMS, arm), line_of(ARMS, arm)) for arm in ARMS}
    assert len(lines) == len(ARMS)


@pytest.mark.parametrize("arms", [2, FEW + 1, 9])
@pytest.mark.parametrize("long", ["", ", learning rate of 0.001"])
@pytest.mark.parametrize("above", [False, True])
def test_the_legend_of_many_arms_lies_above_the_data(arms, long, above):
    """All figures of one panel have the same width, so that they can stand in pairs."""
    with figure() as (made, axes):
        for arm in ARMS[:arms]:
            axes.plot([0, 1], [0, 1], color=colour_of(ARMS, arm), label=arm + long)
        add_legend(axes, arms, above)
        made.draw_without_rendering()
        (legend,) = made.legends if above or arms > FEW else [axes.get_legend()]
        legend, data = legend.get_window_extent(), axes.get_window_extent()
        assert (legend.y0 >= data.y1) == (above or arms > FEW)
        assert made.get_size_inches()[0] == WIDTH
        assert legend.x0 >= 0 and legend.x1 <= figure_width(made)
        assert data.height > 0.55 * made.bbox.height


def figure_width(made: Figure) -> float:
    return made.get_size_inches()[0] * made.dpi


@pytest.mark.parametrize("inches", [1.5, 4.2])
@pytest.mark.parametrize("lowest", [1.5, 0.6, 0.05, 2e-3, 1e-4, 1e-6, 1e-9])
def test_a_logarithmic_axis_has_labels_however_far_it_reaches(lowest, inches):
    with figure(3, inches) as (made, axes):
        axes.plot([0, 1], [lowest, 3.0])
        axes.set_yscale("log")
        plain_logarithms(axes)
        made.canvas.draw()
        low, high = axes.get_ylim()
        labelled = [at for at in axes.get_yticks() if low <= at <= high]
    assert 1 <= len(labelled) <= 10
