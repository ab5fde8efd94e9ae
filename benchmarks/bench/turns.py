"""Measuring turn about, so that what disturbs the machine for a while disturbs all alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks.bench.peers import PeerMissing
from benchmarks.bench.results import Comparison, spread


def take_turns(found: Comparison, contestants: Mapping[str, Callable[[], float]], rounds: int) -> None:
    """Measure each of some contestants once in every round, and note the values.

    One that can't be measured is named in the notes, and the others go on.

    Parameters
    ----------
    found
        Where the values are noted.
    contestants
        What measures each, by its name.
    rounds
        The number of rounds.
    """
    print(f"{found.name}", flush=True)
    missing = set[str]()
    for number in range(rounds):
        for name, measure in contestants.items():
            if name in missing:
                continue
            try:
                value = float(measure())
            except PeerMissing as reason:
                missing.add(name)
                found.notes.append(f"{name} was not measured: {reason}")
                found.turns.pop(name, None)  # its rounds would not match those of the others
                print(f"  {name}: {reason}", flush=True)
            else:
                found.turns.setdefault(name, []).append(value)
                print(f"  round {number + 1}: {name} {value:.4g} {found.unit}", flush=True)
    for name, values in found.turns.items():
        print(f"  {name}: {spread(values)} {found.unit}", flush=True)
