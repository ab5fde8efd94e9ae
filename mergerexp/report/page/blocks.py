"""Figures, tables and galleries in the form that the templates need: numbered, embedded, and as text."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from mergerexp.report.numbers import p_m_text
from mergerexp.report.page.content import Gallery, Item, Report, TableBlock, Thumb
from mergerexp.report.page.images import Embedded, embed
from mergerexp.report.words import Words

LONG = 28  # the number of characters above which a cell may be broken into lines


class Column(NamedTuple):
    """The heading of a column, and its kind: "number" (flush right), "long" (on several lines) or ""."""

    name: str
    kind: str


class Small(NamedTuple):
    """An image of a gallery with its p_m and its class as they are shown."""

    src: str
    alt: str
    objid: str
    shown: str
    truth: str


class Block(NamedTuple):
    """An item in the form that the template needs; only the fields that its kind needs are filled."""

    kind: str
    item: Item
    anchor: str
    label: str
    image: Embedded | None = None
    pdf: str | None = None
    columns: Sequence[Column] = ()
    rows: Sequence[tuple[list[str], str | None]] = ()
    groups: Sequence[tuple[str, list[Small]]] = ()


class SectionBlocks(NamedTuple):
    """A section with its items."""

    anchor: str
    title: str
    paragraphs: list[str]
    blocks: list[Block]


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


def blocks(report: Report, folder: Path) -> tuple[list[SectionBlocks], Block | None]:
    """Return the sections and the table of runs, numbered, with links relative to a folder.

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
            [_block(item, numbering, folder, report.words) for item in section.items],
        )
        for section in report.sections
    ]
    return parts, _block(report.runs, numbering, folder, report.words) if report.runs else None


def _block(item: Item, numbering: _Numbering, folder: Path, words: Words) -> Block:
    if isinstance(item, TableBlock):
        return _table(item, *numbering.add("table", item.name))
    anchor, label = numbering.add("figure", item.name)
    if isinstance(item, Gallery):
        groups = [(heading, [_small(thumb, words) for thumb in thumbs]) for heading, thumbs in item.groups]
        return Block("gallery", item, anchor, label, groups=groups)
    content, pdf = item.png.read_bytes(), item.png.with_suffix(".pdf")
    image = embed(content, str(item.png))
    link = quote(Path(os.path.relpath(pdf, folder)).as_posix()) if pdf.is_file() else None
    return Block("figure", item, anchor, label, image=image, pdf=link)


def _small(thumb: Thumb, words: Words) -> Small:
    shown = p_m_text(thumb.p_m)
    truth = words.one if thumb.label else f"not {words.one}"
    alt = f"{truth}, p_m {shown}, object {thumb.objid}"
    return Small(embed(thumb.image, f"object {thumb.objid}").src, alt, str(thumb.objid), shown, truth)


def _table(table: TableBlock, anchor: str, label: str) -> Block:
    frame, links = table.shown, table.links or [None] * len(table.shown)
    for link in links:
        if link and urlsplit(link).scheme not in ("http", "https"):
            raise ValueError(f"table {table.name!r}: {link!r} is not an http(s) address")
    columns = [Column(str(name), _kind(list(cells))) for name, cells in frame.items()]
    rows = list(zip(frame.to_numpy().tolist(), links, strict=True))
    return Block("table", table, anchor, label, columns=columns, rows=rows)


def _kind(cells: list[str]) -> str:
    if _all_numbers(cells):
        return "number"
    return "long" if max(map(len, cells), default=0) > LONG else ""


def _all_numbers(cells: list[str]) -> bool:
    """Tell whether cells hold numbers, with or without errors, signs and exponents, and no words."""
    text = re.sub(r"(?<=\d)e(?=[-+]?\d)", "", "".join(cells))
    return bool(re.search(r"\d", text)) and not re.search(r"[^\W\d_]", text)
