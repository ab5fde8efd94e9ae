"""The figures of one finished run that MLflow shows with it, from what is stored in the folder of the run."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from mergerexp.files import read_json
from mergerexp.frames import records
from mergerexp.runs.run_folder import RunFolder

COLUMNS = 10  # images in a row
SIDE, CELL, ROW = 88, 95, 140  # pixels: of an image, and of what it takes with its margin and texts
LOOK: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # classes may be called anything, dollar signs included
}


def run_figures(folder: RunFolder, target: Path) -> None:
    """Draw the learning curves, the confusion matrix and examples of a finished run as PNG files.

    Parameters
    ----------
    folder
        The folder of the run.
    target
        The folder that the files are written to. Learning curves are left out for a method without epochs.

    Raises
    ------
    UserError, ValueError, LookupError, OSError
        If a file of the run does not have what it should.
    """
    data = read_json(folder.provenance)["data"]
    names = (data["positive"], data["negative"])
    predictions = pd.read_parquet(folder.predictions, columns=["objid", "split", "label", "p_m"])
    test = predictions[predictions["split"] == "test"]
    examples = pd.read_parquet(folder.examples, columns=["objid", "drawn", "jpeg"])
    with mpl.rc_context(LOOK):
        _save(_confusion(test, names), target / "confusion_matrix.png")
        _save(_examples(examples[examples["drawn"]].merge(test, on="objid"), names), target / "examples.png")
        if history := read_json(folder.history):
            _save(_curves(pd.DataFrame(history)), target / "learning_curves.png")


def _figure(width: float, height: float) -> Figure:
    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made


def _save(made: Figure, path: Path) -> None:
    made.savefig(path, dpi=100, metadata={"Software": None})


def _confusion(test: pd.DataFrame, names: tuple[str, str]) -> Figure:
    """Draw how many test images of each class were called what, coloured by the share of their class."""
    called = test["p_m"] >= 0.5
    counts = np.array(
        [[int((called[test["label"] == label] == is_1).sum()) for is_1 in (1, 0)] for label in (1, 0)]
    )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    made = _figure(5.0, 4.2)
    axes: Axes = made.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{counts[row, column]}\n{share:.1%}"
        axes.text(column, row, text, ha="center", va="center", color="white" if share > 0.5 else "black")
    axes.set_xticks((0, 1), names)
    axes.set_yticks((0, 1), names, rotation=90, va="center")
    axes.set_xlabel(f"called ({names[0]} where p_m is at least 0.5)")
    axes.set_ylabel("labelled")
    axes.set_title(f"{len(test)} test images")
    return made


def _examples(rated: pd.DataFrame, names: tuple[str, str]) -> Figure:
    """Draw random test images with each outcome, with p_m below each of them."""
    made = Figure(figsize=(COLUMNS * CELL / 100, 4 * ROW / 100))
    FigureCanvasAgg(made)
    axes = made.add_axes((0, 0, 1, 1))  # one for all images: a layout of 40 of them takes a second
    outcomes = [(label, called) for label in (1, 0) for called in (True, False)]
    for row, (label, called) in enumerate(outcomes):
        shown = rated[(rated["label"] == label) & ((rated["p_m"] >= 0.5) == called)]
        shown = shown.head(COLUMNS).sort_values("p_m", ascending=False)
        top, number = row * ROW + 25, "" if len(shown) else ": none"
        axes.text(4, top - 8, f"{names[1 - label]}, called {names[0 if called else 1]}{number}")
        for column, image in enumerate(records(shown)):
            left, pixels = column * CELL + 4, np.asarray(Image.open(io.BytesIO(image["jpeg"])))
            axes.imshow(pixels, extent=(left, left + SIDE, top + SIDE, top))
            axes.text(left + SIDE / 2, top + SIDE + 15, f"{image['p_m']:.2f}", ha="center", fontsize=9)
    axes.set(xlim=(0, COLUMNS * CELL), ylim=(4 * ROW, 0), aspect="equal")
    axes.set_axis_off()
    return made


def _curves(history: pd.DataFrame) -> Figure:
    """Draw the losses and the validation accuracy of all epochs, one stage after the other."""
    made = _figure(7.5, 5.6)
    losses, accuracy = made.subplots(nrows=2, sharex=True)
    number = pd.Series(np.arange(1, len(history) + 1), history.index)
    for stage, epochs in history.groupby("stage", sort=False):
        where, first = number[epochs.index], stage == history["stage"].iloc[0]
        for column, colour, label in (
            ("train_loss", "#8a8a8a", "training"),
            ("val_loss", "#0072B2", "validation"),
        ):
            losses.plot(where, epochs[column].astype(float), color=colour, label=label if first else None)
        accuracy.plot(where, epochs["val_accuracy"].astype(float), color="#0072B2")
        for axes in (losses, accuracy):
            axes.axvline(where.iloc[0] - 0.5, color="#bbbbbb", linewidth=1, linestyle="--")
        losses.text(where.iloc[0], 1.02, stage, transform=losses.get_xaxis_transform(), fontsize=9)
    losses.set_ylabel("loss")
    losses.legend(frameon=False)
    accuracy.set_ylabel("validation accuracy")
    accuracy.set_xlabel("epoch")
    return made
