"""The bounds that settings declare, checked for every value of a config."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from omegaconf import OmegaConf

from mergerexp.errors import ConfigError, short, without_credentials
from mergerexp.settings import declared

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # line breaks, escape sequences and their like
ONE_LINE = (
    "it has a line break or another control character, and every text is a single line (where a list is "
    "asked for, each line is an entry of its own)"
)


def check_bounds(node: Any, prefix: str) -> None:
    """Check every value against the bounds that its field declares.

    Raises
    ------
    ConfigError
        If values are out of bounds, with a line for each.
    """
    if mistakes := list(bound_mistakes(node, prefix)):
        raise ConfigError("\n".join(mistakes))


def bound_mistakes(node: Any, prefix: str) -> Iterator[str]:
    """Yield a line for each value that is out of bounds; see `_values`."""
    for field, value in _values(node):
        key = f"{prefix}{field.name}"
        if (setting := declared(field)) is None:
            yield from bound_mistakes(value, f"{key}.")
        else:
            entries = value if isinstance(value, list) else [value]
            found = [
                f"{key}={short(entry)}: {problem}"
                for entry in entries
                if (problem := setting.problem(entry)) is not None
            ]
            if isinstance(value, list) and any(isinstance(entry, list | dict) for entry in value):
                found = [f"{key}={short(value)}: a list within a list"]  # which OmegaConf lets pass
            if _has_control_characters(value):
                found = [f"{key}={short(without_credentials(repr(value)))}: {ONE_LINE}"]
            if not found and (problem := setting.problem_of_strengths(value)) is not None:
                found = [f"{key}={value}: {problem}"]
            yield from found


def _values(node: Any) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    """Yield the fields that have a value, of a dataclass or of a config of its type."""
    is_config = OmegaConf.is_config(node)
    kind: Any = OmegaConf.get_type(node) if is_config else type(node)
    for field in dataclasses.fields(kind):
        if is_config and OmegaConf.is_missing(node, field.name):
            continue
        value = getattr(node, field.name)
        if value is not None:
            is_plain = declared(field) is None or not OmegaConf.is_config(value)
            yield field, value if is_plain else OmegaConf.to_container(value)


def _has_control_characters(value: Any) -> bool:
    """Tell whether a text, or any text within a list or a dictionary, has a control character."""
    if isinstance(value, str):
        return CONTROL.search(value) is not None
    if isinstance(value, dict):
        return any(_has_control_characters(part) for item in value.items() for part in item)
    return isinstance(value, list) and any(_has_control_characters(part) for part in value)
