"""Writing files so that they are complete or absent: under a temporary name, which is then changed.

Hashes of files are computed in `mergerexp.seals`. Every new file follows the user's umask, so that a group
can share a root. It is created exclusively and under a name that nobody can guess, so that a symbolic link
that somebody has planted is never followed.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mergerexp.errors import NO_ROOM, UserError
from mergerexp.seals import OTHER_HASH, sha256_of_json, sign

# Keys that are added to our JSON files: the hash, and the content where that is no JSON object.
DIGEST, CONTENT = "sha256", "content"


@contextmanager
def written(path: Path, signed: bool = False) -> Iterator[Path]:
    """Yield a temporary file to write to, and rename it to ``path`` if no exception is raised.

    Parameters
    ----------
    path
        The file that is to be written.
    signed
        Whether the file is to end with a line that has its hash; see `mergerexp.seals.sign`.

    Yields
    ------
    Path
        The temporary file in the same folder.

    Raises
    ------
    OSError
        If the file can't be written. The error names ``path``, even if a library reports a full disk by an
        exception of its own.
    """
    partial = _temporary(path)
    try:
        with _naming(path):
            os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o666))
            readers = stat.S_IMODE(partial.stat().st_mode)
            yield partial
            partial.chmod(readers)  # safetensors makes files that nobody else can read
            if signed:
                sign(partial)
            with partial.open("rb") as file:
                os.fsync(file.fileno())  # after a power cut, the file might be empty under its new name
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def written_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder to fill, and rename it to ``path`` if no exception is raised.

    Parameters
    ----------
    path
        The folder that is to be made; it must not exist.

    Yields
    ------
    Path
        The temporary folder beside it.

    Raises
    ------
    OSError
        If the folder can't be written. The error names ``path`` or a file in it, even if a library reports a
        full disk by an exception of its own.
    """
    partial = _temporary(path)
    try:
        with _naming(path):
            partial.mkdir()
            yield partial
            partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def files_below(folder: Path) -> Iterator[str]:
    """Yield the paths in a folder and those in it, relative to it, of all that are not folders themselves."""
    with os.scandir(folder) as entries:  # which says what each is without asking a network file system again
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from (f"{entry.name}/{path}" for path in files_below(Path(entry.path)))
            else:
                yield entry.name


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside a path, which is removed; `remove_partial` removes it after a kill."""
    partial = _temporary(path)
    try:
        with _naming(path):
            partial.mkdir()
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_partial(folder: Path, name: str = "*") -> None:
    """Remove temporary files and folders that killed processes have left behind.

    The caller makes sure that no other process is writing them.

    Parameters
    ----------
    folder
        The folder that they are in.
    name
        The name of the file that was to be written, or a glob pattern.
    """
    for path in folder.glob(f".{name}.{'?' * 16}.partial"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Raise errors of the system as an OSError that names the file, whatever a library made of them."""
    try:
        yield
    except Exception as error:
        code = error.errno if isinstance(error, OSError) else None
        if code is None:
            code = next((full for full in NO_ROOM if os.strerror(full) in str(error)), None)
            if re.fullmatch(r"\d+ requested and \d+ written", str(error)):  # what numpy says of a full disk
                code = errno.ENOSPC
            # Matplotlib fails again when it closes the file that it could not write.
            first = error.__context__
            if isinstance(first, OSError) and first.errno in NO_ROOM and not isinstance(error, UserError):
                code = first.errno if first.filename is None else code
        elif not os.fsdecode(getattr(error, "filename", None) or path).endswith((".partial", path.name)):
            raise  # the error is about another file
        if code is None:
            raise
        raise OSError(code, os.strerror(code), str(path)) from error


@contextmanager
def restored_on_error(paths: Iterable[Path]) -> Iterator[None]:
    """Restore small files that this block has changed, if it raises an error such as a refused submission.

    Parameters
    ----------
    paths
        The files; those that do not exist now are removed again.
    """
    before = {path: path.read_bytes() if path.is_file() else None for path in paths}
    try:
        yield
    except (UserError, OSError):
        for path in [path for path, content in before.items() if content is None]:
            path.unlink(missing_ok=True)
        for path, content in before.items():
            # Only files that have changed are written, since the disk may be full.
            if content is not None and not (path.is_file() and content == path.read_bytes()):
                with written(path) as partial:
                    partial.write_bytes(content)
        raise


def write_text(path: Path, text: str, signed: bool = False) -> None:
    """Write a text file in UTF-8.

    Parameters
    ----------
    path
        The file.
    text
        The text.
    signed
        Whether the file is to end with a line that has its hash; see `mergerexp.seals.sign`.
    """
    with written(path, signed) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file with its hash in it; `json_text` describes the format."""
    write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """Return the text of a JSON file, with the hash of its content under the key ``sha256``.

    Content that is no dictionary is put under the key ``content``.
    """
    content = content if isinstance(content, dict) else {CONTENT: content}
    whole = {**content, DIGEST: sha256_of_json(content)}
    return json.dumps(whole, indent=1, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Return the content of a JSON file that `write_json` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    UserError
        If the file is empty, cut off, no JSON or not as it was written.
    """
    try:
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            text = path.read_text(encoding="utf-8")  # on NFS: the file was replaced while it was read
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error})") from error
    found = content.pop(DIGEST, None) if isinstance(content, dict) else None
    if found is None:
        raise UserError(f"{path} is damaged (it has no hash under the key {DIGEST})")
    if found != sha256_of_json(content):
        raise UserError(f"{path} is damaged, or was changed since it was written: {OTHER_HASH}")
    return content[CONTENT] if content.keys() == {CONTENT} else content


def folder_name(title: str, otherwise: str) -> str:
    """Return a name without folders for what may be called anything.

    Examples
    --------
    >>> folder_name("../lenses, seed 1", "study"), folder_name("...", "study")
    ('lenses-seed-1', 'study')
    """
    return re.sub(r"[^\w.]+", "-", title).strip(".-") or otherwise


def is_locked(lock: FileLock) -> bool:
    """Tell whether a process that this machine knows of holds a lock.

    The answer is False if this user must not open the file of the lock.
    """
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False


def flatten(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested dictionaries under dotted keys."""
    leaves: dict[str, Any] = {}
    for key, value in node.items():
        leaves |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves
