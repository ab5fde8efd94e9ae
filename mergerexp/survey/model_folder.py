"""A folder with the fold models of a study, on which a rating depends and on nothing else.

``model.json``
    What a rating depends on: input, classes, the study, its ancestors and metrics; and the SHA-256 of each
    other file.
``seen.parquet``
    The objects that the models, or the networks they started from, have seen; see `mergerexp.survey.seen`.
``tests.parquet``
    The label and the recorded logits of every test object of each fold, which the calibrators were fitted to.
``references.parquet``
    Some test objects of each fold with their images and logits; see `mergerexp.survey.references`.
``fold0/`` and so on
    The model of a fold: ``config.json`` and ``model.safetensors``, the backbone as timm loads it;
    ``head.safetensors``; ``calibrators.json``; and by option ``model.onnx``.
``README.md``, ``CITATION.cff``, ``.zenodo.json``
    What readers, model hubs and archives are told.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mergerexp.batches.images import Scaling
from mergerexp.errors import UserError, describe
from mergerexp.files import read_json
from mergerexp.models.ancestors import ABOUT
from mergerexp.seals import FILES, check_listed

REFERENCES, TESTS = "references.parquet", "tests.parquet"  # beside ABOUT and SEEN
CARD, CITATION, ZENODO = "README.md", "CITATION.cff", ".zenodo.json"
BACKBONE_CONFIG, BACKBONE, HEAD = "config.json", "model.safetensors", "head.safetensors"
CALIBRATORS, ONNX = "calibrators.json", "model.onnx"
FORMAT = 1
KEYS = {"format", "model_id", "name", "classes", "input", "data", "folds", "id_system", "ancestors", FILES}
AGAIN = "copy the whole folder again, or export the study again"


@dataclass(frozen=True)
class ModelFolder:
    """An opened folder, whose files are as they were written.

    Attributes
    ----------
    path
        The folder.
    about
        The contents of ``model.json``.
    """

    path: Path
    about: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> ModelFolder:
        """Open a folder and compare its files with their hashes.

        Raises
        ------
        UserError
            If it is no such folder, is of a newer format, or a file is missing or damaged.
        """
        if not (path / ABOUT).is_file():
            raise UserError(f"{path}: no model folder ({ABOUT} is missing); mergerexp.export makes one")
        about = read_json(path / ABOUT)
        if not isinstance(about, dict) or (missing := KEYS - about.keys()):
            lacks = ", ".join(sorted(missing)) if isinstance(about, dict) else "everything"
            raise UserError(f"{path / ABOUT} lacks {lacks}; {AGAIN}")
        if about["format"] != FORMAT:
            raise UserError(
                f"{path / ABOUT} has format {about['format']}, and this mergerexp reads format {FORMAT}: "
                "use the version that exported it"
            )
        try:
            check_listed(path, about[FILES], about[FILES])
        except UserError as error:
            raise UserError(f"{error}; {AGAIN}") from error
        return cls(path, about)

    @property
    def model_id(self) -> str:
        """The hash of all that decides a rating."""
        return str(self.about["model_id"])

    @property
    def folds(self) -> list[int]:
        """The folds that have a model."""
        return [int(fold["fold"]) for fold in self.about["folds"]]

    def fold_path(self, fold: int) -> Path:
        """Return the folder of a fold's model."""
        return self.path / fold_name(fold)

    @property
    def class_names(self) -> tuple[str, str]:
        """The names of the classes with the labels 1 and 0."""
        return str(self.about["classes"]["positive"]), str(self.about["classes"]["negative"])

    @property
    def scaling(self) -> Scaling:
        """The scaling of the networks' input."""
        given = self.about["input"]["scaling"]
        return Scaling(tuple(given["mean"]), tuple(given["std"]), float(given["scale"]))

    @property
    def crop(self) -> float:
        """The central fraction of an image that becomes a stamp."""
        return float(self.about["input"]["crop"])

    @property
    def size(self) -> int:
        """The side of a stamp in pixels."""
        return int(self.about["input"]["size"])

    def read_table(self, name: str) -> pd.DataFrame:
        """Read one of the Parquet files.

        Raises
        ------
        UserError
            If the file cannot be read.
        """
        try:
            return pd.read_parquet(self.path / name, dtype_backend="pyarrow")
        except Exception as error:  # Arrow's exceptions have no common base
            raise UserError(f"{self.path / name} is broken ({describe(error)}); {AGAIN}") from error


def fold_name(fold: int) -> str:
    """Return the name of the folder of a fold's model."""
    return f"fold{fold}"
