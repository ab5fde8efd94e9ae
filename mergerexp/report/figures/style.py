"""What all figures share: they need no display, look alike, and have the same bytes each time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from mergerexp.files import written

# These are Okabe and Ito's colours, which colour-blind readers can distinguish too. The markers distinguish
# the arms without any colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINES = ("-", "--", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MERGER, OTHER = "#0072B2", "#E69F00"
# Inches, alike for all figures with one panel, which are shown in pairs. WIDE is for several panels.
WIDTH, HEIGHT, WIDE = 4.8, 4.2, 9.8
FEW = 3  # how many arms have a legend that fits among the data
# The files of a figure, each with metadata that leave out what changes from one drawing to the next.
FORMATS: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None},
    "png": {"Software": None},
    "svg": {"Date": None},
}
MANY = (
    1000  # from its lower to its upper end, an axis is labelled at 1, 2 and 5 in each decade; else at 1 alone
)
LEGEND_LINE = 0.2  # inches, the height of a line of a legend above the data
LOOK: dict[Any, Any] = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "pdf.fonttype": 42,
    "svg.hashsalt": "mergerexp",
    "image.composite_image": False,  # else pictures in one set of axes are resampled to one picture
}


@contextmanager
def figure(width: float = WIDTH, height: float = HEIGHT, **panels: Any) -> Iterator[tuple[Figure, Any]]:
    """Provide a figure in the common look, independent of pyplot's global state.

    Parameters
    ----------
    width, height
        The size in inches.
    **panels
        The arguments of ``Figure.subplots``; without any there is one set of axes.

    Yields
    ------
    Figure
        The figure.
    Axes or ndarray of Axes
        What ``subplots`` returns.
    """
    with mpl.rc_context(LOOK):
        made = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(made)
        yield made, made.subplots(**panels)


def plain(name: str) -> str:
    """Return a name as Matplotlib draws it letter by letter: between two dollar signs it expects formulas."""
    return name.replace("$", r"\$")


def draw_errors(axes: Axes, arms: list[str], arm: str, x: Any, errors: pd.DataFrame, **options: Any) -> None:
    """Draw the test errors of a method, in the column error, with bars of their sem."""
    look: dict[str, Any] = {
        "color": colour_of(arms, arm),
        "marker": marker_of(arms, arm),
        "label": plain(arm),
    }
    axes.errorbar(x, errors["error"], yerr=errors["sem"], **look, **options)


def add_legend(axes: Axes, arms: int, above: bool = False, **options: Any) -> None:
    """Put the legend into the axes, or above them where it would hide the data for so many arms, or if asked.

    The figure grows in height, never in width.
    """
    made = axes.figure
    assert isinstance(made, Figure)
    if arms <= FEW and not above:
        axes.legend(**options)
        return
    handles, labels = axes.get_legend_handles_labels()
    width, height = made.get_size_inches()
    columns = max(1, int(width / (0.6 + 0.08 * max(map(len, labels)))))  # inches of a line and of a letter
    lines = math.ceil(len(labels) / columns)
    columns = math.ceil(len(labels) / lines)  # no line is much shorter than the others
    made.set_size_inches(width, height + LEGEND_LINE * max(0, lines - FEW))
    made.legend(handles, labels, **(options | {"loc": "outside upper center", "ncols": columns}))


def plain_logarithms(axes: Axes) -> None:
    """Label a logarithmic axis of y, whose data are drawn already, with plain numbers, such as 0.05."""
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < MANY * low else (1,)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def save(drawn: Figure, folder: Path, name: str) -> Path:
    """Write a figure in all `FORMATS`, and return the path of the SVG file."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(LOOK):
        if (engine := drawn.get_layout_engine()) is not None:
            engine.execute(drawn)
        drawn.set_layout_engine(None)  # else each file would be laid out and drawn anew
        for suffix, metadata in FORMATS.items():
            with written(folder / f"{name}.{suffix}") as partial:
                drawn.savefig(partial, format=suffix, dpi=200, metadata=metadata)
    return folder / f"{name}.svg"


def colour_of(arms: list[str], arm: str) -> str:
    """Return the colour that an arm has in all figures of a study."""
    return COLOURS[arms.index(arm) % len(COLOURS)]


def marker_of(arms: list[str], arm: str) -> str:
    """Return the marker that an arm has in all figures of a study."""
    turn, place = divmod(arms.index(arm), len(COLOURS))
    return MARKERS[(place + turn) % len(MARKERS)]  # Arms with the same colour have different markers.


def line_of(arms: list[str], arm: str) -> str:
    """Return the line style of an arm in all figures; arms with the same colour have different ones."""
    return LINES[arms.index(arm) // len(COLOURS) % len(LINES)]
