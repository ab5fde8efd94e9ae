"""What catalogues are refused for: columns, ids and units that are others than what is said."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mergerexp.config.sample_schema import CatalogueConfig, SampleConfig
from mergerexp.errors import ConfigError, DataError
from mergerexp.populations.galaxies import Fate
from mergerexp.table_files import column_names

MOST_WRONG = 0.5  # of all rows: more without a usable value are a wrong column or unit
# Fields that reach this far in both coordinates, and no right ascension beyond 24, are rarely in degrees.
HOURS_SPREAD, DEGREES_SPREAD = 4.0, 20.0
# Integers beyond 2⁵³, about 9e15, have lost digits as floating-point numbers.
ROUNDED = r"^-?\d(\.\d+)?[eE]\+\d{2}$|^-?(\d{17,}|9\d{15})\.0*$"


def check_settings(cfg: SampleConfig) -> None:
    """Refuse files of the page that are not there, before anything is computed.

    Raises
    ------
    ConfigError
        If one is not there.
    """
    for key, named in (("model_folder", cfg.page.model_folder), ("images", cfg.page.images)):
        if named is not None and not Path(named).expanduser().is_dir():
            raise ConfigError(f"page.{key}={named}: no such folder")


def plain_ids(ids: pa.Array, path: Path, column: str, first: int) -> pa.Array:
    """Return ids without the ".0" that floating point adds to integers.

    Parameters
    ----------
    ids
        The ids as texts.
    path, column, first
        Where they come from, and the number of rows before them, for messages.

    Raises
    ------
    DataError
        If a row has no id, or one that has lost digits.
    """
    for wrong, what in (
        (pc.or_kleene(pc.is_null(ids), pc.equal(ids, "")), "has no id"),
        (pc.match_substring_regex(ids, ROUNDED), "has an id that has lost digits as a floating-point number"),
    ):
        rows = np.asarray(pc.fill_null(wrong, False))
        if rows.any():
            row = int(rows.argmax())
            value = "" if ids[row].as_py() in (None, "") else f" ({ids[row].as_py()})"
            raise DataError(f"{path}, row {first + row + 1}: column {column!r} {what}{value}")
    return pc.replace_substring_regex(ids, r"^(-?\d+)\.0*$", r"\1")


def check_columns(path: Path, needed: list[str]) -> None:
    """Refuse a catalogue that lacks a column, or has several of one name."""
    names = column_names(path)
    if missing := [name for name in needed if name not in names]:
        has = f"its columns are {', '.join(names)}" if names else "it is empty"
        raise DataError(
            f"catalogue.file={path} has no column {missing[0]!r}; {has}, and catalogue.columns, cuts, "
            "extinction and page.file say which are used (null: there is none)"
        )
    if twice := [name for name in needed if names.count(name) > 1]:
        raise DataError(f"catalogue.file={path} has several columns {twice[0]!r}; rename all but one")


def look_like_hours(low: np.ndarray, high: np.ndarray) -> bool:
    """Tell whether right ascensions look like hours, by the limits of both coordinates."""
    spread = high - low
    return bool(low[0] >= 0 and high[0] <= 24 and spread[0] > HOURS_SPREAD and spread[1] > DEGREES_SPREAD)


def check_used(path: Path, fates: Mapping[str, int], cfg: CatalogueConfig) -> None:
    """Refuse a catalogue of which nothing can be used."""
    if not fates.get(Fate.USED, 0):
        low, high = cfg.redshift
        raise DataError(
            f"catalogue.file={path}: no row can be used for a sample with redshifts of {low:g} to {high:g}: "
            + ", ".join(f"{fate}: {count}" for fate, count in fates.items())
        )


def check_units(path: Path, fates: Mapping[str, int], rows: int, cfg: CatalogueConfig) -> None:
    """Refuse a catalogue most of whose rows make no sense: a column or its unit is another one."""
    own = cfg.columns
    suspects = {
        Fate.NO_MASS: (f"{own.log_mass!r} has no mass", "columns.log_mass"),
        Fate.ODD_MASS: (
            f"{own.log_mass!r} is not between {cfg.log_mass[0]:g} and {cfg.log_mass[1]:g}; "
            "is it log10 of a mass in solar masses?",
            "columns.log_mass",
        ),
        Fate.NO_MAGNITUDE: (
            f"of {', '.join([*cfg.cuts, *(cfg.absolute_cuts or {})])} one is missing",
            "cuts",
        ),
        Fate.NO_POSITION: (f"{own.ra!r} or {own.dec!r} is missing", "columns.ra"),
    }
    for fate, (what, key) in suspects.items():
        if fates.get(fate, 0) > MOST_WRONG * rows:
            raise DataError(
                f"catalogue.file={path}: in {fates[fate]} of {rows} rows {what}; look at catalogue.{key}"
            )
