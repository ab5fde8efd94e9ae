"""The page of a study: one HTML file that loads nothing, and in which thresholds can be tried out."""

from mergerexp.report.page.content import (
    Arm,
    Explorer,
    Figure,
    Gallery,
    Headline,
    Item,
    Report,
    Section,
    TableBlock,
    Thumb,
)
from mergerexp.report.page.render import render, write_page

__all__ = [
    "Arm",
    "Explorer",
    "Figure",
    "Gallery",
    "Headline",
    "Item",
    "Report",
    "Section",
    "TableBlock",
    "Thumb",
    "render",
    "write_page",
]
