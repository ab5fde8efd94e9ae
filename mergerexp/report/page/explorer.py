"""What the threshold explorer needs to know about the predictions: counts at each threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mergerexp.analysis.calibration import jeffreys
from mergerexp.analysis.metrics import auroc
from mergerexp.report.numbers import GRID, p_m_text
from mergerexp.report.page.content import Arm, Explorer, Thumb
from mergerexp.report.page.images import embed
from mergerexp.report.words import Words


def cells_of(p_m: ArrayLike) -> NDArray[np.int64]:
    """Round p_m down to multiples of 1/GRID, which reach exactly the thresholds that p_m reaches.

    Raises
    ------
    ValueError
        If p_m is outside [0, 1].
    """
    p = np.asarray(p_m, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p_m must lie in [0, 1], without NaN")
    cells: NDArray[np.int64] = np.searchsorted(np.arange(GRID + 1) / GRID, p, side="right") - 1
    return cells


def explorer_data(explorer: Explorer, words: Words) -> dict[str, Any]:
    """Return what the templates need; the script needs only "data".

    Raises
    ------
    ValueError
        If a prediction or an image can't be used.
    """
    images: dict[bytes, tuple[int, str]] = {}  # the place of each image in the list, and its source
    arms = [_arm(arm, images) for arm in explorer.arms]
    data = {"cells": GRID, "prevalence": explorer.prevalence, "arms": arms, "words": words._asdict()}
    return {
        "data": {**data, "images": [source for _, source in images.values()]},
        "note": explorer.note,
        "prevalences": _prevalences(explorer),
    }


def _prevalences(explorer: Explorer) -> dict[str, float]:
    """Return the prevalences that can be chosen with a click by their texts; equal ones are one."""
    chosen = {f"{100 * share:.3g} %": share for share in (0.5, explorer.prevalence, explorer.survey)}
    of_data_set = f"{100 * explorer.prevalence:.3g} %"
    return {
        f"{text}, as in the data set" if text == of_data_set else text: share
        for text, share in chosen.items()
    }


def _arm(arm: Arm, images: dict[bytes, tuple[int, str]]) -> dict[str, Any]:
    """Return an arm's samples, and its counts at p_m >= cell / GRID with their 2σ Jeffreys limits."""
    truth, cells = np.asarray(arm.label) == 1, cells_of(arm.p_m)
    counts, limits = {}, {}
    for name, share, part in (("tp", "completeness", cells[truth]), ("fp", "fpr", cells[~truth])):
        reached = np.bincount(part, minlength=GRID + 1)[::-1].cumsum()[::-1]
        counts[name] = reached.tolist()
        limits[share] = [values.round(5).tolist() for values in jeffreys(reached, len(part))]
    samples = [_sample(thumb, images) for thumb in sorted(arm.samples, key=lambda thumb: -thumb.p_m)]
    sizes = {"positives": int(truth.sum()), "negatives": int((~truth).sum())}
    known = {"name": arm.name, "auroc": auroc(arm.label, arm.p_m), **sizes}
    return {**known, **counts, "limits": limits, "samples": samples}


def _sample(thumb: Thumb, images: dict[bytes, tuple[int, str]]) -> dict[str, Any]:
    if thumb.image not in images:
        images[thumb.image] = (len(images), embed(thumb.image, thumb.name).src)
    place, _ = images[thumb.image]
    cell = int(cells_of([thumb.p_m])[0])
    shown = {"objid": str(thumb.objid), "name": thumb.file or str(thumb.objid), "p": p_m_text(thumb.p_m)}
    return {"image": place, **shown, "positive": bool(thumb.label), "cell": cell}
