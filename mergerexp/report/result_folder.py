"""Folders of results, which are always whole: one is replaced only once everything has been written."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from mergerexp.errors import ConfigError, UserError, explain
from mergerexp.files import remove_partial, written_folder


@dataclass(frozen=True)
class ResultKind:
    """What a folder holds.

    Attributes
    ----------
    name
        What it is called.
    mark
        The file that tells that a folder is one of ours, and may be replaced.
    setting
        The setting that gives another place for it.
    """

    name: str
    mark: str
    setting: str


def check_distinct(folders: Sequence[Path]) -> None:
    """Refuse several results for one folder, of which the last would be left.

    Raises
    ------
    ConfigError
        If two of the folders are the same.
    """
    for folder, count in Counter(folders).items():
        if count > 1:
            raise ConfigError(
                f"{count} calls of this sweep would write {folder}: give each a name of its own, with the "
                "keys that differ, such as 'name=cut${cut}'"
            )


@contextmanager
def reserved(folder: Path, kind: ResultKind) -> Iterator[None]:
    """Let no other process write results to a folder, and check that this one can.

    What was left there by a process that was killed is cleared.

    Parameters
    ----------
    folder
        The folder.
    kind
        What it will hold.

    Raises
    ------
    UserError
        If another process is writing it, it holds something else, or nothing can be written beside it.
    """
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    with _explained(folder, kind):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"{folder}: another process is making this {kind.name}; wait for it, or choose another "
                "name=NAME"
            ) from None
    try:
        _check(folder, kind)
        yield
    finally:
        lock.release()


@contextmanager
def _explained(folder: Path, kind: ResultKind) -> Iterator[None]:
    """Say of an error of the file system what can be done."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"the {kind.name}'s folder {folder} can't be written: {explain(error)}; or choose another "
            f"{kind.setting} or name=NAME"
        ) from error


def _check(folder: Path, kind: ResultKind) -> None:
    old = _old_folder(folder)
    with _explained(folder, kind):
        if old.exists() and not folder.exists():  # It was killed between the two renames.
            old.rename(folder)
        elif old.exists():
            shutil.rmtree(old)
        remove_partial(folder.parent, folder.name)
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=".").cleanup()
        foreign = folder.exists() and any(folder.iterdir()) and not (folder / kind.mark).is_file()
    if foreign:
        raise UserError(f"{folder} is there and holds no {kind.name}: choose another name=NAME")


@contextmanager
def replaced(folder: Path, kind: ResultKind) -> Iterator[Path]:
    """Yield an empty folder to fill, which replaces what was there if no exception is raised.

    Parameters
    ----------
    folder
        The folder, which the caller has `reserved`.
    kind
        What it holds.

    Raises
    ------
    UserError
        If it holds something else by now.
    """
    _check(folder, kind)
    old = _old_folder(folder)
    with written_folder(folder) as draft:
        yield draft
        if folder.exists():
            folder.rename(old)
    shutil.rmtree(old, ignore_errors=True)


def _old_folder(folder: Path) -> Path:
    """Return the path to which what is replaced is moved for a moment."""
    return folder.with_name(f".{folder.name}.old")
