"""The network that a study's networks started from, and the objects that it has seen.

A fold of an exported model lies beside ``seen.parquet``, which lists them. Weights from elsewhere have no
such list, and what they were trained on is unknown.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mergerexp.data.store import Dataset
from mergerexp.errors import WeightsError, describe
from mergerexp.files import read_json
from mergerexp.hashing import hash63

ABOUT, SEEN = "model.json", "seen.parquet"
RUN = "inputs.json"  # is in every run folder


def exported_by(folder: Path) -> str | None:
    """Return the id of the exported model that a folder in timm's layout is a fold of; None if it is of none.

    Raises
    ------
    WeightsError
        If the model's description is there and can't be read.
    """
    path = folder.expanduser().resolve().parent / ABOUT
    if not (path.is_file() and path.with_name(SEEN).is_file()):  # other things have a model.json, too
        return None
    try:
        return str(read_json(path)["model_id"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} can't be read ({describe(error)}): export the model again") from error


def source_of(source: str | None, pretrained: str) -> str | None:
    """Return the folder of the network of galaxies that a run starts from; None if there is no such network.

    Parameters
    ----------
    source
        ``init.source``.
    pretrained
        ``model.pretrained``, which may be a file of an exported model or of a run.
    """
    if source is not None or pretrained in ("wheel", "hub"):
        return source
    folder = Path(pretrained).expanduser().resolve().parent
    is_of_galaxies = exported_by(folder) is not None or (folder / RUN).is_file()
    return str(folder) if is_of_galaxies else None


def objects_seen(source: str | None) -> pd.DataFrame | None:
    """Return the objects that a network was trained on or stopped by; None if that is not known.

    Parameters
    ----------
    source
        The folder of the network, as ``init.source`` names it.

    Raises
    ------
    WeightsError
        If the list is there and can't be read.
    """
    if source is None:
        return None
    folder = Path(source).expanduser().resolve()
    path = folder.parent / SEEN
    if not path.is_file():
        return None
    try:
        seen = pd.read_parquet(path)
        return seen[seen[f"seen_by_{folder.name.removeprefix('fold')}"]]
    except Exception as error:  # Arrow's exceptions have no common base
        raise WeightsError(f"{path} can't be read ({describe(error)}): export the model again") from error


def seen_in(dataset: Dataset, seen: pd.DataFrame) -> int:
    """Return how many objects of a data set are among those seen, by the content of file or stamp."""
    stamps = [hash63(dataset.images[row].tobytes()) for row in range(len(dataset))]
    known = pd.Series(stamps).isin(set(seen["stamp"].dropna()))
    if "content" in dataset.catalogue:
        known |= dataset.catalogue["content"].isin(set(seen["content"].dropna())).to_numpy()
    return int(known.sum())
