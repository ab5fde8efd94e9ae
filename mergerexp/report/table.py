"""A table of a study as files: CSV with all digits, and Markdown with the texts that the page shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mergerexp.files import write_text
from mergerexp.frames import safe_csv_text
from mergerexp.report.page.content import TableBlock


@dataclass(frozen=True, kw_only=True)
class Table(TableBlock):
    """A table of a study, which is written to files too; its name is theirs.

    Attributes
    ----------
    numbers
        The numbers with all digits, for the CSV file. The texts are for Markdown and the report.
    """

    numbers: pd.DataFrame

    def write(self, folder: Path) -> None:
        """Write ``<name>.csv`` and ``<name>.md`` to a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        cells = self.numbers.map(lambda cell: safe_csv_text(cell) if isinstance(cell, str) else cell)
        write_text(folder / f"{self.name}.csv", cells.to_csv(index=False))
        title, caption = markdown_text(self.title), markdown_text(self.caption)
        write_text(folder / f"{self.name}.md", f"# {title}\n\n{markdown(self.shown)}\n\n{caption}\n")


def markdown(frame: pd.DataFrame) -> str:
    """Return a frame of strings as a Markdown table."""
    rows = [list(map(str, frame.columns)), *frame.astype(str).to_numpy().tolist()]
    lines = [f"| {' | '.join(map(markdown_text, row))} |" for row in rows]
    return "\n".join([lines[0], f"|{' --- |' * len(rows[0])}", *lines[1:]])


def markdown_text(text: str) -> str:
    r"""Return a text on one line that Markdown takes for no markup: classes and arms may be called anything.

    Examples
    --------
    >>> markdown_text("a|b <i> < 0.1")
    'a\\|b &lt;i> < 0.1'
    """
    without_html = re.sub(r"&(?=#?\w+;)", "&amp;", " ".join(text.split()))
    without_html = re.sub(r"<(?=[\w/!?])", "&lt;", without_html)
    return re.sub(r"(?=[\\|`*])|(?=\[[^]]*\]\()", r"\\", without_html)
