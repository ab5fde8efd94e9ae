"""Draw a contact sheet of a data set, with the rare class on the left and the other on the right.

``python -m mergerexp.data.contact_sheet DATASET_DIR OUT.png [--rows N --columns N --seed N]``
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mergerexp.files import written

GAP = 4
HEADING = 18
BACKGROUND, INK = "white", "black"


def contact_sheet(
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    *,
    rows: int = 6,
    columns: int = 5,
    seed: int = 0,
    names: tuple[str, str] = ("label 0", "label 1"),
) -> Image.Image:
    """Draw a random choice of images, those of label 1 in the left half and those of label 0 in the right.

    Parameters
    ----------
    images
        The images, uint8, shape (n, height, width, 3). They may be memory-mapped, as only those that are
        shown are read.
    labels
        The label (0 or 1) of each image, shape (n,).
    rows
        The number of rows of images.
    columns
        The number of columns of images in each half. A class with fewer images leaves places empty.
    seed
        The seed of the choice.
    names
        The headings of label 0 and label 1.

    Returns
    -------
    PIL.Image.Image
        The contact sheet, in RGB.
    """
    height, width = images.shape[1:3]
    half = columns * (width + GAP) + GAP
    sheet = Image.new("RGB", (2 * half, HEADING + rows * (height + GAP)), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    rng = np.random.default_rng(seed)
    for left, label in ((0, 1), (half, 0)):
        of_label = np.flatnonzero(np.asarray(labels) == label)
        pen.text((left + GAP, 3), f"{names[label]} ({len(of_label)})", fill=INK)
        chosen = rng.permutation(of_label)[: rows * columns]
        for place, index in enumerate(chosen):
            row, column = divmod(place, columns)
            corner = (left + GAP + column * (width + GAP), HEADING + row * (height + GAP))
            sheet.paste(Image.fromarray(np.asarray(images[index])), corner)
    pen.line([(half, 0), (half, sheet.height)], fill=INK)
    return sheet


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the images and the catalogue of a data set, and write its contact sheet."""
    parser = argparse.ArgumentParser(prog="mergerexp.data.contact_sheet", description=__doc__)
    parser.add_argument("dataset", type=Path, help="folder with images.npy and catalogue.parquet")
    parser.add_argument("out", type=Path, help="PNG file to write")
    parser.add_argument("--rows", type=int, default=6)
    parser.add_argument("--columns", type=int, default=5, help="columns of images in each half")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    for name in ("images.npy", "catalogue.parquet"):
        if not (options.dataset / name).is_file():
            parser.error(f"{options.dataset} holds no {name}; is it the folder of a prepared data set?")
    if options.rows < 1 or options.columns < 1:
        parser.error("--rows and --columns must be at least 1")
    images = np.load(options.dataset / "images.npy", mmap_mode="r")
    labels = pd.read_parquet(options.dataset / "catalogue.parquet", columns=["label"])["label"].to_numpy()
    sheet = contact_sheet(images, labels, rows=options.rows, columns=options.columns, seed=options.seed)
    with written(options.out) as partial:
        sheet.save(partial, format="PNG")


if __name__ == "__main__":
    main()
