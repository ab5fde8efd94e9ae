"""The catalogue as astronomers' tables, FITS and VOTable, with the meanings and units of its columns.

astropy holds the whole table in memory, unlike the other files of the catalogue.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mergerexp.files import written

FORMATS = {"fits": ".fits", "votable": ".vot"}  # the names of the formats and the endings of their files


def write_as(parquet: Path, kind: str) -> Path:
    """Write a catalogue once more in another format, beside it.

    Parameters
    ----------
    parquet
        The catalogue.
    kind
        One of `FORMATS`.

    Returns
    -------
    Path
        The new file. Missing numbers are NaN there, and missing texts are empty.
    """
    from astropy.table import Column, Table  # takes seconds to import

    given = pq.read_table(parquet)
    table = Table()
    for field in given.schema:
        about = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        values = given[field.name]
        if pa.types.is_string(field.type):
            data = np.array([value or "" for value in values.to_pylist()], dtype=str)
        else:
            data = values.to_numpy(zero_copy_only=False)
        table[field.name] = Column(data, unit=about.get("unit"), description=about.get("description"))
    path = parquet.with_suffix(FORMATS[kind])
    with written(path) as partial:
        table.write(partial, format=kind, overwrite=True)
    return path
