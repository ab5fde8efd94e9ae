"""Seeds for random numbers, derived from the user's seed for each purpose."""

from __future__ import annotations

import json

from mergerexp.hashing import hash63


def seed_for(seed: int, *scope: str | int) -> int:
    """Derive a seed for one purpose, unrelated to the seeds of all other purposes.

    Parameters
    ----------
    seed
        The user's seed.
    scope
        What the random numbers are for, e.g. ``("folds", 4)``.

    Returns
    -------
    int
        A number of 63 bits, which is the same on every machine and with every version of Python.
    """
    return hash63(json.dumps([seed, *scope]).encode())
