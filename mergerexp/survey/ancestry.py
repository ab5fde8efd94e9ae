"""The network that a study's networks started from, if an exported model tells what it has seen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mergerexp.errors import UserError
from mergerexp.models.ancestors import exported_by, objects_seen, source_of
from mergerexp.survey.model_folder import ModelFolder

OF_A_MODEL = re.compile(r"(fold\d+) of model (\w+)")  # the origin of weights that an exported model has


@dataclass(frozen=True)
class Ancestry:
    """What a study's networks started from.

    Attributes
    ----------
    origin
        The origin of the weights, as the runs recorded it; None if these were random.
    sha256
        Their SHA-256.
    fold
        The folder of the fold of an exported model that they are of; None if they came from elsewhere.
    """

    origin: str | None
    sha256: str | None = None
    fold: Path | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any], tags: Mapping[str, str], other: Path) -> Ancestry:
        """Return the ancestry of the networks of a run.

        Parameters
        ----------
        settings, tags
            The settings and tags of the run.
        other
            Another place where the fold of an exported model may be now.

        Raises
        ------
        UserError
            If the networks started from an exported model that is not there: what it has seen is unknown
            without its list, and must not be forgotten.
        """
        origin, sha256 = tags.get("mergerexp.weights.origin", "random"), tags.get("mergerexp.weights.sha256")
        if origin in ("random", "none"):
            return cls(None)
        if not (match := OF_A_MODEL.fullmatch(origin)):
            return cls(origin, sha256)
        name, model_id = match.groups()
        given = settings.get("init.source"), settings.get("model.pretrained")
        source = source_of(given[0], str(given[1])) or str(other)
        for fold in (Path(source).expanduser().resolve(), other.expanduser().resolve()):
            if fold.name == name and exported_by(fold) == model_id:
                ModelFolder.open(fold.parent)  # it is whole
                return cls(origin, sha256, fold)
        raise UserError(
            f"{source}: the study's networks started from {origin}, which lists what it has seen; put "
            f"that model's folder back, or name its fold with paths.galaxies=FOLDER/{name}"
        )

    def seen(self) -> pd.DataFrame | None:
        """Return the objects that the ancestor has seen; None if there is none, or that is not known."""
        return None if self.fold is None else objects_seen(str(self.fold))

    def described(self) -> list[dict[str, Any]]:
        """Return the weights that the networks started from, and those that these started from, for JSON."""
        if self.origin is None:
            return []
        own = {"origin": self.origin, "sha256": self.sha256}
        if self.fold is None:
            return [{**own, "objects": "unknown"}]
        parent, seen = ModelFolder.open(self.fold.parent), objects_seen(str(self.fold))
        number = 0 if seen is None else len(seen)
        return [{**own, "objects": number, "model_id": parent.model_id}, *parent.about["ancestors"]]
