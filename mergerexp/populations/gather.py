"""A catalogue and its ratings, brought together in files, so that memory does not grow with their rows.

Rows are distributed by a hash of their id, so that equal ids come into one file. There duplicates are found,
and each galaxy gets its rating. Everything that follows reads these files as often as it needs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from mergerexp.config.sample_schema import CatalogueConfig, SampleConfig
from mergerexp.console import amount
from mergerexp.errors import DataError
from mergerexp.populations.checks import check_columns, check_units, check_used, look_like_hours, plain_ids
from mergerexp.populations.galaxies import Colours, Fate, Galaxies, Needed, galaxies_of, needed_columns
from mergerexp.table_files import column_names, read_columns

log = logging.getLogger(__name__)
BUCKET_BYTES = 32_000_000  # of the files that are read, for each file that is written
MOST_BUCKETS = 256
HASH_KEY = "mergerexp sample"  # 16 characters, as pandas wants them
SECONDS = 10.0  # between two lines on the progress
NAMED = 10  # rows of each fate that are named
MANY = 100  # galaxies from whose positions a wrong unit is seen
# What predict calls the columns of its catalogue, by our names.
RATINGS = {
    "p": "p_best", "p_prior": "p_prior", "p_calibrated": "p_calibrated", "n_models": "n_models",
    "in_training_set": "in_training_set",
}  # fmt: skip


class Gathered:
    """The galaxies of a catalogue with their ratings.

    Parameters
    ----------
    cfg
        The settings.
    path
        The catalogue.
    scratch
        A folder for files of about the size of the catalogue.

    Attributes
    ----------
    fates
        How many rows have each `Fate`.
    named
        The ids of the first rows of each fate but the usual ones.
    rows
        The number of rows.
    rated_only, published_only
        How many ratings, and how many published ones, belong to no row of the catalogue.
    without
        How many galaxies that are used have no p, and how many no colour.
    repeated
        How many ratings, and how many published ones, have the id of another one; one of these counts.
    """

    def __init__(self, cfg: SampleConfig, path: Path, scratch: Path) -> None:
        self.cfg, self.path, self.scratch = cfg, path, scratch
        self.fates: Counter[str] = Counter()
        self.named: dict[str, list[str]] = {}
        self.rows = self.rated_only = self.published_only = 0
        self.without: Counter[str] = Counter()
        self.repeated: Counter[str] = Counter()
        self._matched: Counter[str] = Counter()
        self.catalogue = cfg.catalogue
        self._files: list[Path] = []
        ratings, published = (
            None if each is None else Path(each).expanduser() for each in (cfg.ratings, cfg.published.file)
        )
        read = {"catalogue.file": path, "ratings": ratings, "published.file": published}
        size = sum(_size(each, key) for key, each in read.items() if each)
        self._number = max(1, min(MOST_BUCKETS, size // BUCKET_BYTES))
        self.colours = Colours(cfg.extinction, cfg.k_correct)
        columns = needed_columns(cfg.catalogue, self.colours)
        pictures = [cfg.page.file] if cfg.page.file else []
        check_columns(path, [*columns.all, *pictures])
        self.rows = self._distribute(path, columns, cfg.catalogue.columns.id, "catalogue")
        if not self.rows:
            raise DataError(f"catalogue.file={path}: it has no rows")
        if ratings is not None:
            self.catalogue = self._add_ratings(ratings)
        if published is not None:
            self.catalogue = self._add_published(published)
            beside = cfg.published.beside
            if getattr(self.catalogue.columns, beside) is None:
                raise DataError(
                    f"published.file={published}: the catalogue has no {beside} to compare with; name "
                    f"catalogue.columns.{beside}, or ratings=FILE"
                )
        self._look()

    def _distribute(self, path: Path, columns: Needed, key: str, name: str) -> int:
        """Write the rows of a table into files by their ids, and return how many there are."""
        schema = pa.schema(
            [(each, pa.string() if each in columns.texts else pa.float64()) for each in columns.all]
        )
        total, told = 0, time.monotonic()
        with contextlib.ExitStack() as stack:
            sinks = [
                stack.enter_context(pa.ipc.new_stream(str(self._file(name, each)), schema))
                for each in range(self._number)
            ]
            for piece in read_columns(path, columns.numbers, columns.texts, columns.flags):
                piece = self._with_nulls(piece, [*columns.numbers, *columns.flags])
                ids = plain_ids(piece.column(key), path, key, total)
                piece = piece.set_column(piece.schema.get_field_index(key), key, ids)
                bucket = hash_of(ids) % np.uint64(self._number)
                for each in np.unique(bucket):
                    sinks[each].write_batch(piece.filter(pa.array(bucket == each)).cast(schema))
                total += len(piece)
                if time.monotonic() - told > SECONDS:
                    told = time.monotonic()
                    log.info("%s: %s read", path.name, amount(total, "row"))
        return total

    def _with_nulls(self, piece: pa.RecordBatch, numbers: list[str]) -> pa.RecordBatch:
        """Return rows with nulls for what is no number or stands for a missing one."""
        for name in numbers:
            values = np.asarray(piece.column(name).to_numpy(zero_copy_only=False), dtype=np.float64)
            is_missing = ~np.isfinite(values)
            for missing in self.cfg.catalogue.missing:  # which a column of 32 bits rounds
                is_missing |= np.isclose(values, missing, rtol=1e-6, atol=0)
            at = piece.schema.get_field_index(name)
            piece = piece.set_column(at, name, pa.array(values, pa.float64(), mask=is_missing))
        return piece

    def _file(self, name: str, bucket: int) -> Path:
        return self.scratch / f"{name}.{bucket}.arrows"

    def _add_ratings(self, path: Path) -> CatalogueConfig:
        """Distribute the ratings, too; return the catalogue's config with the names of their columns."""
        names = column_names(path)
        if missing := [name for name in ("objid", "p_best") if name not in names]:
            raise DataError(f"ratings={path} has no column {missing[0]!r}: predict writes such files")
        present = {ours: theirs for ours, theirs in RATINGS.items() if theirs in names}
        single = [name for name in names if re.fullmatch(r"p_m\d+", name)]
        flags = [present.pop("in_training_set")] if "in_training_set" in present else []
        needed = Needed([*present.values(), *single], ["objid"], flags)
        if not self._distribute(path, needed, "objid", "ratings"):
            raise DataError(f"ratings={path}: it has no rows")
        columns = dataclasses.replace(
            self.catalogue.columns,
            **{ours: f"rating {theirs}" for ours, theirs in RATINGS.items() if theirs in names},
            p_one="rating p_one" if single else None,
        )
        return dataclasses.replace(self.catalogue, columns=columns)

    def _add_published(self, path: Path) -> CatalogueConfig:
        """Distribute published ratings, too; return the catalogue's config with the name of their column."""
        their = self.cfg.published
        for key, name in (("id", their.id), ("p", their.p)):
            if name not in (names := column_names(path)):
                raise DataError(
                    f"published.file={path} has no column {name!r}, but {', '.join(names)}; "
                    f"published.{key} says which it is"
                )
        if not self._distribute(path, Needed([their.p], [their.id], []), their.id, "published"):
            raise DataError(f"published.file={path}: it has no rows")
        columns = dataclasses.replace(self.catalogue.columns, p_published=f"published {their.p}")
        return dataclasses.replace(self.catalogue, columns=columns)

    def _bucket(self, number: int) -> tuple[pa.Table, np.ndarray]:
        """Return the rows of a file with their ratings, and which repeat an id."""
        own = pa.ipc.open_stream(str(self._file("catalogue", number))).read_all()
        ids = pd.Index(own[self.catalogue.columns.id].to_pylist())
        if self.cfg.ratings is not None:
            ratings = pa.ipc.open_stream(str(self._file("ratings", number))).read_all()
            single = [name for name in ratings.column_names if re.fullmatch(r"p_m\d+", name)]
            if single:  # that of the first network that may rate the galaxy
                first = pc.coalesce(*(ratings[name] for name in single))
                ratings = ratings.append_column("p_one", first).drop_columns(single)
            own, alone = self._joined(own, ids, ratings, "p_best", "rating")
            self.rated_only += alone
        if self.cfg.published.file is not None:
            published = pa.ipc.open_stream(str(self._file("published", number))).read_all()
            own, alone = self._joined(own, ids, published, self.cfg.published.p, "published")
            self.published_only += alone
        return own, np.asarray(ids.duplicated(), dtype=bool)

    def _joined(
        self, own: pa.Table, ids: pd.Index, other: pa.Table, wanted: str, prefix: str
    ) -> tuple[pa.Table, int]:
        """Append the columns of a table to the rows with its ids, and count the ids that no row has.

        The first column has the ids. Of several rows of one id, the first with the wanted column counts.
        """
        theirs = pd.Index(other[0].to_pylist())
        if not len(theirs):  # of few ratings, none may be in this file
            for field in list(other.schema)[1:]:
                own = own.append_column(f"{prefix} {field.name}", pa.nulls(len(own), field.type))
            return own, 0
        order = np.argsort(np.asarray(other[wanted].is_null()), kind="stable")
        first = order[~theirs[order].duplicated()]
        at = theirs[first].get_indexer(ids)
        rows = pa.array(np.where(at >= 0, first[at], -1), mask=at < 0)
        self._matched[prefix] += int((at >= 0).sum())
        with_value = theirs[np.asarray(other[wanted].is_valid())]
        self.repeated[prefix] += int(with_value.duplicated().sum())
        for name in other.column_names[1:]:
            own = own.append_column(f"{prefix} {name}", other[name].take(rows))
        return own, int((~with_value.unique().isin(ids)).sum())

    def _look(self) -> None:
        """Count what becomes of the rows, and keep the galaxies that are used."""
        low, high = np.full(2, np.inf), np.full(2, -np.inf)  # of right ascensions and declinations
        for number in range(self._number):
            table, is_duplicate = self._bucket(number)
            galaxies, fates = galaxies_of(table, self.catalogue, self.colours, is_duplicate)
            self.fates.update(fates.tolist())
            ids = table[self.catalogue.columns.id]
            for fate in set(fates) - {Fate.USED, Fate.OUTSIDE, Fate.FAINT}:
                listed = self.named.setdefault(str(fate), [])
                listed += [
                    ids[int(row)].as_py() for row in np.flatnonzero(fates == fate)[: NAMED - len(listed)]
                ]
            if self.catalogue.columns.p is not None:
                self.without["p"] += int(np.isnan(galaxies.p).sum())
            self.without["colour"] += int(np.isnan(galaxies.colour).sum())
            if len(galaxies):
                places = np.stack([galaxies.ra, galaxies.dec])
                low, high = np.minimum(low, places.min(axis=1)), np.maximum(high, places.max(axis=1))
            file = self._file("used", number)
            _write(galaxies, file)
            self._files.append(file)
            for name in ("catalogue", "ratings", "published"):
                self._file(name, number).unlink(missing_ok=True)
        check_units(self.path, self.fates, self.rows, self.cfg.catalogue)
        check_used(self.path, self.fates, self.cfg.catalogue)
        for key, named, prefix in (
            ("ratings", self.cfg.ratings, "rating"),
            ("published.file", self.cfg.published.file, "published"),
        ):
            if named is not None and not self._matched[prefix]:
                raise DataError(
                    f"{key}={named}: none of its ids is one of {self.path}; "
                    f"catalogue.columns.id={self.cfg.catalogue.columns.id} names the column"
                )
        if self.catalogue.ra_unit is None and self.fates[Fate.USED] >= MANY and look_like_hours(low, high):
            raise DataError(
                f"catalogue.file={self.path}: no right ascension is above 24, while declinations spread "
                "widely; say catalogue.ra_unit=hours, or catalogue.ra_unit=degrees if they are"
            )

    def parts(self) -> Iterator[Galaxies]:
        """Yield the galaxies that are used, in parts whose order depends on their ids alone."""
        for file in self._files:
            yield _read(file)


def hash_of(ids: pa.Array) -> np.ndarray:
    """Return 64 bits for each id, the same on every machine."""
    values = np.asarray(ids.to_numpy(zero_copy_only=False), dtype=object)
    return pd.util.hash_array(values, hash_key=HASH_KEY, categorize=False)


def _write(galaxies: Galaxies, path: Path) -> None:
    columns: dict[str, pa.Array] = {}
    for field in dataclasses.fields(galaxies):
        values = getattr(galaxies, field.name)
        if values.ndim == 2:
            columns[field.name] = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        else:
            columns[field.name] = pa.array(values, pa.string() if values.dtype == object else None)
    table = pa.table(columns)
    with pa.ipc.new_file(str(path), table.schema) as sink:
        sink.write_table(table)


def _read(path: Path) -> Galaxies:
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
        return Galaxies(**{name: _array(table[name]) for name in table.column_names})


def _array(column: pa.ChunkedArray) -> np.ndarray:
    if not pa.types.is_fixed_size_list(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    values = np.asarray(column.combine_chunks().flatten().to_numpy(zero_copy_only=False))
    return values.reshape(-1, column.type.list_size)


def _size(path: Path, key: str) -> int:
    if not path.is_file():
        raise DataError(f"{key}={path}: no such file")
    return path.stat().st_size
