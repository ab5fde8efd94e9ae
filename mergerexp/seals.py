"""Checking that stored files are as they were written, by SHA-256: writers record it, readers compare it.

Where the hash is kept depends on the format of the file. No folder is named with it, so that folders can be
moved and copied:

- JSON files have it under their last key, ``sha256`` (see `mergerexp.files.write_json`).
- Checkpoints, frozen configs and the parts of an unfinished data set end with a line that has it (`sign`).
  In both cases file and hash are written together, under a temporary name, so that a killed process can't
  leave one without the other.
- Other files (images, Parquet, safetensors) are written once, and their hashes are listed in a JSON file that
  is written after them: ``dataset.json`` of a data set, ``seal.json`` of a finished run or of a copy of the
  code, and for fetched weights a JSON file of the same name. The hashes of a run's artifacts in MLflow are
  tags of the run there.
- Blocks of features are zip files, which have checksums of their own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

from mergerexp.errors import UserError

SEAL = "seal.json"
FILES = "files"  # the key of the list of hashes in any JSON file
SIGNATURE = b"\n# sha256 "
SIGNATURE_BYTES = len(SIGNATURE) + 64 + 1  # what `sign` adds to a file
AT_ONCE = 8  # files that are read at once
CHUNK = 1 << 20  # bytes that are read at once
OTHER_HASH = "its hash does not match"  # the end of the message about a file that was changed


def sha256(path: Path) -> str:
    """Return the hash of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_json(content: Any) -> str:
    """Return the hash of the content of a JSON file, which does not depend on its layout."""
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


def sign(path: Path) -> None:
    """Append a line with the hash of everything before it to a file.

    The line is a comment in YAML, and is ignored at the end of a zip file.
    """
    found = sha256(path)
    with path.open("ab") as file:
        file.write(SIGNATURE + found.encode() + b"\n")


def check_signed(path: Path) -> None:
    """Check that a file is as it was when `sign` appended its hash.

    Raises
    ------
    UserError
        If it is not.
    """
    size = path.stat().st_size - SIGNATURE_BYTES
    with path.open("rb") as file:
        if size < 0:
            raise UserError(f"{path} is damaged: it is cut off")
        expected = SIGNATURE + _sha256_of_beginning(file, size).encode() + b"\n"
        if file.read() != expected:
            raise UserError(f"{path} is damaged, or was changed since it was written: {OTHER_HASH}")


def _sha256_of_beginning(file: BinaryIO, size: int) -> str:
    digest = hashlib.sha256()
    while size > 0 and (chunk := file.read(min(size, CHUNK))):
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest()


def digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the hashes of some files of a folder by their names, as they are listed in a JSON file."""
    return {name: sha256(folder / name) for name in names}


def check_listed(folder: Path, listed: Mapping[str, str], names: Iterable[str] | None = None) -> None:
    """Check that files are as they were when their hashes were listed.

    Parameters
    ----------
    folder
        The folder that the files are in.
    listed
        The result of `digests` when they were written.
    names
        The files that are checked; None for all files of the list.

    Raises
    ------
    UserError
        If a file was changed, is missing or is not in the list; the message names the first such file.
    """
    chosen = list(listed if names is None else names)

    def problem(name: str) -> str | None:
        return _problem(folder / name, listed.get(name))

    if len(chosen) <= AT_ONCE:  # they may be large, and Ctrl-C would wait for threads that read them
        found = next(filter(None, map(problem, chosen)), None)
    else:  # a network file system may take longer to find a small file than to read it
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = next(filter(None, pool.map(problem, chosen)), None)
    if found:
        raise UserError(found)


def _problem(path: Path, expected: str | None) -> str | None:
    """Return what is wrong with a file whose hash was listed, if anything is."""
    if expected is None:
        return f"{path} is not in the list of hashes that was made when it was written"
    if not path.is_file():
        return f"{path} is missing"
    if sha256(path) != expected:
        return f"{path} is damaged, or was changed since it was written: {OTHER_HASH}"
    return None


def stamp(path: Path) -> list[int]:
    """Return the size, time of change and inode of a file, which tell whether it may have been changed."""
    about = path.stat()
    return [about.st_size, about.st_mtime_ns, about.st_ino]
