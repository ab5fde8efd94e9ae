"""Rendering the page from its content by templates; the content is always text, never markup."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from urllib.parse import urlsplit

import jinja2
from markupsafe import Markup, escape

from mergerexp.files import write_text
from mergerexp.report.page.blocks import SectionBlocks, blocks
from mergerexp.report.page.content import Report
from mergerexp.report.page.explorer import explorer_data

TEMPLATES = Path(__file__).parent
SHOWN_GAPS = 12  # how many gaps are shown before the others are folded away


def write_page(report: Report, path: Path) -> None:
    """Write the page; after an error, the file is as it was before.

    Raises
    ------
    ValueError
        If two sections or items have the same name, an image is not a PNG or JPEG, a link is not http(s), or
        predictions are out of range.
    OSError
        If a figure's file can't be read.
    """
    write_text(path, render(report))


def render(report: Report) -> str:
    """Return the page, which refers to no other file, so that it can be sent alone.

    Raises
    ------
    ValueError, OSError
        Under the same conditions as `write_page`.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["marked"] = _marked
    css, explorer_js, zoom_js = (
        (TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "explorer.js", "zoom.js")
    )
    js = explorer_js + zoom_js
    for link in (*report.downloads, *report.citation):
        if urlsplit(link.href).scheme not in ("", "http", "https"):
            raise ValueError(f"{link.href!r} is neither an http(s) address nor one beside the page")
    sections, runs = blocks(report)
    page = environment.get_template("report.html.jinja").render(
        report=report,
        sections=sections,
        runs=runs,
        explorer=explorer_data(report.explorer, report.words) if report.explorer else None,
        has_images=any(row[0].groups for section in sections for row in section.blocks),
        contents=_contents(report, sections),
        css=Markup(css),
        js=Markup(js),
        policy=_policy(css, js),
        shown_gaps=SHOWN_GAPS,
    )
    return page + "\n"


def _policy(css: str, js: str) -> str:
    """Return the content security policy, which allows only our style and script and embedded images."""
    style, script = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (css, js))
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style}'; script-src 'sha256-{script}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _marked(text: object) -> Markup:
    """Escape a text, set p_m as a symbol, and keep intervals, and numbers and their signs, together."""
    glued = r"(?<=\d) (?=%)|(?<=[=<>]) (?=[\d.])|(?<=\b[pP]) (?=[=<>])|(?<=\d,) (?=-?[\d.]+\])"
    escaped = escape(re.sub(glued, "\N{NO-BREAK SPACE}", str(text)))
    return Markup(re.sub(r"\bp_m\b", "<i>p</i><sub>m</sub>", escaped))


def _contents(report: Report, sections: list[SectionBlocks]) -> list[tuple[str, str]]:
    parts = [
        ("headline", "At a glance", report.headline),
        ("downloads", "Downloads", report.downloads),
        *((section.anchor, section.title, section) for section in sections),
        ("explorer", "Choose a threshold", report.explorer),
        ("errata", "Errata of the published paper", report.errata),
        ("citation", "How to cite", report.citation),
        ("runs", "Runs", report.runs),
        ("provenance", "Provenance", report.provenance),
    ]
    return [(anchor, title) for anchor, title, content in parts if content]
