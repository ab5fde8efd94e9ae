"""An MLflow store in an SQLite file, accessed without MLflow: its integrity, its place and its runs."""

from __future__ import annotations

import os
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from mergerexp.config.paths import SQLITE
from mergerexp.errors import ROOT, StoreError, UserError, without_credentials
from mergerexp.runs.job_folder import DONE, FAILED, LOST, STOPPED

# A tag of our experiments: the folder that the store was in when its addresses of artifacts were right.
FOLDER = "mergerexp.store_folder"
TABLES = {"alembic_version", "experiments", "experiment_tags", "runs"}  # the tables of MLflow that we read
CLOSED = {DONE: "FINISHED", FAILED: "FAILED", LOST: "FAILED", STOPPED: "KILLED"}  # our states and MLflow's
BUSY_S = 20.0  # how long to wait for other writers
SIDE_FILES = ("-journal", "-wal", "-shm")  # the suffixes of the files that SQLite keeps beside the store
SYNC = "python -m mergerexp.status --sync sends MLflow what it lacks of the runs below MERGEREXP_ROOT"
REMEDY = (
    "move it away, and python -m mergerexp.status --sync makes a new one from the run folders "
    "(ratings of mergerexp.robustness have to be made again)"
)


@dataclass(frozen=True)
class StoredRun:
    """A run in the store.

    Attributes
    ----------
    status
        The status of the run in MLflow, such as FINISHED.
    artifacts
        The folder of its artifacts; None if that is not on a file system of this machine.
    """

    status: str
    artifacts: Path | None


@dataclass(frozen=True)
class StoreFile:
    """The SQLite file of a store.

    Attributes
    ----------
    path
        The absolute path of the file.
    options
        The part of the address from a question mark behind the last slash on, if it has one. Other question
        marks are part of the path.
    """

    path: Path
    options: str = ""

    @classmethod
    def of(cls, uri: str | None) -> StoreFile | None:
        """Return the file that an address names; None if it is the address of a server."""
        if uri is None or not uri.startswith(SQLITE):
            return None
        folder, slash, name = uri.removeprefix(SQLITE).rpartition("/")
        name, mark, options = name.partition("?")
        return cls(Path(f"{folder}{slash}{name}").absolute(), mark + options)

    @property
    def uri(self) -> str:
        """The address of the store as our files and messages have it, with the absolute path as it is."""
        return f"{SQLITE}{self.path}{self.options}"

    @property
    def address(self) -> str:
        """The address of the store for MLflow, where a path such as ``a%20b`` or ``a?b`` has to be quoted.

        Without the name of the driver, MLflow would also make the folder that the quoted path names.

        Raises
        ------
        StoreError
            If SQLAlchemy can't be told this path.
        """
        if not any(mark in str(self.path) for mark in "%?"):
            return self.uri
        from sqlalchemy.engine import URL, make_url

        address: str = (
            URL.create("sqlite+pysqlite", database=str(self.path)).render_as_string() + self.options
        )
        if make_url(address).database != str(self.path):
            raise StoreError(
                f"{self.path}: SQLAlchemy can't open a file with such a path: choose another one with "
                f"tracking.uri, {ROOT}"
            )
        return address

    def exists(self) -> bool:
        """Tell whether the file exists and is not empty."""
        return self.path.is_file() and self.path.stat().st_size > 0

    def check_there(self) -> None:
        """Refuse a file that does not exist.

        Raises
        ------
        UserError
            If there is no such file, or it is empty.
        """
        if not self.exists():
            raise UserError(
                f"{self.path}: no MLflow store; tracking.uri, {ROOT} says where it is, and {SYNC}"
            )

    def is_writable(self) -> bool:
        """Tell whether this user may write the file and its folder, where SQLite writes a journal."""
        return os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK)

    def lock(self) -> FileLock:
        """Return the lock that a process holds while it creates the file."""
        return FileLock(self.path.with_name(f"{self.path.name}.lock"))

    def remove_side_files(self) -> None:
        """Remove what SQLite kept beside a store that is gone, since it would apply that to the next one."""
        for suffix in SIDE_FILES:
            self.path.with_name(f"{self.path.name}{suffix}").unlink(missing_ok=True)

    def check(self, pages: bool = False) -> None:
        """Check that the file is a complete store.

        Parameters
        ----------
        pages
            Whether to check all its pages too.

        Raises
        ------
        StoreError
            If the file is damaged or incomplete; the message says what to do.
        """
        with self._open() as database:
            tables = {
                name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
            if not tables >= TABLES or not database.execute("SELECT 1 FROM experiments").fetchone():
                raise StoreError(
                    f"{self.path} is incomplete (the process that made it was killed, or the disk was full) "
                    f"and has no runs: {REMEDY}"
                )
            if pages and (damage := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise StoreError(f"{self.path} is damaged ({damage.splitlines()[0]}): {REMEDY}")

    def runs(self) -> dict[str, StoredRun]:
        """Return the runs that are not deleted, by their ids in MLflow.

        Raises
        ------
        StoreError
            If the file is damaged.
        """
        with self._open() as database:
            rows = database.execute(
                "SELECT run_uuid, status, artifact_uri FROM runs WHERE lifecycle_stage = 'active'"
            ).fetchall()
        return {run_id: StoredRun(status, local_path(uri)) for run_id, status, uri in rows}

    def experiment_id(self, name: str) -> str | None:
        """Return the ID of an experiment; None if there is no such experiment.

        Raises
        ------
        StoreError
            If the file is damaged, or somebody has deleted the experiment.
        """
        query = "SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = ?"
        with self._open() as database:
            found = database.execute(query, (name,)).fetchone()
        if found is not None and found[1] == "deleted":
            raise deleted_experiment(self.uri, name, found[0])
        return None if found is None else str(found[0])

    def moved_from(self) -> list[str]:
        """Return the folders that the addresses of artifacts name although the store is no longer there."""
        with self._open() as database:
            found = database.execute("SELECT DISTINCT value FROM experiment_tags WHERE key = ?", (FOLDER,))
            known = [str(folder) for (folder,) in found]
        return [folder for folder in known if folder != self.folder and not self._is_also_in(folder)]

    def follow(self, original: StoreFile | None = None) -> None:
        """Correct the addresses of artifacts after the store and its folder were moved or copied.

        MLflow keeps an absolute address for every run. By the old addresses it would find no artifacts, and
        it would write new ones where the store was.

        Parameters
        ----------
        original
            If this store is a temporary copy for reading, the store that it is a copy of. The artifacts are
            in the folder of that one.
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
        """Tell whether this same file is also found by the path of another folder."""
        other = Path(folder) / self.path.name
        return other.exists() and other.samefile(self.path)

    def copy_to(self, path: Path) -> StoreFile:
        """Copy the store in a consistent state, even if other processes are writing it.

        Parameters
        ----------
        path
            The file that the copy is written to.

        Returns
        -------
        StoreFile
            The copy.
        """
        with self._open() as source, closing(sqlite3.connect(path)) as target:
            source.backup(target)
        return StoreFile(path)

    @property
    def folder(self) -> str:
        """The folder of the store, without symbolic links in its path."""
        return str(self.path.parent.resolve())

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection to the file; raise errors that somebody has to mend as StoreError."""
        address = f"{self.path.as_uri()}?mode={'rw' if self.is_writable() else 'ro'}"
        try:
            with closing(sqlite3.connect(address, uri=True, timeout=BUSY_S)) as database:
                yield database
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # other bits say more about the error
            if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                raise StoreError(f"{self.path} is damaged ({error}): {REMEDY}") from error
            if code == sqlite3.SQLITE_CANTOPEN:
                raise StoreError(
                    f"{self.path} can't be opened: see whether you may read the file and its folder"
                ) from error
            if code == sqlite3.SQLITE_READONLY:
                raise StoreError(
                    f"{self.path} has to be repaired, since its last writer was killed: let a user who may "
                    "write there run python -m mergerexp.status --sync"
                ) from error
            raise


def deleted_experiment(uri: str, name: str, experiment_id: str | int) -> StoreError:
    """Return the error that says that somebody has deleted an experiment, and what to do."""
    where = without_credentials(uri)
    return StoreError(
        f"experiment {name} in {where} was deleted: restore it with MLFLOW_TRACKING_URI={shlex.quote(where)} "
        f"mlflow experiments restore --experiment-id {experiment_id}, or choose another name with "
        "tracking.experiment=NAME"
    )


def check_store(uri: str | None) -> None:
    """Refuse the address of an SQLite file that does not exist, without loading MLflow.

    Raises
    ------
    UserError
        If there is no such file.
    """
    if (file := StoreFile.of(uri)) is not None:
        file.check_there()


def local_path(address: str) -> Path | None:
    """Return the path that a ``file://`` address names; None for other addresses."""
    parts = urlsplit(address)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
