"""Images of galaxies in rows, with the p_m of each (Ackermann et al. 2018, Figs 8 to 11)."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from mergerexp.report.figures.style import figure
from mergerexp.report.numbers import p_m_text
from mergerexp.report.page.content import Thumb

COLUMNS = 8
WIDTH, HEIGHT = 0.95, 1.13  # inches that a picture takes with its p_m
SIDE = 0.9  # inches of the picture itself


def draw_gallery(pictures: Sequence[Thumb]) -> Figure:
    """Draw pictures in rows with p_m below each of them.

    All are in one set of axes, whose unit is an inch: with axes for each, it takes longer to draw and save.
    """
    rows = math.ceil(len(pictures) / COLUMNS)
    with figure(COLUMNS * WIDTH, rows * HEIGHT) as (made, axes):
        made.set_layout_engine(None)
        axes.set_position((0, 0, 1, 1))
        axes.set_axis_off()
        for at, picture in enumerate(pictures):
            row, column = divmod(at, COLUMNS)
            left, top = column * WIDTH + (WIDTH - SIDE) / 2, (rows - row) * HEIGHT - 0.02
            pixels = np.asarray(Image.open(io.BytesIO(picture.image)))
            axes.imshow(pixels, extent=(left, left + SIDE, top - SIDE, top), aspect="auto")
            below = {"ha": "center", "va": "top", "fontsize": 8}
            axes.text(left + SIDE / 2, top - SIDE - 0.03, p_m_text(picture.p_m), **below)
        axes.set_xlim(0, COLUMNS * WIDTH)
        axes.set_ylim(0, rows * HEIGHT)
        return made
