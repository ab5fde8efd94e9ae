"""Whether mass functions of mock surveys come out as the truth, on average and within their errors.

    python -m benchmarks.mass_function_mocks [--mocks 200] [--workers 2] [--pydftools PYTHON]

Merger-like and steep populations are fitted by single Schechter functions: the pulls of the parameters have
mean 0 and standard deviation 1, and bins of 1/V_max and SWML the mean of the truth. A double one is fitted by
double Schechter functions, whose parameters are degenerate: the 68 % interval of Φ covers the truth at four
masses. Galaxies counted in cells give the same as galaxies one by one. PYTHON is that of an environment with
pydftools, an independent implementation of the modified maximum likelihood (Obreschkow et al. 2018, MNRAS
474, 5500), if there is one.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from mergerexp.analysis.completeness import fit_mass_limit
from mergerexp.analysis.mass_function import (
    MassPoints,
    SampleVolume,
    Schechter,
    fit_schechter,
    mass_bins,
    swml_density,
    vmax_density,
)
from mergerexp.analysis.mass_function.choice import bootstrap_fits, fit_both, interval
from mergerexp.analysis.mock_sample import mock_sample

BETWEEN = (0.02, 0.06)
LARGE = 20.0  # galaxies of a bin on average, from which it has to be right
AT = np.array([9.5, 10.2, 10.8, 11.2])  # log10(M/M☉) at which intervals of a double function are looked at
DRAWS = 100


class Population(NamedTuple):
    """A mass function, the area that is surveyed, and the lightest galaxies that are looked at."""

    truth: Schechter
    area: float
    lightest: float


MERGERS = Population(Schechter(10.81, (-0.62,), (-3.43,)), 8000.0, 9.0)
STEEP = Population(Schechter(10.80, (-1.20,), (-2.60,)), 3000.0, 0.0)
DOUBLE = Population(Schechter(10.79, (-1.69, -0.79), (-3.31, -2.01)), 2500.0, 0.0)


def sample(population: Population, seed: int) -> tuple[MassPoints, SampleVolume]:
    """Draw a survey and return its galaxies above the mass limit that is fitted to it."""
    mock = mock_sample(population.truth, BETWEEN, population.area, np.random.default_rng([17, seed]))
    margin = 17.77 - mock["magnitude"]
    limit = fit_mass_limit(mock["redshift"], mock["log_mass"], margin, BETWEEN, seed=0, draws=0).limit
    limit = limit.not_below(population.lightest)
    points = MassPoints.of(mock["log_mass"], limit.at(mock["redshift"]))
    return points, SampleVolume(limit, population.area)


def single(job: tuple[Population, int]) -> dict[str, Any]:
    """Fit one survey of a single population, one by one and in cells."""
    population, seed = job
    truth = np.array([population.truth.log_mass, population.truth.alpha[0], population.truth.log_phi[0]])
    with threadpool_limits(1):
        points, volume = sample(population, seed)
        started = time.perf_counter()
        fit = fit_schechter(points, volume)
        took = time.perf_counter() - started
        edges = mass_bins(max(population.lightest, 8.0))
        vmax, swml = vmax_density(points, volume, edges), swml_density(points, volume, edges)
        found, errors = np.append(fit.parameters, fit.log_phi), np.append(fit.errors, fit.log_phi_error)
        cells = points.counted()
        counted = fit_schechter(cells, volume, draws=0)
        of_cells = swml_density(cells, volume, edges)
    off = np.abs(np.append(counted.parameters, counted.log_phi) - found) / errors
    known = swml["n"] > 0
    off_swml = (np.abs(of_cells["phi"] - swml["phi"]) / swml["error"])[known & (swml["n"] >= LARGE)]
    return {
        "pulls": (found - truth) / errors,
        "bins": np.stack([vmax["phi"], swml["phi"]]),
        "n": vmax["n"].to_numpy(),
        "whole": vmax["whole"].to_numpy(),
        "cells": [off.max(), off_swml.max()],
        "seconds": took,
    }


def double(seed: int) -> dict[str, Any]:
    """Fit one survey of a double population, and tell where the interval of Φ holds the truth."""
    with threadpool_limits(1):
        points, volume = sample(DOUBLE, seed)
        cells = points.counted()
        _, fit = fit_both(cells, volume)
        low, high = interval(bootstrap_fits(cells, volume, fit, seed=seed, draws=DRAWS), AT)
    truth = DOUBLE.truth.density(AT)
    return {"covers": (low <= truth) & (truth <= high), "bound": bool(fit.at_bound)}


def report_single(name: str, population: Population, results: list[dict[str, Any]]) -> None:
    """Print the pulls and the bins of a population."""
    pulls = np.array([each["pulls"] for each in results])
    edges = mass_bins(max(population.lightest, 8.0))
    truth = [
        population.truth.density(np.linspace(low, high, 201)).mean()
        for low, high in itertools.pairwise(edges)
    ]
    n = np.mean([each["n"] for each in results], axis=0)
    whole = np.mean([each["whole"] for each in results], axis=0) == 1
    large = (n >= LARGE) & whole
    ratios = np.mean([each["bins"] for each in results], axis=0) / truth - 1
    scatter = np.std([each["bins"] for each in results], axis=0) / truth / np.sqrt(len(results))
    print(f"{name}: {len(results)} mocks, STY in {np.median([each['seconds'] for each in results]):.2f} s")
    for column, parameter in enumerate(("log M*", "alpha", "log Phi*")):
        own = pulls[:, column]
        print(f"  {parameter:9} pull {own.mean():+.2f}, standard deviation {own.std(ddof=1):.2f}")
    for method, row, error in zip(("1/V_max", "SWML"), ratios[:, large], scatter[:, large], strict=True):
        worst = int(np.abs(row).argmax())
        at, size = (edges[:-1] + 0.1)[large][worst], n[large][worst]
        print(
            f"  {method:8} mean of {large.sum()} bins over the truth: worst {row[worst]:+.3f} ± "
            f"{error[worst]:.3f}, at {at:.1f} with {size:.0f} galaxies"
        )
    cells = np.array([each["cells"] for each in results])
    print(f"  in cells: off by at most {cells[:, 0].max():.3f} σ (STY), {cells[:, 1].max():.3f} σ (SWML)")


def fitted_by_pydftools(python: str, points: Any, volume: Any) -> tuple[list[float], float]:
    """Return log M*, alpha and log Phi* by pydftools, and the seconds of its fit."""
    script = Path(__file__).with_name("peers") / "pydftools_fit.py"
    shells, limits = volume.shells()
    given = {
        "log_mass": points.log_mass.tolist(),
        "grid": (grid := np.arange(8.5, 12.6, 0.01)).tolist(),
        "volume": [float(shells[limits <= mass].sum()) for mass in grid],
    }
    done = subprocess.run([python, str(script)], input=json.dumps(given), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    log_phi, knee, alpha, seconds = json.loads(done.stdout.splitlines()[-1])
    return [knee, alpha, log_phi], seconds


def compare(python: str, mocks: int) -> None:
    """Fit mocks of mergers with pydftools, too, and print by how much the parameters differ."""
    off = []
    for seed in range(mocks):
        points, volume = sample(MERGERS, seed)
        fit = fit_schechter(points, volume, draws=0)
        other, _ = fitted_by_pydftools(python, points, volume)
        off.append(np.array(other) - [*fit.parameters, fit.log_phi])
    mean, sd = np.mean(off, axis=0), np.std(off, axis=0)
    print(f"pydftools, {mocks} mocks: differs in log M* by {mean[0]:+.4f} ± {sd[0]:.4f}, in alpha by "
          f"{mean[1]:+.4f} ± {sd[1]:.4f}, in log Phi* by {mean[2]:+.4f} ± {sd[2]:.4f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mocks", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pydftools", help="python of an environment with pydftools")
    args = parser.parse_args()
    with ProcessPoolExecutor(args.workers) as pool:
        for name, population in (("merger-like", MERGERS), ("steep", STEEP)):
            jobs = [(population, seed) for seed in range(args.mocks)]
            report_single(name, population, list(pool.map(single, jobs)))
        found = list(pool.map(double, range(args.mocks)))
    covers = np.array([each["covers"] for each in found])
    print(f"double: {args.mocks} mocks, {sum(each['bound'] for each in found)} of them at a bound")
    for mass, share in zip(AT, covers.mean(axis=0), strict=True):
        print(f"  the 68 % interval of Phi at {mass:g} covers the truth in {100 * share:.0f} %")
    if args.pydftools:
        compare(args.pydftools, min(20, args.mocks))


if __name__ == "__main__":
    main()
