"""Files that are whole or absent: written under another name, then renamed."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mergerexp.errors import UserError


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Give a temporary name to write to; rename it to ``path`` when all went well."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.touch()
        readers = partial.stat().st_mode
        yield partial
        partial.chmod(readers)  # as the user's umask says: safetensors leaves files that nobody else can read
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # or a power cut could leave the new name on an empty file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    with written(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    UserError
        If it is empty, cut off or no JSON.
    """
    try:
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            text = path.read_text(encoding="utf-8")  # NFS: renamed over while it was read
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error})") from error


def flatten(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested dictionaries under dotted keys."""
    leaves: dict[str, Any] = {}
    for key, value in node.items():
        leaves |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves
