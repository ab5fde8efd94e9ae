"""The settings of the verbs that rate surveys, beside those of `mergerexp.config.schema`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mergerexp.config.paths import absolute_path
from mergerexp.config.schema import DEVICES, LARGEST_SEED, PathsConfig, StudyConfig
from mergerexp.settings import setting


@dataclass(kw_only=True)
class ExportConfig(StudyConfig):
    """Root of ``mergerexp.export``, which reads run folders where ``tracking=none`` says so."""

    needs_store: ClassVar[bool] = False

    models: str = setting("folder of exported models")
    name: str | None = setting("name of the model's folder; null: that of the experiment and the method")
    method: str | None = setting(
        "method whose networks are exported, as aggregate names it; null: the only one"
    )
    subset: float | None = setting(
        "fraction of the data set that they were trained on; null: the largest", above=0.0, high=1.0
    )
    seed: int | None = setting("seed of their runs; null: the smallest", 0, LARGEST_SEED)
    allow_partial: bool = setting("go on although folds are missing")
    id_system: str | None = setting(
        "name of the system of the objids, such as SDSS-DR7, within which equal ids mean one object; null: "
        "one of the data set's own"
    )
    stamp_arcsec: float | None = setting(
        "width of the stamps on the sky; null: not known, or not one width", above=0.0, unit="arcseconds"
    )
    references: int = setting("test objects of each fold that are kept to prove a rating", 1, 10_000)
    register: bool = setting("keep the folder in MLflow too, as a version of a registered model")
    onnx: bool = setting("write each fold's network as ONNX too; needs the extra mergerexp[export]")
    seed_of_intervals: int = setting("seed of the bootstrap of the scores", 0, LARGEST_SEED)


@dataclass(kw_only=True)
class SurveyColumns:
    """Names of the columns of a survey's table."""

    id: str = setting("column of the ids, integers of 64 bits or text", default="objid")
    file: str = setting("column of the image files", default="file")
    image: str = setting("column of Parquet files with the bytes of the images", default="image")
    ra: str = setting("column of right ascensions in degrees, if there is one", default="ra")
    dec: str = setting("column of declinations in degrees, if there is one", default="dec")


@dataclass(kw_only=True)
class PredictConfig:
    """Root of ``mergerexp.predict``."""

    paths: PathsConfig
    model_folder: str = setting("folder that mergerexp.export has written")
    images: str = setting(
        "what is rated: a prepared data set, a folder, tar files, Parquet with images, or a catalogue of "
        "files (CSV, Parquet, FITS, VOTable)"
    )
    surveys: str = setting("folder of rated surveys")
    name: str | None = setting("name of the survey's folder; null: that of the images")
    columns: SurveyColumns
    root: str | None = setting("folder that a catalogue's files are relative to; null: that of the catalogue")
    id_system: str | None = setting(
        "name of the system of the ids, such as SDSS-DR7, within which equal ids mean one object; null: one "
        "of the input's own"
    )
    stamp_arcsec: float | None = setting(
        "width of the stamps on the sky; null: that of the model folder", above=0.0, unit="arcseconds"
    )
    crop: float | None = setting(
        "central fraction of each image that is rated, so that galaxies are as large as in the training set; "
        "null: as the training images were cropped",
        0.05,
        1.0,
    )
    any_size: bool = setting("rate images that have another size in pixels than the training set's, too")
    prevalence: float | None = setting(
        "fraction of the rare class in the survey, which p_prior refers to; null: estimated from the ratings",
        above=0.0,
        high=0.99,
    )
    formats: list[str] = setting("further formats of the catalogue", choices=("fits", "votable"))
    listed: int = setting("objects in each of the lists of the highest and the lowest p_best", 1, 100_000)
    friendly: bool = setting("write the short set of columns instead of all")
    dry_run: bool = setting("only look at a sample, and say how long the rating would take")
    shards: int = setting("jobs that share the work, where -m lets hydra/launcher start them", 1, 1_000_000)
    device: str = setting("where to compute; auto: a GPU where there is one", choices=DEVICES)
    chunk: int | None = setting(
        "images that are rated at once, which decides the last bits of p; null: 32 on a processor, since "
        "more do not fit its caches, and 256 elsewhere",
        2,
        65_536,
    )
    part: int = setting(
        "objects of a part, in whole chunks, which is what is lost at most when a process is killed", 1, 10**7
    )
    seed: int = setting("seed of the interval of the estimated fraction", 0, LARGEST_SEED)

    @property
    def folder(self) -> Path:
        """The folder of the survey's parts and its catalogue."""
        name = self.name or Path(absolute_path(self.images)).stem or "survey"
        return Path(self.surveys).expanduser() / name
