"""Links between Markdown files that work on a forge work in the site too.

The site's pages are the files in docs/, and pages there that include the README and its like. A link to such
a file leads to the page that includes it; one to any other file of the repository offers that file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

REPOSITORY = Path(__file__).resolve().parents[2]
INCLUDED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "launchers/slurm_sandbox/README.md": "slurm_sandbox.md",
}
LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^)\s#]+)")


def setup(app: Sphinx) -> dict[str, Any]:
    """Rewrite what is read."""
    app.connect("source-read", _source_read)
    app.connect("include-read", _include_read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _source_read(app: Sphinx, docname: str, content: list[str]) -> None:
    content[0] = rewritten(content[0], app.srcdir / docname, app.srcdir / docname)


def _include_read(app: Sphinx, path: Path, docname: str, content: list[str]) -> None:
    content[0] = rewritten(content[0], Path(app.srcdir, path).resolve(), app.srcdir / docname)


def rewritten(text: str, file: Path, page: Path) -> str:
    """Return a Markdown text with links as they have to be in the site.

    Parameters
    ----------
    text
        Contents of the file.
    file
        What its links are relative to.
    page
        The page of the site that shows it.
    """

    def link(match: re.Match[str]) -> str:
        target = Path(os.path.normpath(file.parent / match[1]))
        if target.is_relative_to(REPOSITORY):
            name = target.relative_to(REPOSITORY).as_posix()
            target = REPOSITORY / "docs" / INCLUDED[name] if name in INCLUDED else target
        return Path(os.path.relpath(target, page.parent)).as_posix()

    return LINK.sub(link, text)
