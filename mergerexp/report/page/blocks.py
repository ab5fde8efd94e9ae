"""Figures, tables and galleries in the form that the templates need: numbered, embedded, and as text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple
from urllib.parse import urlsplit

from mergerexp.report.numbers import p_m_text
from mergerexp.report.page.content import Gallery, Group, Item, Report, TableBlock, Thumb
from mergerexp.report.page.images import Embedded, embed
from mergerexp.report.words import Words

LONG = 16  # the number of characters above which a cell may be broken into lines
NARROW = 600  # the width in CSS pixels up to which figures are shown in pairs
CARDS = 4  # the number of columns above which each row of a table becomes a card on a phone


class Column(NamedTuple):
    """The heading of a column, and its kind: "number" (flush right), "long" (on several lines) or ""."""

    name: str
    kind: str


class Row(NamedTuple):
    """The cells of a row, the address of the first one, and whether the numbers are published ones."""

    cells: list[str]
    link: str | None
    is_published: bool


class Small(NamedTuple):
    """An image of a gallery with its p_m, class and name as they are shown."""

    src: str
    alt: str
    name: str
    shown: str
    truth: str


class Pictures(NamedTuple):
    """A group of a gallery: its heading, how many of how many galaxies are shown, and these."""

    heading: str
    tally: str
    smalls: list[Small]


class Block(NamedTuple):
    """An item in the form that the template needs; only the fields that its kind needs are filled."""

    kind: str
    item: Item
    anchor: str
    label: str
    image: Embedded | None = None
    columns: Sequence[Column] = ()
    rows: Sequence[Row] = ()
    is_cards: bool = False
    groups: Sequence[Pictures] = ()

    @property
    def is_narrow(self) -> bool:
        """Tell whether this is a figure that leaves room for another one beside it."""
        return self.image is not None and self.image.width <= NARROW


class SectionBlocks(NamedTuple):
    """A section with its items; figures that stand beside each other share an element of the last list."""

    anchor: str
    title: str
    paragraphs: list[str]
    blocks: list[list[Block]]


class _Numbering:
    """Counts figures and tables, and refuses a name that was used before."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._anchors: set[str] = set()

    def add(self, kind: str, name: str) -> tuple[str, str]:
        """Return the anchor of a section, figure or table, and its label, such as "Table 2"."""
        slug = re.sub(r"\W+", "-", name.lower()).strip("-")
        anchor = f"{kind}-{slug}"
        if anchor in self._anchors:
            raise ValueError(f"{kind} {name!r}: another {kind} of the page has that name")
        self._anchors.add(anchor)
        self._counts[kind] += 1
        return anchor, f"{kind.capitalize()} {self._counts[kind]}"


def blocks(report: Report) -> tuple[list[SectionBlocks], Block | None]:
    """Return the sections and the table of runs, numbered.

    Raises
    ------
    ValueError, OSError
        Under the same conditions as `render.write_page`.
    """
    numbering = _Numbering()
    parts = [
        SectionBlocks(
            numbering.add("section", section.id)[0],
            section.title,
            [paragraph for paragraph in re.split(r"\n\s*\n", section.intro.strip()) if paragraph],
            _side_by_side([_block(item, numbering, report.words) for item in section.items]),
        )
        for section in report.sections
    ]
    return parts, _block(report.runs, numbering, report.words) if report.runs else None


def _side_by_side(items: list[Block]) -> list[list[Block]]:
    runs = [(narrow, list(part)) for narrow, part in groupby(items, lambda block: block.is_narrow)]
    return [part for narrow, run in runs for part in ([run] if narrow else [[block] for block in run])]


def _block(item: Item, numbering: _Numbering, words: Words) -> Block:
    if isinstance(item, TableBlock):
        return _table(item, *numbering.add("table", item.name))
    anchor, label = numbering.add("figure", item.name)
    if isinstance(item, Gallery):
        groups = [
            Pictures(group.heading, _tally(group), [_small(thumb, words) for thumb in group.thumbs])
            for group in item.groups
        ]
        return Block("gallery", item, anchor, label, groups=groups)
    image = embed(item.image.read_bytes(), str(item.image))
    return Block("figure", item, anchor, label, image=image)


def _tally(group: Group) -> str:
    shown = len(group.thumbs)
    total = shown if group.total is None else group.total
    return "none" if not total else f"all {total} shown" if shown == total else f"{shown} of {total:,} shown"


def _small(thumb: Thumb, words: Words) -> Small:
    shown = p_m_text(thumb.p_m)
    truth = words.one if thumb.label else f"not {words.one}"
    alt = f"{truth}, p_m {shown}, {thumb.name}"
    name = thumb.file or str(thumb.objid)
    return Small(embed(thumb.image, thumb.name).src, alt, name, shown, truth)


def _table(table: TableBlock, anchor: str, label: str) -> Block:
    frame, links = table.shown, table.links or [None] * len(table.shown)
    for link in links:
        if link and urlsplit(link).scheme not in ("http", "https"):
            raise ValueError(f"table {table.name!r}: {link!r} is not an http(s) address")
    columns = [Column(str(name), _kind(list(cells))) for name, cells in frame.items()]
    ours = len(frame) - table.published
    rows = [
        Row(cells, link, place >= ours)
        for place, (cells, link) in enumerate(zip(frame.to_numpy().tolist(), links, strict=True))
    ]
    return Block("table", table, anchor, label, columns=columns, rows=rows, is_cards=len(columns) > CARDS)


def _kind(cells: list[str]) -> str:
    if _all_numbers(cells):
        return "number"
    return "long" if max(map(len, cells), default=0) > LONG else ""


def _all_numbers(cells: list[str]) -> bool:
    """Tell whether cells hold numbers, with or without errors, signs and exponents, and no words."""
    text = re.sub(r"(?<=\d)e(?=[-+]?\d)", "", "".join(cells))
    return bool(re.search(r"\d", text)) and not re.search(r"[^\W\d_]", text)
