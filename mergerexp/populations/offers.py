"""What the page of a sample offers beside its numbers: catalogues, networks, and how to cite them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from mergerexp.config.sample_schema import SampleConfig
from mergerexp.errors import UserError, describe
from mergerexp.report.page.content import Link

# What predict writes beside its Parquet catalogue, as the paper publishes it.
CATALOGUES = {
    "merger_probabilities.parquet": "all columns, with their meanings",
    "merger_probabilities.csv.gz": "the mean of the networks' ratings in front",
    "merger_probabilities_CALIBRATED.csv.gz": "the calibrated probability in front",
}


@dataclass(frozen=True)
class ModelCitation:
    """How the networks of a sample are cited.

    Attributes
    ----------
    authors
        Who made them.
    links
        What to cite, and the licence.
    """

    authors: str
    links: list[Link]


def downloads(cfg: SampleConfig) -> list[Link]:
    """Return the files that the page offers, as addresses relative to the page."""
    links = []
    if cfg.ratings is not None:
        folder = Path(cfg.ratings).expanduser().parent
        links += [
            Link(name, _beside(folder / name, cfg), note)
            for name, note in CATALOGUES.items()
            if (folder / name).is_file()
        ]
    if cfg.page.model_folder is not None:
        folder = Path(cfg.page.model_folder).expanduser()
        links.append(
            Link(f"{folder.name}: the networks", _beside(folder / "README.md", cfg), "and what they are")
        )
    links.append(Link("sample.json", "sample.json", "all numbers of this page"))
    return links


def _beside(path: Path, cfg: SampleConfig) -> str:
    return Path(os.path.relpath(path.resolve(), cfg.folder.resolve())).as_posix()


def cite_model(cfg: SampleConfig) -> ModelCitation | None:
    """Return how the model folder wants to be cited; None if there is none.

    Raises
    ------
    UserError
        If its CITATION.cff can't be read.
    """
    if cfg.page.model_folder is None:
        return None
    path = Path(cfg.page.model_folder).expanduser() / "CITATION.cff"
    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(path))
        authors = ", ".join(
            each.get("name") or f"{each['given-names']} {each['family-names']}" for each in content["authors"]
        )
        title, licence = str(content["title"]), str(content["license"])
    except Exception as error:  # YAML, OmegaConf and files each have their own
        raise UserError(f"page.model_folder: {path} can't be read: {describe(error)}") from error
    return ModelCitation(authors, [Link(title, "", f"{authors}; licence {licence}")])
