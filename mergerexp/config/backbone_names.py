"""The names of timm's models, read from its sources.

Importing timm imports torch, which takes seconds; a wrong name should be refused at once, also where
40 runs are submitted from a login node.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import re
from pathlib import Path

REGISTERED = re.compile(r"^@register_model\b[^\n]*\n(?:@[^\n]*\n)*def (\w+)", re.MULTILINE)
DEPRECATED = re.compile(r"^register_model_deprecations\(__name__, \{(.*?)^\}", re.MULTILINE | re.DOTALL)


@functools.cache
def backbone_names() -> frozenset[str]:
    """Return every name that ``timm.create_model`` takes, without its weights' tag."""
    spec = importlib.util.find_spec("timm")
    if spec is None or spec.origin is None:
        return frozenset()
    names: set[str] = set()
    for path in (Path(spec.origin).parent / "models").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        names.update(REGISTERED.findall(text))
        for block in DEPRECATED.findall(text):
            names.update(re.findall(r"^\s*'(\w+)'\s*:", block, re.MULTILINE))
    return frozenset(names)


def short_name(name: str) -> str:
    """Return a backbone's name without the prefixes that say where timm took its weights from."""
    return name.removeprefix("tf_").removeprefix("legacy_")


def check_backbone(name: str) -> str | None:
    """Say what is wrong with a backbone's name, or None."""
    known = backbone_names()
    if not known:
        return "timm is not installed: pip install 'mergerexp[train]'"
    bare = name.split(".")[0]
    if bare in known:
        return None
    near = difflib.get_close_matches(bare, known, n=3)
    return "timm has no such model" + (f"; did you mean {' or '.join(near)}?" if near else "")
