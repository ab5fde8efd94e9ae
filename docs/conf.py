"""The documentation site, which `make docs` builds: Markdown files, and the modules' docstrings."""

from __future__ import annotations

import re
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent), str(HERE.parent / "launchers")]

project = "mergerexp"
author = "The mergerexp developers"
copyright = author
version = release = version_of("mergerexp")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    # ours, in _ext
    "mathml",
    "repository_links",
    "settings_page",
    "study_report",
]
exclude_patterns = ["_build", "_ext"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # links to headings, by the names that forges give them

# No GPU and no network is needed: what is heavy, or belongs to the `train` extra, is not imported.
autodoc_mock_imports = [
    "astropy",
    "photutils",
    "pytorch_lightning",
    "safetensors",
    "sklearn",
    "statmorph",
    "timm",
    "torch",
    "torchvision",
]
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_preserve_defaults = True
autodoc_type_aliases = {"ArrayLike": "ArrayLike", "Floats": "Floats"}
autosummary_generate = False
default_role = "py:obj"
maximum_signature_line_length = 88
numpydoc_class_members_toctree = False
numpydoc_show_class_members = False
viewcode_line_numbers = True

html_theme = "furo"
html_title = "mergerexp"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["site.css"]


# Annotations as they are written, where Sphinx shows what they stand for.
ANNOTATIONS = (
    (re.compile(r"TypeAliasForwardRef\('(\w+)'\)"), r"\1"),
    (re.compile(r"ndarray\[tuple\[Any, \.\.\.\], dtype\[([\w.]+)\]\]"), r"NDArray[\1]"),
    (re.compile(r" = '\?\?\?'"), ""),  # no default: the value is in conf/
)


def setup(app: Sphinx) -> None:
    """Connect what is below."""
    app.connect("autodoc-skip-member", _is_not_ours)
    app.connect("autodoc-process-signature", _as_written)


def _is_not_ours(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what modules import from elsewhere, before Sphinx looks at it."""
    module = getattr(obj, "__module__", None)
    return True if isinstance(module, str) and not module.startswith("mergerexp") else None


def _as_written(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    for pattern, written in ANNOTATIONS:
        signature, returned = (text and pattern.sub(written, text) for text in (signature, returned))
    return signature, returned
