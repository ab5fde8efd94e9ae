"""Writing the frozen config of a job, which its process reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mergerexp.files import write_text

LIKE_NUMBERS = frozenset("+-.0123456789")


def write_frozen(path: Path, values: Mapping[str, Any]) -> None:
    """Write settings as YAML that OmegaConf reads back the same, and a last line that has the file's hash.

    OmegaConf's own writer is tens of times as slow, which would be a third of the time that a large sweep
    takes to submit.

    Parameters
    ----------
    path
        The file.
    values
        Dictionaries, lists, texts, numbers, booleans and None, such as `dataclasses.asdict` makes them.
    """
    text = yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    write_text(path, text, signed=True)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # C, where PyYAML has it
    """Writes each value out, and quotes more texts than YAML does."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a list again where it comes a second time, since readers would have to follow a name."""
        return True


def _text(dumper: Any, text: str) -> Any:
    # OmegaConf reads 1e3 and its like as numbers, which are texts for YAML 1.1.
    style = "'" if text[:1] in LIKE_NUMBERS else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
