"""Test error against the size of the training set (Ackermann et al. 2018, Fig. 2)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter

from mergerexp.report.figures.style import add_legend, colour_of, draw_errors, figure
from mergerexp.report.results import StudyResults
from mergerexp.report.texts import published

# The points of two methods at one size are drawn apart by this factor, or they would hide each other.
SEPARATION = 1.03
AROUND = 1.5  # the factor by which the axis goes on to both sides of a single size
DIGIT = 0.028  # the width of a digit below the axis, as a fraction of the axis, with its share of a gap


def draw_lesion(results: StudyResults) -> Figure:
    """Draw each method's mean test error over folds with its SEM and power law, and the published errors."""
    with figure() as (made, axes):
        for arm in results.arms:
            errors = results.learning[results.learning["arm"] == arm].sort_values("n_train")
            colour = colour_of(results.arms, arm)
            offset = SEPARATION ** (results.arms.index(arm) - (len(results.arms) - 1) / 2)
            draw_errors(axes, results.arms, arm, errors["n_train"] * offset, errors, linestyle="", capsize=3)
            if law := results.power_laws.get(arm):
                sizes = np.geomspace(errors["n_train"].min(), errors["n_train"].max(), 100)
                error, low, high = law.predict(sizes)
                axes.plot(sizes, error, color=colour, linewidth=1)
                axes.fill_between(sizes, low, high, color=colour, alpha=0.13, linewidth=0)
        ticks = set(results.learning["n_train"])
        if results.with_published:
            published_errors, size = published()["lesion"]["error"], max(published()["lesion"]["sizes"])
            ticks.add(size)
            for name, colour in (("transfer", "#666666"), ("random", "#b0b0b0")):
                label = f"published, {name}"
                axes.plot([size], [published_errors[name][0]], "*", color=colour, markersize=10, label=label)
        axes.set_xscale("log")
        if len(ticks) == 1:  # the axis would begin and end at the points, and set them far apart
            axes.set_xlim(min(ticks) / AROUND, min(ticks) * AROUND)
        named = apart(ticks, *axes.get_xlim())
        axes.xaxis.set_major_locator(FixedLocator(named))
        axes.xaxis.set_minor_locator(FixedLocator(sorted(ticks - set(named))))
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(bottom=0)
        axes.set_xlabel("training images, equally many of each class")
        axes.set_ylabel("test error, classes weighted equally")
        add_legend(axes, len(results.arms))
        return made


def apart(sizes: Iterable[float], low: float, high: float) -> list[float]:
    """Return the sizes, the largest first, whose numbers do not overlap below a logarithmic axis."""
    named: list[float] = []
    for size in sorted(sizes, reverse=True):
        room = DIGIT * len(f"{named[-1]:.0f}") if named else 0
        if not named or np.log(named[-1] / size) >= room * np.log(high / low):
            named.append(size)
    return named
