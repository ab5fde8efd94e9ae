"""Places that a survey's images are in."""

from __future__ import annotations

import csv
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from astropy.table import Table

LARGE = [2**53 + 1, 2**63 - 1, -3]  # ids that a float would change


def write_catalogue(path: Path, pictures: list[Path]) -> None:
    columns = {"objid": LARGE, "file": [file.name for file in pictures], "ra": [10.0, 20.0, 359.999]}
    columns["dec"] = [-90.0, 0.5, 90.0]
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([columns, *zip(*columns.values(), strict=True)])
    elif path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    else:
        Table(columns).write(path, format="votable" if path.suffix == ".vot" else None)


def packed(path: Path, pictures: list[Path]) -> Path:
    with tarfile.open(path, "w") as tar:
        for picture in pictures:
            tar.add(picture, picture.name)
    return path
