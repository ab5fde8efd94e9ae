"""The one place where scoped seeds are made."""

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
        63 bits, the same on every machine and Python version.
    """
    return hash63(json.dumps([seed, *scope]).encode())
