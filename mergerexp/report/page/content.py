"""What a study's page shows, as plain data that whoever aggregates a study fills."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from numpy.typing import ArrayLike

from mergerexp.report.words import Words


@dataclass(frozen=True)
class Headline:
    """A number to see first.

    Attributes
    ----------
    label
        What it is.
    ours
        As it came out, with its error.
    published
        What the paper says of it, if anything is to be said.
    note
        What else to know, in a few words.
    """

    label: str
    ours: str
    published: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A figure; it is shown at the size it was drawn for, by its resolution in dots per inch.

    Attributes
    ----------
    name
        What links to it go by; unique among a page's figures.
    title, caption
        What it is, without a full stop; what to see in it.
    alt
        What it shows, for those who can't see it.
    png
        Path of the image. A PDF of the same name beside it is linked to.
    """

    name: str
    title: str
    caption: str
    alt: str
    png: Path


@dataclass(frozen=True)
class TableBlock:
    """A table; its first column names the rows, its index is not shown.

    Attributes
    ----------
    name, title, caption
        As of a figure.
    frame
        Strings are shown as they are, floats with four significant digits and at most four decimals,
        missing values as a dash. Columns without a letter in any cell are set flush right.
    links
        Addresses (http or https) of the rows' first cells, one a row, None where there is none; empty for
        a table without links.
    """

    name: str
    title: str
    caption: str
    frame: pd.DataFrame
    links: Sequence[str | None] = ()


@dataclass(frozen=True)
class Thumb:
    """A small image of a galaxy.

    Attributes
    ----------
    image
        JPEG or PNG file content.
    p_m
        Merger probability, that of the arm where it stands.
    objid
        Identifier.
    label
        1 for a merger, 0 else.
    """

    image: bytes
    p_m: float
    objid: int | str
    label: int


@dataclass(frozen=True)
class Gallery:
    """Small images with their p_m, in groups, as Figs 8-11 of Ackermann et al. 2018.

    Attributes
    ----------
    name, title, caption
        As of a figure.
    groups
        Heading and images of each.
    named
        Say below each image which class it is of.
    """

    name: str
    title: str
    caption: str
    groups: Sequence[tuple[str, Sequence[Thumb]]]
    named: bool = False


Item = Figure | TableBlock | Gallery


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes
    ----------
    id
        What links to it go by; unique.
    title
        Heading.
    intro
        Paragraphs, parted by empty lines.
    items
        Figures, tables and galleries in their order. They are numbered over the whole page.
    """

    id: str
    title: str
    intro: str
    items: Sequence[Item]


@dataclass(frozen=True)
class Arm:
    """A method whose threshold can be chosen.

    Attributes
    ----------
    name
        As it is offered.
    label, p_m
        1 for a merger, 0 else, and merger probability of the test galaxies, each once; shape (n,).
    samples
        Some of them with their images.
    """

    name: str
    label: ArrayLike
    p_m: ArrayLike
    samples: Sequence[Thumb] = ()


@dataclass(frozen=True)
class Explorer:
    """What the threshold explorer shows.

    Attributes
    ----------
    arms
        At least one; the first is shown first.
    prevalence
        Fraction of mergers in the data set.
    survey
        In a survey, to choose with a click.
    note
        A sentence on the predictions: of which runs and galaxies.
    """

    arms: Sequence[Arm]
    prevalence: float
    note: str = ""
    survey: float = 0.02


@dataclass(frozen=True)
class Report:
    """All that a study's page shows. Texts are plain; "p_m" is set as a symbol.

    Attributes
    ----------
    title, subtitle
        Of the page.
    headline
        Numbers to see first.
    gaps
        What is missing, unfinished, duplicate or foreign, a line each; shown on top.
    sections
        Body of the page.
    errata
        Of the published paper.
    runs
        A row a run, its link that of the run in MLflow.
    provenance
        Names and values, nested as one likes; lists are set with commas.
    explorer
        None for a page without.
    words
        What the classes are called.
    verdict
        What came out, in a sentence, and what to know before it is believed, a sentence each.
    """

    title: str
    subtitle: str = ""
    headline: Sequence[Headline] = ()
    gaps: Sequence[str] = ()
    sections: Sequence[Section] = ()
    errata: Sequence[str] = ()
    runs: TableBlock | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    explorer: Explorer | None = None
    words: Words = field(default_factory=Words)
    verdict: Sequence[str] = ()
