"""What an aggregation can be told about the numbers of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mergerexp.config.schema import AggregateConfig
from mergerexp.files import folder_name


@dataclass(frozen=True)
class AggregationSettings:
    """What an aggregation can be told about the numbers of a report.

    Attributes
    ----------
    compare
        The two arms that are compared, of which the first is tested for the smaller error. None compares
        pretrained with random weights.
    prevalence
        The fraction of mergers in a survey.
    draws
        The number of draws in each bootstrap.
    seed
        The seed of bootstraps, of the thirds on which calibrators are fitted, and of galleries.
    title
        The name of the study.
    chosen
        How the study's runs were chosen, with the keys where, sweep and allow_partial.
    published
        Whether the published numbers stand beside those of the study. None shows them where the data set is
        the published sample.
    sample
        The folder of a merger sample, whose sections the report gets; None for none.
    """

    compare: Sequence[str] | None = None
    prevalence: float = 0.02
    draws: int = 2_000
    seed: int = 0
    title: str = "study"
    chosen: Mapping[str, Any] = field(default_factory=dict)
    published: bool | None = None
    sample: Path | None = None


def study_title(experiment: str, sweep: str | None, where: Mapping[str, Any]) -> str:
    """Return the name of an experiment, and how its runs were chosen, in words.

    Examples
    --------
    >>> study_title("mergerexp", None, {"data.name": ["lenses", "rings"], "subset": [0.5, 1.0]})
    'mergerexp, data lenses, rings, subset 0.5, 1.0'
    """
    chosen = {"sweep": sweep} if sweep else {}
    words = []
    for key, value in {**chosen, **where}.items():
        values = [value] if isinstance(value, str) or not isinstance(value, Sequence) else value
        name = key.removesuffix(".name").replace(".", " ").replace("_", " ")
        words.append(f"{name} {', '.join(map(str, values))}")
    return ", ".join([experiment, *words])


def study_folder(cfg: AggregateConfig) -> Path:
    """Return the folder of a study, which has its title or the name that was asked for."""
    title = study_title(cfg.tracking.experiment, cfg.sweep, cfg.where or {})
    return Path(cfg.paths.studies) / folder_name(cfg.name or title, "study")
