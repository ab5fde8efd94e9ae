"""Whether a file at rest is as it was written: SHA-256, recorded by the writer, compared by the reader.

Where the hash is kept depends on what the format has room for, and no folder is named there, so that folders
can be moved and copied:

- JSON files hold it under their last key, ``sha256`` (see `mergerexp.files.write_json`).
- A checkpoint, a frozen config and a part of a data set in the making end with a line that holds it (`sign`).
  Like the above it is written with the file, under a temporary name, so that no kill can part the two.
- Other files (images, Parquet, safetensors) are written once, and listed in a JSON file that is written after
  them: ``dataset.json`` of a data set, ``seal.json`` of a finished run or of a copy of the code, a JSON file
  of the same name for weights that were fetched. What a run
  hands to MLflow is listed there in the run's tags.
- Blocks of features are zip files, which have checksums of their own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from mergerexp.errors import UserError

SEAL = "seal.json"
FILES = "files"  # the key of the list, in whatever JSON it stands
SIGNATURE = b"\n# sha256 "
SIGNED = len(SIGNATURE) + 64 + 1  # bytes that `sign` adds
CHUNK = 1 << 20


def sha256(path: Path) -> str:
    """Return the hash of a whole file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_json(content: Any) -> str:
    """Return the hash of what a JSON file holds, however it is laid out."""
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


def sign(path: Path) -> None:
    """Add a line with the hash of all that stands before it, a comment in YAML and ignored after a zip."""
    found = sha256(path)
    with path.open("ab") as file:
        file.write(SIGNATURE + found.encode() + b"\n")


def check_signed(path: Path) -> None:
    """See that a file is as it was signed.

    Raises
    ------
    UserError
        If it is not.
    """
    size = path.stat().st_size - SIGNED
    with path.open("rb") as file:
        if size < 0:
            raise UserError(f"{path} is damaged: it is cut off")
        expected = SIGNATURE + _sha256_of_beginning(file, size).encode() + b"\n"
        if file.read() != expected:
            raise UserError(f"{path} is damaged, or was changed since it was written: its hash is another")


def _sha256_of_beginning(file: BinaryIO, size: int) -> str:
    digest = hashlib.sha256()
    while size > 0 and (chunk := file.read(min(size, CHUNK))):
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest()


def digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the hashes of some files of a folder by name, for a list in a JSON file."""
    return {name: sha256(folder / name) for name in names}


def check_listed(folder: Path, listed: Mapping[str, str], names: Iterable[str] | None = None) -> None:
    """See that files are as they were listed.

    Parameters
    ----------
    folder
        Of the files.
    listed
        What `digests` returned when they were written.
    names
        Which of them to read; None for all.

    Raises
    ------
    UserError
        Naming the first that is not, is missing or is not in the list.
    """
    for name in listed if names is None else names:
        path = folder / name
        if name not in listed:
            raise UserError(f"{path} is not in the list of hashes that was made when it was written")
        if not path.is_file():
            raise UserError(f"{path} is missing")
        if sha256(path) != listed[name]:
            raise UserError(f"{path} is damaged, or was changed since it was written: its hash is another")
