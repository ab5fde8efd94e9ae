"""An MLflow store in an SQLite file, looked at without MLflow: is it whole, was it moved, what is in it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from mergerexp.config.paths import SQLITE
from mergerexp.errors import StoreError
from mergerexp.runs.job_folder import DONE, FAILED, LOST, STOPPED

FOLDER = (
    "mergerexp.store_folder"  # a tag of our experiments: where the store was when its addresses were right
)
TABLES = {"alembic_version", "experiments", "experiment_tags", "runs"}  # of MLflow's, those that we look at
CLOSED = {DONE: "FINISHED", FAILED: "FAILED", LOST: "FAILED", STOPPED: "KILLED"}  # in MLflow's words
BUSY_S = 20.0  # how long to wait for a writer
SIDE_FILES = ("-journal", "-wal", "-shm")  # SQLite's own, beside the file
REMEDY = (
    "move it away, and python -m mergerexp.status --sync makes a new one from the run folders "
    "(ratings of mergerexp.robustness have to be made again)"
)


@dataclass(frozen=True)
class StoredRun:
    """A run as the store has it.

    Attributes
    ----------
    status
        In MLflow's words.
    artifacts
        Its folder; None where that is on no file system of this machine.
    """

    status: str
    artifacts: Path | None


@dataclass(frozen=True)
class StoreFile:
    """The SQLite file of a store.

    Attributes
    ----------
    path
        Absolute.
    options
        What the address says after a question mark, with it.
    """

    path: Path
    options: str = ""

    @classmethod
    def of(cls, uri: str | None) -> StoreFile | None:
        """Return the file that an address names; None for a server's."""
        if uri is None or not uri.startswith(SQLITE):
            return None
        path, mark, options = uri.removeprefix(SQLITE).partition("?")
        return cls(Path(path).absolute(), mark + options)

    @property
    def uri(self) -> str:
        """The address, the same from any working directory."""
        return f"{SQLITE}{self.path}{self.options}"

    def exists(self) -> bool:
        """Tell whether there is something in it."""
        return self.path.is_file() and self.path.stat().st_size > 0

    def is_writable(self) -> bool:
        """Tell whether it can be written: SQLite writes a journal beside it."""
        return os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK)

    def lock(self) -> FileLock:
        """Return the lock of whoever makes the file or an experiment in it."""
        return FileLock(self.path.with_name(f"{self.path.name}.lock"))

    def remove_side_files(self) -> None:
        """Remove what SQLite kept beside a file that is gone: it would be played back into the next one."""
        for suffix in SIDE_FILES:
            self.path.with_name(f"{self.path.name}{suffix}").unlink(missing_ok=True)

    def check(self, pages: bool = False) -> None:
        """Refuse a file that is no whole store.

        Parameters
        ----------
        pages
            Look at all its pages too.

        Raises
        ------
        StoreError
            Saying what is wrong, and what to do.
        """
        with self._open() as database:
            tables = {
                name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
            if not tables >= TABLES or not database.execute("SELECT 1 FROM experiments").fetchone():
                raise StoreError(
                    f"{self.path} was never finished (whoever made it was killed, or the disk was full), and "
                    f"holds no run: {REMEDY}"
                )
            if pages and (damage := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise StoreError(f"{self.path} is damaged ({damage.splitlines()[0]}): {REMEDY}")

    def runs(self) -> dict[str, StoredRun]:
        """Return the runs that are not deleted, by their ids; see `check` for what may be raised."""
        with self._open() as database:
            rows = database.execute(
                "SELECT run_uuid, status, artifact_uri FROM runs WHERE lifecycle_stage = 'active'"
            ).fetchall()
        return {run_id: StoredRun(status, local_path(uri)) for run_id, status, uri in rows}

    def moved_from(self) -> list[str]:
        """Return the folders that the store's addresses name, although the store is elsewhere now."""
        with self._open() as database:
            found = database.execute("SELECT DISTINCT value FROM experiment_tags WHERE key = ?", (FOLDER,))
            known = [str(folder) for (folder,) in found]
        return [folder for folder in known if folder != self.folder and not self._is_also_in(folder)]

    def follow(self, original: StoreFile | None = None) -> None:
        """Correct the addresses of artifacts that lay beside the store before it was moved or copied.

        MLflow keeps an absolute address for every run: by the old ones nothing would be found, and what is
        new would be written where the store was.

        Parameters
        ----------
        original
            The store that this one is a copy of, made to be read: the artifacts are beside that one.
        """
        store = original or self
        if not (moved := store.moved_from()):
            return
        here = Path(store.folder).as_uri()
        with self._open() as database, database:
            for folder in moved:
                before = f"{Path(folder).as_uri()}/"
                for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
                    database.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                        f"WHERE substr({column}, 1, ?) = ?",
                        (here, len(before), len(before), before),
                    )
                database.execute(
                    "UPDATE experiment_tags SET value = ? WHERE key = ? AND value = ?",
                    (store.folder, FOLDER, folder),
                )

    def _is_also_in(self, folder: str) -> bool:
        """Tell whether another path leads to this very file."""
        other = Path(folder) / self.path.name
        return other.exists() and other.samefile(self.path)

    def copy_to(self, path: Path) -> StoreFile:
        """Copy the store as it is between two writes of others."""
        with self._open() as source, closing(sqlite3.connect(path)) as target:
            source.backup(target)
        return StoreFile(path)

    @property
    def folder(self) -> str:
        """The folder where it is, links followed."""
        return str(self.path.parent.resolve())

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        mode = "rw" if self.is_writable() else "ro"
        try:
            with closing(
                sqlite3.connect(f"{self.path.as_uri()}?mode={mode}", uri=True, timeout=BUSY_S)
            ) as database:
                yield database
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the details
            if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                raise StoreError(f"{self.path} is damaged ({error}): {REMEDY}") from error
            if code == sqlite3.SQLITE_CANTOPEN:
                raise StoreError(f"{self.path} can't be opened: who may read it, and its folder?") from error
            if code == sqlite3.SQLITE_READONLY:
                raise StoreError(
                    f"{self.path}: its last writer was killed, and only who may write there can tidy up: let "
                    "them run python -m mergerexp.status --sync"
                ) from error
            raise


def local_path(address: str) -> Path | None:
    """Return the path of a file:// address; None for one of another kind."""
    parts = urlsplit(address)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
