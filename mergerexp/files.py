"""Files that are whole or absent: written under another name, then renamed.

Their hashes are the business of `mergerexp.seals`. All that is created follows the user's umask, so that a
group can share a root, and is created exclusively under a name that nobody can guess: a link that somebody
planted is never followed.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mergerexp.errors import NO_ROOM, UserError
from mergerexp.seals import sha256_of_json, sign

DIGEST, CONTENT = "sha256", "content"  # keys that JSON files of ours have besides their own


@contextmanager
def written(path: Path, signed: bool = False) -> Iterator[Path]:
    """Give a temporary name to write to; rename it to ``path`` when all went well.

    Parameters
    ----------
    path
        The file to be.
    signed
        Let it end with a line that holds its hash, see `mergerexp.seals.sign`.

    Raises
    ------
    OSError
        Naming ``path``, also for what libraries make of a full disk.
    """
    partial = _temporary(path)
    try:
        with _naming(path):
            os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o666))
            readers = stat.S_IMODE(partial.stat().st_mode)
            yield partial
            partial.chmod(readers)  # safetensors leaves files that nobody else can read
            if signed:
                sign(partial)
            with partial.open("rb") as file:
                os.fsync(file.fileno())  # or a power cut could leave the new name on an empty file
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def written_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to fill; rename it to ``path``, which must not exist, when all went well.

    Raises
    ------
    OSError
        Naming ``path`` or a file in it, also for what libraries make of a full disk.
    """
    partial = _temporary(path)
    try:
        with _naming(path):
            partial.mkdir()
            yield partial
            partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_partial(folder: Path, name: str = "*") -> None:
    """Remove what processes that were killed have left of a file or a folder that only one of them writes."""
    for path in folder.glob(f".{name}.{'?' * 16}.partial"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the file in what the system says of it; libraries tell of a full disk in their own ways."""
    try:
        yield
    except Exception as error:
        code = error.errno if isinstance(error, OSError) else None
        if code is None:
            code = next((full for full in NO_ROOM if os.strerror(full) in str(error)), None)
            if re.fullmatch(r"\d+ requested and \d+ written", str(error)):  # numpy's words
                code = errno.ENOSPC
        elif not os.fsdecode(getattr(error, "filename", None) or path).endswith((".partial", path.name)):
            raise  # of another file
        if code is None:
            raise
        raise OSError(code, os.strerror(code), str(path)) from error


def write_text(path: Path, text: str, signed: bool = False) -> None:
    """Write a text file; see `written`."""
    with written(path, signed) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file; see `json_text`."""
    write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """Return a JSON file's text, with its hash under the key ``sha256``.

    What is no object stands under the key ``content``.
    """
    content = content if isinstance(content, dict) else {CONTENT: content}
    whole = {**content, DIGEST: sha256_of_json(content)}
    return json.dumps(whole, indent=1, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Read what `write_json` wrote.

    Raises
    ------
    UserError
        If it is empty, cut off, no JSON or not as it was written.
    """
    try:
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            text = path.read_text(encoding="utf-8")  # NFS: renamed over while it was read
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error})") from error
    found = content.pop(DIGEST, None) if isinstance(content, dict) else None
    if found is None:
        raise UserError(f"{path} is damaged (it has no {DIGEST} of its own)")
    if found != sha256_of_json(content):
        raise UserError(f"{path} is damaged, or was changed since it was written: its hash is another")
    return content[CONTENT] if content.keys() == {CONTENT} else content


def flatten(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested dictionaries under dotted keys."""
    leaves: dict[str, Any] = {}
    for key, value in node.items():
        leaves |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves
