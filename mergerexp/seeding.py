"""The one place where scoped seeds are made."""

from __future__ import annotations

import hashlib
import json


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
    text = json.dumps([seed, *scope])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
