"""The paper's sample from the archives of SDSS and Galaxy Zoo, into a folder that ``data=sdss`` reads.

The folder gets ``tables/`` and ``cutouts/`` with what was asked for, ``sample.csv`` (the labelled sample),
``catalogue.parquet`` (all galaxies, for `mergerexp.predict` and `mergerexp.sample`), and ``archive.json``,
which tells where it all came from.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import requests
from filelock import FileLock

from mergerexp.archive.choice import MERGER, OTHER, TAKEN, Candidates, find_candidates
from mergerexp.archive.client import Client, Refused, Retry
from mergerexp.archive.cutouts import Cutouts, Images, Line, Outcome, Service, Wanted
from mergerexp.archive.settings import ArchiveSettings
from mergerexp.archive.tables import Query, Tables
from mergerexp.errors import DataError
from mergerexp.files import is_locked, read_json, write_json, write_text, written
from mergerexp.frames import records
from mergerexp.seals import sha256

log = logging.getLogger(__name__)
SAMPLE, CATALOGUE, ABOUT = "sample.csv", "catalogue.parquet", "archive.json"
KEPT_COLUMNS = ("file", "label", "objid", "group", "ra", "dec", "z", "p_mg", "petroRad_r", "lgm_tot_p50")
DARG_COLUMNS = ("object1", "object2", "ra1", "dec1", "ra2", "dec2")
# All joins but the one with SpecObj keep galaxies that have no partner, with nulls in its columns.
GALAXIES = Query(
    {
        "dr7objid": "CAST(z.dr7objid AS varchar(20))", "objid": "CAST(z.objid AS varchar(20))",
        "specobjid": "CAST(s.specObjID AS varchar(20))", "ra": "p.ra", "dec": "p.dec", "z": "s.z",
        "zErr": "s.zErr", "nvote": "z.nvote", "p_mg": "z.p_mg", "petroRad_r": "p.petroRad_r",
        "petroR90_r": "p.petroR90_r", "petroMag_r": "p.petroMag_r", "modelMag_u": "p.modelMag_u",
        "modelMag_r": "p.modelMag_r", "extinction_u": "p.extinction_u", "extinction_r": "p.extinction_r",
        "lgm_tot_p16": "e.lgm_tot_p16", "lgm_tot_p50": "e.lgm_tot_p50", "lgm_tot_p84": "e.lgm_tot_p84",
    },
    ("dr7objid", "objid", "specobjid"),
    "FROM zooSpec z JOIN SpecObj s ON s.specObjID=z.specobjid LEFT JOIN PhotoObj p ON p.objID=z.objid "
    "LEFT JOIN galSpecExtra e ON e.specObjID=z.specobjid "
    "WHERE s.z>={low} AND s.z<{high} AND s.zWarning=0",
)  # fmt: skip
# Joins drop galaxies unseen: these are counted apart.
COUNTS = {
    "galaxies with votes": "SELECT COUNT(*) AS n FROM zooSpec",
    "galaxies without a spectrum": "SELECT COUNT(*) AS n FROM zooSpec z LEFT JOIN SpecObj s ON "
    "s.specObjID=z.specobjid WHERE s.specObjID IS NULL",
    "galaxies with a doubtful redshift": "SELECT COUNT(*) AS n FROM zooSpec z JOIN SpecObj s ON "
    "s.specObjID=z.specobjid WHERE s.zWarning<>0",
}


def get_sample(root: Path, settings: ArchiveSettings) -> None:
    """Get the sample into a folder; what is there is not asked for again.

    Parameters
    ----------
    root
        The folder.
    settings
        Where it comes from, and which galaxies are in it.

    Raises
    ------
    DataError
        If a service does not answer, or there are too few galaxies. The same call goes on later.
    """
    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / ".archive.lock")
    if is_locked(lock):
        log.info("another process gets its sample into %s; waiting for it", root)
    with lock:
        _check_origin(root, settings)
        client = Client(
            root / "client", settings.rate, settings.tries, settings.timeout, first_wait=settings.first_wait
        )
        tables = Tables(client, _address(settings.tables, settings), root / "tables")
        counts = _counts(tables, root)
        low, high = settings.redshift
        steps = max(1, round((high - low) / settings.step))
        edges = [round(float(edge), 6) for edge in np.linspace(low, high, steps + 1)]
        parts = [pd.read_parquet(path) for path in tables.chunks("galaxies", GALAXIES, edges)]
        galaxies = pd.concat(parts, ignore_index=True)
        is_known = galaxies["dr7objid"].notna() & ~galaxies["dr7objid"].duplicated()
        counts |= {
            "rows without an id": int(galaxies["dr7objid"].isna().sum()),
            "rows whose id another row has": int((~is_known & galaxies["dr7objid"].notna()).sum()),
        }
        galaxies = galaxies[is_known]
        darg = _darg(client, settings, root / "tables" / "darg.csv")
        candidates = find_candidates(galaxies, darg, settings)
        cutouts = Cutouts(_images(client, settings, root), root / "cutouts", settings.pixels)
        sample = _get_cutouts(candidates, cutouts, settings)
        _write(root, candidates, sample, cutouts, settings, counts)


def _images(client: Client, settings: ArchiveSettings, root: Path) -> Images:
    """Return what cutouts come from: frames on this machine, if they are there, or the service."""
    if settings.frames is None:
        return Service(client, _address(settings.cutouts, settings))
    from mergerexp.archive.frames import Frames  # scipy's filters take a while

    return Frames(Path(settings.frames).expanduser(), root)


def _check_origin(root: Path, settings: ArchiveSettings) -> None:
    """Refuse a folder that was filled from other addresses: what is there would be taken for theirs."""
    path, names = root / "origin.json", ("tables", "cutouts", "mergers")
    origin = {name: _address(getattr(settings, name), settings) for name in names}
    if settings.frames is not None:
        origin["cutouts"] = "frames of SDSS in a folder"
    if not path.is_file():
        write_json(path, {"addresses": origin})
    elif (found := read_json(path)["addresses"]) != origin:
        other = next(name for name in names if found.get(name) != origin[name])
        raise DataError(
            f"data.archive.{other}: {root} was filled from {found.get(other)} and not from {origin[other]}; "
            "choose another data.root"
        )


def _address(template: str, settings: ArchiveSettings) -> str:
    return template.replace("{release}", str(settings.release))


def _counts(tables: Tables, root: Path) -> dict[str, int]:
    """Return the numbers of galaxies that the joins leave out, which are asked for once."""
    path = root / "tables" / "counts.csv"
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        found = {name: tables.count(sql) for name, sql in COUNTS.items()}
        write_text(path, pd.Series(found, name="n").to_csv())
    counts = pd.read_csv(path, index_col=0)["n"]
    return {str(name): int(number) for name, number in counts.items()}


def _darg(client: Client, settings: ArchiveSettings, path: Path) -> pd.DataFrame:
    """Return the mergers of Darg et al. 2010, with ids as texts."""

    def read(answer: requests.Response) -> bytes:
        try:
            table = _read_darg(answer.content)
        except (ValueError, KeyError) as error:  # those of pandas' parser are ValueErrors, too
            raise Retry(f"no whole table of mergers: {error}") from error
        if not len(table):
            raise Retry("a table of mergers without rows")
        return answer.content

    if not path.is_file():
        try:
            body = client.get(settings.mergers, {}, read)
        except Refused as error:
            raise DataError(f"{settings.mergers} has no table of mergers: {error}") from error
        with written(path) as partial:
            partial.write_bytes(body)
    return _read_darg(path.read_bytes())


def _read_darg(body: bytes) -> pd.DataFrame:
    """Return the table of mergers; KeyError and ValueError say that it is none, or is cut off."""
    lines = body.decode("utf-8-sig", errors="replace").splitlines()
    header = next(csv.reader(lines[:1]), [])
    if missing := [name for name in DARG_COLUMNS if name not in header]:
        raise KeyError(f"the column {missing[0]} is missing")
    if any(len(row) != len(header) for row in csv.reader(lines) if row):
        raise ValueError("a row is cut off")
    kinds = {name: str if name.startswith("object") else float for name in DARG_COLUMNS}
    return pd.read_csv(io.BytesIO(body), dtype=kinds, encoding="utf-8-sig")


def _get_cutouts(candidates: Candidates, cutouts: Cutouts, settings: ArchiveSettings) -> pd.DataFrame:
    """Get the cutouts of the sample, and of all galaxies if asked for; return the sample.

    A non-interacting galaxy without a cutout is replaced by the next one of the draw.
    """
    mergers = candidates.mergers
    found = cutouts.get(_wanted(mergers, settings))
    parts = [_kept(mergers, found).assign(label=MERGER)]
    if not len(parts[0]):
        raise DataError(f"none of the {len(mergers)} mergers has a cutout")
    taken, start = 0, 0
    while taken < settings.others and start < len(candidates.order):
        rows = candidates.galaxies.loc[candidates.order[start : start + settings.others - taken]]
        start += len(rows)
        kept = _kept(rows, cutouts.get(_wanted(rows, settings))).assign(label=OTHER)
        taken += len(kept)
        parts.append(kept)
    if taken < settings.others:
        log.warning("%d instead of %d non-interacting galaxies have a cutout", taken, settings.others)
    if settings.survey:
        cutouts.get(_wanted(candidates.galaxies[candidates.galaxies["usable"]], settings))
    return pd.concat(parts)


def _wanted(rows: pd.DataFrame, settings: ArchiveSettings) -> list[Wanted]:
    return [
        Wanted(
            str(each["dr7objid"]),
            each["ra"],
            each["dec"],
            round(settings.pixel_scale * each["petroRad_r"], 6),
        )
        for each in records(rows)
    ]


def _kept(rows: pd.DataFrame, lines: dict[str, Line]) -> pd.DataFrame:
    return rows[[lines[each].outcome == Outcome.KEPT for each in rows["dr7objid"].astype(str)]]


def _write(
    root: Path,
    candidates: Candidates,
    sample: pd.DataFrame,
    cutouts: Cutouts,
    settings: ArchiveSettings,
    counts: dict[str, int],
) -> None:
    """Write the labelled sample, the catalogue of all galaxies, and where they come from."""
    everything = candidates.galaxies.rename(columns={"objid": "dr8objid"})
    everything.insert(0, "objid", everything["dr7objid"].astype("int64"))
    ids = everything["dr7objid"].astype(str)
    # Of other settings, earlier calls may have left other cutouts.
    usable = candidates.galaxies[candidates.galaxies["usable"]]
    lines = {each.id: line for each in _wanted(usable, settings) if (line := cutouts.line(each)) is not None}
    everything["cutout"] = [lines[each].outcome if each in lines else None for each in ids]
    is_kept = everything["cutout"] == str(Outcome.KEPT)
    everything["file"] = ("cutouts/" + ids + ".jpg").where(is_kept)
    everything["visual"] = everything["is_first"].astype(int)
    everything["role"] = sample["label"].reindex(everything.index)
    labelled = everything[everything["role"].notna()].rename(columns={"role": "label"})
    write_text(root / SAMPLE, labelled[list(KEPT_COLUMNS)].to_csv(index=False))
    with written(root / CATALOGUE) as partial:
        everything.drop(columns=["is_first", "usable"]).to_parquet(partial, index=False)
    outcomes = everything["cutout"].value_counts().to_dict()
    about: dict[str, Any] = {
        "settings": dataclasses.asdict(settings),
        "archive": counts,
        "galaxies in the range of redshifts": len(everything),
        "of these without photometry": int((~everything["usable"]).sum()),
        "rows of Darg et al.": _fates_of_darg(candidates, ids[is_kept]),
        "sample": labelled["label"].value_counts().to_dict(),
        "cutouts": outcomes,
        "without a cutout": {line.id: line.reason for line in lines.values() if line.outcome != Outcome.KEPT},
        "tables": {path.name: sha256(path) for path in sorted((root / "tables").iterdir())},
        "sha256 of the sample": sha256(root / SAMPLE),
    }
    write_json(root / ABOUT, about)
    chosen = ", ".join(f"{n} {name}" for name, n in about["sample"].items())
    log.info("%s: %s, of %d galaxies", root, chosen, len(everything))


def _fates_of_darg(candidates: Candidates, kept: pd.Series) -> dict[str, int]:
    """Return how many rows of Darg's table became mergers of the sample, and why the others did not."""
    fates = candidates.darg.copy()
    of_galaxy = candidates.galaxies["dr7objid"].astype(str)
    is_lost = (fates["fate"] == TAKEN) & ~of_galaxy.reindex(fates["row"]).isin(kept).to_numpy()
    fates.loc[is_lost, "fate"] = "has no cutout"
    return {str(name): int(count) for name, count in fates["fate"].value_counts().items()}
