"""The galaxies of a catalogue that a sample can be made of, and why each of the others can't."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mergerexp.analysis.colour_mass import k_correction
from mergerexp.analysis.metrics import Floats
from mergerexp.config.sample_schema import CatalogueColumns, CatalogueConfig
from mergerexp.cosmology import distance_modulus
from mergerexp.errors import DataError

Flags = NDArray[np.bool_]


class Fate(enum.StrEnum):
    """What became of a row of a catalogue."""

    USED = "used"
    DUPLICATE = "duplicate id"
    NO_POSITION = "no position"
    NO_REDSHIFT = "no redshift"
    OUTSIDE = "redshift outside of the sample"
    NO_MASS = "no mass"
    ODD_MASS = "mass outside of what is believed"
    NO_MAGNITUDE = "no magnitude"
    FAINT = "fainter than the sample"


@dataclass(frozen=True)
class Galaxies:
    """Some galaxies, an array of shape (n,) for each property but one.

    Attributes
    ----------
    id
        Ids as texts.
    ra, dec
        Positions in degrees.
    redshift, log_mass
        Redshifts, and log10(M/M☉).
    margin
        By how many magnitudes each is brighter than the limit of the sample, shape (n, cuts).
    magnitude, colour, log_size
        What their names say, colour and size NaN where not known.
    weight
        The weight of each.
    visual
        Whether each is a merger by eye.
    visual_log_mass
        The mass that is taken for visual mergers.
    p, p_one, p_prior, p_calibrated
        Merger probabilities, NaN where not rated; p_one is that of one network alone.
    n_models
        The number of networks that rated each, 0 where not rated.
    in_training_set
        Whether a network was trained on it.
    p_published
        The probability that somebody else has published, NaN where there is none.
    """

    id: NDArray[np.object_]
    ra: Floats
    dec: Floats
    redshift: Floats
    log_mass: Floats
    margin: Floats
    magnitude: Floats
    colour: Floats
    log_size: Floats
    weight: Floats
    visual: Flags
    visual_log_mass: Floats
    p: Floats
    p_one: Floats
    p_prior: Floats
    p_calibrated: Floats
    n_models: Floats
    in_training_set: Flags
    p_published: Floats

    def __len__(self) -> int:
        return len(self.redshift)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Galaxies:
        """Return some of the galaxies."""
        return Galaxies(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def joined(parts: list[Galaxies]) -> Galaxies:
    """Return the galaxies of several parts, of which there is at least one."""
    return Galaxies(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(Galaxies)
        }
    )


def galaxies_of(
    table: pa.Table, cfg: CatalogueConfig, colours: Colours, is_duplicate: Flags
) -> tuple[Galaxies, NDArray[np.object_]]:
    """Return the galaxies of some rows, and what becomes of each row.

    Parameters
    ----------
    table
        The columns of `needed_columns`, texts and 64-bit floats.
    cfg
        What the columns are, and the limits of the sample.
    colours
        What colours are corrected for.
    is_duplicate
        Which rows have the id of an earlier one.
    """
    read = _Reader(table, cfg)
    own = cfg.columns
    ra, dec = read.numbers(own.ra), read.numbers(own.dec)
    if cfg.ra_unit == "hours":
        ra = ra * 15
    z, mass = read.numbers(own.redshift), read.numbers(own.log_mass)
    inside = (z >= cfg.redshift[0]) & (z <= cfg.redshift[1])
    margin = read.margin(np.where(inside, z, cfg.redshift[0]))
    least = margin.min(axis=1)  # NaN where a magnitude is missing
    fates = np.full(len(table), Fate.USED, dtype=object)
    # The first of these that holds is named, so they are set in the opposite order.
    for fate, rows in (
        (Fate.FAINT, least < 0),
        (Fate.NO_MAGNITUDE, np.isnan(least)),
        (Fate.ODD_MASS, (mass < cfg.log_mass[0]) | (mass >= cfg.log_mass[1])),
        (Fate.NO_MASS, np.isnan(mass)),
        (Fate.OUTSIDE, ~inside),
        (Fate.NO_REDSHIFT, np.isnan(z) | (z <= 0)),
        (Fate.NO_POSITION, ~((np.abs(dec) <= 90) & (ra >= -360) & (ra <= 360))),
        (Fate.DUPLICATE, is_duplicate),
    ):
        fates[rows] = fate
    visual, visual_mass = read.visual(mass)
    size = read.numbers(own.size)
    galaxies = Galaxies(
        id=np.asarray(table[own.id].to_numpy(zero_copy_only=False), dtype=object),
        ra=ra, dec=dec, redshift=z, log_mass=mass, margin=margin,
        magnitude=read.magnitude(own.magnitude, cfg.cuts_are_corrected),
        colour=colours.of(read, np.where(inside, z, np.nan)),
        log_size=np.log10(np.where(size > 0, size, np.nan)),
        weight=read.numbers(own.weight, 1.0),
        visual=visual, visual_log_mass=visual_mass,
        p=read.numbers(own.p), p_one=read.numbers(own.p_one or own.p), p_prior=read.numbers(own.p_prior),
        p_calibrated=read.numbers(own.p_calibrated),
        n_models=np.nan_to_num(read.numbers(own.n_models)),
        in_training_set=np.nan_to_num(read.numbers(own.in_training_set)) > 0,
        p_published=read.numbers(own.p_published),
    )  # fmt: skip
    used = galaxies.take(fates == Fate.USED)
    _check(used, own)
    return used, fates


def _check(galaxies: Galaxies, columns: CatalogueColumns) -> None:
    """Refuse probabilities and weights that are none."""
    for name, highest in (
        ("p", 1.0),
        ("p_one", 1.0),
        ("p_prior", 1.0),
        ("p_calibrated", 1.0),
        ("p_published", 1.0),
        ("weight", np.inf),
    ):
        values = getattr(galaxies, name)
        wrong = (values < 0) | (values > highest)
        if name == "weight":
            wrong |= np.isnan(values)
        if wrong.any():
            column = getattr(columns, name)
            what = (
                "a weight has to be a number that is not negative"
                if name == "weight"
                else "a probability lies between 0 and 1"
            )
            raise DataError(f"{column}={values[wrong][0]:g} of object {galaxies.id[wrong][0]}: {what}")


class Needed(NamedTuple):
    """The columns of a table that are read: numbers, texts and truth values."""

    numbers: list[str]
    texts: list[str]
    flags: list[str]

    @property
    def all(self) -> list[str]:
        """All of them."""
        return [*self.texts, *self.numbers, *self.flags]


def needed_columns(cfg: CatalogueConfig, colours: Colours) -> Needed:
    """Return the columns that a catalogue is asked for."""
    own, extinction = cfg.columns, cfg.extinction or {}
    texts = list(dict.fromkeys([own.id, *([own.visual] if own.visual else [])]))
    flags = [own.in_training_set] if own.in_training_set else []
    names = [getattr(own, field.name) for field in fields(own)]
    names += [*cfg.cuts, *(cfg.absolute_cuts or {})]
    corrected = [*(cfg.cuts if cfg.cuts_are_corrected else ())]
    corrected += [own.blue, own.red] if colours.extinction else []
    names += [extinction[name] for name in corrected if name in extinction]
    numbers = [name for name in dict.fromkeys(names) if name and name not in texts and name not in flags]
    return Needed(numbers, texts, flags)


class Colours(NamedTuple):
    """What colours are corrected for: Galactic extinction, and the redshift."""

    extinction: bool
    redshift: bool

    def of(self, read: _Reader, redshift: Floats) -> Floats:
        """Return the colours of the rows of a reader."""
        own = read.cfg.columns
        colour = read.magnitude(own.blue, self.extinction) - read.magnitude(own.red, self.extinction)
        if not self.redshift:
            return colour
        return colour - k_correction("u", redshift, colour) + k_correction("r", redshift, colour)


class _Reader:
    """Reads columns as a catalogue's config says.

    Parameters
    ----------
    table
        The rows.
    cfg
        The config.
    """

    def __init__(self, table: pa.Table, cfg: CatalogueConfig) -> None:
        self.table, self.cfg = table, cfg

    def numbers(self, name: str | None, otherwise: float = np.nan) -> Floats:
        """Return a column with NaN for missing values; one number for all where there is no column."""
        if name is None:
            return np.full(len(self.table), otherwise)
        values = self.table[name].to_numpy(zero_copy_only=False).astype(np.float64)
        if (largest := (self.cfg.bad_above or {}).get(name)) is not None:
            values[values > largest] = np.nan
        return np.asarray(values, dtype=np.float64)

    def magnitude(self, name: str, is_corrected: bool) -> Floats:
        """Return magnitudes, corrected for extinction or not."""
        values = self.numbers(name)
        column = (self.cfg.extinction or {}).get(name)
        return values - self.numbers(column) if is_corrected and column else values

    def margin(self, redshift: Floats) -> Floats:
        """Return by how much galaxies are brighter than each cut; NaN without a magnitude."""
        cuts: Mapping[str, float] = self.cfg.cuts
        is_corrected = self.cfg.cuts_are_corrected
        margins = [limit - self.magnitude(name, is_corrected) for name, limit in cuts.items()]
        distance = distance_modulus(redshift)
        margins += [
            limit - (self.magnitude(name, is_corrected) - distance)
            for name, limit in (self.cfg.absolute_cuts or {}).items()
        ]
        return np.column_stack(margins)

    def visual(self, mass: Floats) -> tuple[Flags, Floats]:
        """Return which galaxies are mergers by eye, and their masses."""
        own = self.cfg.columns
        if own.visual is None:
            return np.zeros(len(self.table), dtype=bool), mass
        cells = self.table[own.visual].to_numpy(zero_copy_only=False).astype(str)
        written, rows = np.unique(cells, return_inverse=True)
        plain = [{"true": "1", "false": "0"}.get(text.lower(), text.removesuffix(".0")) for text in written]
        is_merger = np.isin(plain, list(self.cfg.visual))[rows]
        ratio = self.numbers(own.mass_ratio, 1.0)
        if self.cfg.max_mass_ratio is not None:
            is_merger &= ratio <= self.cfg.max_mass_ratio
        theirs = self.numbers(own.visual_log_mass)
        is_odd = (theirs < self.cfg.log_mass[0]) | (theirs >= self.cfg.log_mass[1])
        return is_merger, np.where(np.isnan(theirs) | is_odd, mass, theirs)
