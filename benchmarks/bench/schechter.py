"""A fit of a Schechter function: ours, and that of pydftools, on the same mock surveys."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.bench.peers import PeerMissing, Peers
from benchmarks.bench.results import OURS, Comparison
from benchmarks.mass_function_mocks import MERGERS, fit_schechter, fitted_by_pydftools, sample

PEER = "pydftools"


def measure(peers: Peers, rounds: int) -> list[Comparison]:
    """Compare the times of a fit without errors, and the parameters."""
    found = Comparison("a Schechter function of 2100 galaxies", "s", {})
    off, (points, volume) = [], sample(MERGERS, 0)
    fit_schechter(points, volume, draws=0)  # the first call is slower, as is that of the peer
    print(found.name, flush=True)
    for seed in range(rounds):
        points, volume = sample(MERGERS, seed)
        started = time.perf_counter()
        fit = fit_schechter(points, volume, draws=0)
        found.turns.setdefault(OURS, []).append(time.perf_counter() - started)
        try:
            other, seconds = fitted_by_pydftools(peers.python(PEER), points, volume)
        except (PeerMissing, SystemExit) as reason:
            found.notes.append(f"{PEER} was not measured: {reason}")
            break
        found.turns.setdefault(PEER, []).append(seconds)
        off.append(np.array(other) - [*fit.parameters, fit.log_phi])
    if off:
        worst = np.abs(off).max(axis=0)
        found.notes.append(
            f"The two differ by at most {worst[0]:.4f} in log M*, {worst[1]:.4f} in alpha and "
            f"{worst[2]:.4f} in log Phi*."
        )
    return [found]
