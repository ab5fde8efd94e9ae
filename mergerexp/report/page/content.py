"""The content of a study's page, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from numpy.typing import ArrayLike

from mergerexp.report.words import Words


@dataclass(frozen=True)
class Headline:
    """A number that is shown first.

    Attributes
    ----------
    label
        What the number is.
    ours
        The number that was found, with its error.
    published
        What the paper says about it; None if nothing should be said.
    note
        What else should be known, in a few words.
    """

    label: str
    ours: str
    published: str | None = None
    note: str = ""


@dataclass(frozen=True)
class FigureBlock:
    """A figure; one that is too wide for a pair of figures has the whole width to itself.

    Attributes
    ----------
    name
        The name by which links refer to the figure, unique among the figures of a page.
    title, caption
        What the figure is, without a full stop, and what can be seen in it.
    alt
        What the figure shows, for those who can't see it.
    image
        The path of the image, an SVG, PNG or JPEG file.
    """

    name: str
    title: str
    caption: str
    alt: str
    image: Path


@dataclass(frozen=True)
class TableBlock:
    """A table, of which the first column names the rows; the index is not shown.

    Attributes
    ----------
    name, title, caption
        These are as for a `FigureBlock`.
    shown
        The texts of the cells. Columns with numbers and without a word in any cell are set flush right.
    links
        The addresses (http or https) to which the first cells of the rows are linked, None where there is
        none. It is empty for a table without links.
    published
        How many of the last rows hold published numbers, which are muted.
    """

    name: str
    title: str
    caption: str
    shown: pd.DataFrame
    links: Sequence[str | None] = ()
    published: int = 0


@dataclass(frozen=True)
class Thumb:
    """A small image of a galaxy.

    Attributes
    ----------
    image
        The content of a JPEG or PNG file.
    p_m
        The merger probability according to the method with which the image is shown.
    objid
        The identifier of the galaxy.
    label
        1 for a merger, 0 otherwise.
    file
        The file of the galaxy, by which it is named; without one it is named by its objid.
    """

    image: bytes
    p_m: float
    objid: int | str
    label: int
    file: str = ""

    @property
    def name(self) -> str:
        """The name under which the galaxy is found again."""
        return self.file or f"object {self.objid}"


class Group(NamedTuple):
    """Images of a gallery with one heading.

    Attributes
    ----------
    heading
        The heading.
    thumbs
        The images.
    total
        How many galaxies there are of which these are some; None if these are all.
    """

    heading: str
    thumbs: Sequence[Thumb]
    total: int | None = None


@dataclass(frozen=True)
class Gallery:
    """Small images with their p_m, in groups, like Figs 8 to 11 of Ackermann et al. 2018.

    Attributes
    ----------
    name, title, caption
        These are as for a `FigureBlock`.
    groups
        The images, in groups.
    named
        Whether the class of each image is named below it.
    """

    name: str
    title: str
    caption: str
    groups: Sequence[Group]
    named: bool = False


Item = FigureBlock | TableBlock | Gallery


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes
    ----------
    id
        The unique name by which links refer to the section.
    title
        The heading.
    intro
        The paragraphs, separated by empty lines.
    items
        The figures, tables and galleries in their order. They are numbered over the whole page.
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
        The name under which the method can be selected.
    label, p_m
        The label (1 for a merger, 0 otherwise) and the merger probability of each test galaxy, shape (n,).
    samples
        Some of these galaxies with their images.
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
        The methods, of which there must be at least one. The first is shown first.
    prevalence
        The fraction of mergers in the data set.
    note
        A sentence on the runs and galaxies that the predictions come from.
    survey
        The fraction of mergers in a survey, which can be chosen with a click.
    """

    arms: Sequence[Arm]
    prevalence: float
    note: str = ""
    survey: float = 0.02


class Link(NamedTuple):
    """A file or page that a page leads to.

    Attributes
    ----------
    label
        What it is.
    href
        Its address, http(s) or relative to the page.
    note
        What else should be known, in a few words.
    """

    label: str
    href: str
    note: str = ""


@dataclass(frozen=True)
class Report:
    """Everything that a study's page shows, as plain text in which "p_m" is set as a symbol.

    Attributes
    ----------
    title, subtitle
        The title and subtitle of the page.
    headline
        The numbers that are shown first.
    gaps
        A line for everything that is missing, unfinished, duplicate or foreign; shown at the top.
    sections
        The body of the page.
    errata
        Errors in the published paper.
    runs
        A table with a row for each run, linked to the run in MLflow.
    provenance
        Names and values, nested to any depth. Lists are set with commas.
    explorer
        The threshold explorer; None for a page without one.
    words
        The words for the two classes.
    verdict
        What was found, and a sentence for each reason to doubt it.
    evidence
        Sentences on what the verdict follows from, shown after it.
    notation
        Sentences on how numbers are written here.
    files
        Sentences on where figures and tables lie as files; the name of each ends its caption.
    subject
        What the page is about, in a word.
    abstract
        What was found, in some sentences below the title.
    downloads
        Files and pages to go on from here.
    citation
        What to cite, and the licence, each with its address.
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
    evidence: str = ""
    notation: str = ""
    files: str = ""
    subject: str = "study"
    abstract: str = ""
    downloads: Sequence[Link] = ()
    citation: Sequence[Link] = ()
