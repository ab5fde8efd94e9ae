"""Training curves: losses and validation accuracy of every run, epoch by epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from mergerexp.report.figures.style import WIDE, colour_of, figure, plain, plain_logarithms
from mergerexp.report.results import StudyResults
from mergerexp.runs.endings import BEST_EPOCH

TRAINING = "#8a8a8a"
MOST_RUNS = (
    200  # whose lines are drawn one by one; those of more are a picture, which bounds the report's bytes
)


def draw_training_curves(results: StudyResults) -> Figure:
    """Draw losses and accuracy in two rows of panels for each network, with a column for each size.

    The epochs of the head stage are counted back from 0, where fine-tuning begins. A dot marks the best epoch
    of a run.
    """
    sizes = sorted(results.histories["subset"].unique(), reverse=True)
    arms = [arm for arm in results.networks if arm in set(results.histories["arm"])]
    width, height = max(WIDE, 1.1 + 2.1 * len(sizes)), 0.5 + 3.0 * len(arms)
    is_picture = results.histories["run_id"].nunique() > MOST_RUNS
    panels = {"nrows": 2 * len(arms), "ncols": len(sizes), "squeeze": False, "sharex": "col", "sharey": "row"}
    with figure(width, height, **panels) as (made, grid):
        for (row, arm), (column, size) in ((a, b) for a in enumerate(arms) for b in enumerate(sizes)):
            in_panel = (results.histories["arm"] == arm) & (results.histories["subset"] == size)
            colour = colour_of(results.arms, arm)
            losses, accuracy = grid[2 * row, column], grid[2 * row + 1, column]
            for run_id, run in results.histories[in_panel].groupby("run_id"):
                best = results.study.metrics.get(run_id, {}).get(BEST_EPOCH)
                _draw_run(losses, accuracy, run, best, colour, is_picture)
            losses.set_title(_title(results.study.runs, arm, size))
        _label(grid, made)
        return made


def _draw_run(
    losses: Axes, accuracy: Axes, run: pd.DataFrame, best: float | None, colour: str, is_picture: bool
) -> None:
    epoch = _epochs(run)
    look: dict[str, Any] = {"color": colour, "linewidth": 0.9, "rasterized": is_picture}
    for _, stage in run.groupby("stage"):  # No line leads from one stage to the next.
        losses.plot(epoch[stage.index], stage["train_loss"], **(look | {"color": TRAINING, "linewidth": 0.8}))
        losses.plot(epoch[stage.index], stage["val_loss"], **look)
        accuracy.plot(epoch[stage.index], stage["val_accuracy"], **look)
    if best is not None:
        at = epoch == best + 1  # A best epoch of -1 is the last one of the head stage.
        dot: dict[str, Any] = {"color": colour, "markersize": 7, "rasterized": is_picture}
        accuracy.plot(epoch[at], run.loc[at, "val_accuracy"], ".", **dot)


def _epochs(run: pd.DataFrame) -> pd.Series:
    """Return where epochs end: the last of the head stage at 0, and the first of fine-tuning at 1."""
    in_head = run["stage"] == "head"
    return run["epoch"] + 1 - np.where(in_head, in_head.sum(), 0)


def _title(runs: pd.DataFrame, arm: str, subset: float) -> str:
    n_train = runs.loc[(runs["arm"] == arm) & (runs["subset"] == subset), "n_train"]
    return f"{plain(arm)}, " + (f"N = {round(n_train.mean())}" if len(n_train) else "not trained")


def _label(grid: np.ndarray, made: Figure) -> None:
    for axes in grid.flat:
        axes.axvline(0, color="#bbbbbb", linewidth=1, linestyle="--", zorder=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    for axes in grid[0::2].flat:
        axes.set_yscale("log")
        plain_logarithms(axes)
        axes.yaxis.set_minor_locator(NullLocator())  # minor ticks crowd small panels
    for axes in grid[0::2, 0]:
        axes.set_ylabel("loss")
    for axes in grid[1::2, 0]:
        axes.set_ylabel("accuracy")
    for axes in grid[-1]:
        axes.set_xlabel("epoch of fine-tuning")
    lines = [
        Line2D([], [], color=TRAINING, label="training"),
        Line2D([], [], color="black", label="validation (in the method's colour)"),
    ]
    made.legend(handles=lines, loc="outside upper center", ncols=2)
