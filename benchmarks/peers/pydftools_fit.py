"""Fits a Schechter function with pydftools, in an environment of its own, to what comes as JSON on the input.

    python3 -m venv peer
    peer/bin/pip install pydftools setuptools "attrs==19.1.0" "numpy<1.24" "scipy<1.11" "matplotlib<3.8"

It is not maintained, and wants these versions and a few names that numpy had then.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

for name, kind in (("complex", complex), ("float", float), ("int", int), ("bool", bool)):
    setattr(np, name, kind)
import pydftools as df  # noqa: E402

given = json.load(sys.stdin)
grid, volume = np.array(given["grid"]), np.array(given["volume"])


def visible(mass: np.ndarray) -> np.ndarray:
    """Return the volumes in which galaxies of some masses are visible."""
    return np.asarray(np.interp(mass, grid, volume))


started = time.perf_counter()
low = grid[volume > 0][0]
selection = df.selection.SelectionVeff(veff=visible, xmin=low, xmax=grid[-1])
data = df.dffit.Data(x=np.array(given["log_mass"]))
fit = df.dffit.DFFit(data=data, selection=selection, model=df.model.Schechter(p0=(-3.4, 10.8, -0.6)))
best = [float(each) for each in fit.fit.p_best]
print(json.dumps([*best, time.perf_counter() - started]))
