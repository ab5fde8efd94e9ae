"""Short hashes for names and identities; whole files are hashed by `mergerexp.seals`."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest(content: Any, length: int = 16) -> str:
    """Return the first hexadecimal digits of the SHA-256 of what JSON can hold, whatever its keys' order."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def hash63(data: bytes) -> int:
    """Return 63 bits of the SHA-256 of bytes, the same on every machine: it fits an int64."""
    return first63(hashlib.sha256(data).digest())


def first63(sha256: bytes) -> int:
    """Return the first 63 bits of a SHA-256, as `hash63` does."""
    return int.from_bytes(sha256[:8], "big") >> 1
