"""The keys of the configuration, as messages and ``--help`` name them."""

from __future__ import annotations

import dataclasses
import functools
import re
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import OmegaConf

from mergerexp.config.paths import conf_dir
from mergerexp.config.schema import CHOICES
from mergerexp.errors import ConfigError
from mergerexp.files import flatten

# How values that a shell or Hydra would take apart are written.
FORMS = {
    "where": "braces and quotes are needed, as in 'where={init.name: random}'",
    "compare": """a name with a comma or = in it is quoted: 'compare=["imagenet, lr=0.01",random]'""",
}

NUMBERS = {"Integer": "whole number", "Float": "number"}  # as we call what OmegaConf does

SETTING = re.compile(r"[+~]*[\w./@-]+=|~")  # begins a setting of its own rather than a value


def form_of(key: str) -> str:
    """Return a hint for the message of a mistake, if the value of the key is not easy to write."""
    form = FORMS.get(key.partition(".")[0])
    return f"; {form}" if form else ""


def hint_on_value(key: str, value: str) -> str:
    """Say what may be wrong with a value that can't be read."""
    if value.rstrip().endswith(","):
        return "a value is missing after the last comma"
    for opened, closed in ("[]", "{}", "()"):
        if (excess := value.count(opened) - value.count(closed)) != 0:
            return f"a {opened} in it is not closed" if excess > 0 else f"a {closed} in it was not opened"
    return FORMS.get(key.partition(".")[0]) or (
        f"a value with any of = , : {{}} [] in it is quoted twice: '{key}=\"VALUE\"'"
    )


def plain_reason(said: str) -> str:
    """Return in plain English what OmegaConf says of a value.

    Examples
    --------
    >>> plain_reason("Value 'maybe' is not a valid bool (type str)")
    "'maybe' is neither true nor false"
    >>> plain_reason("Incompatible value 'None' for field of type 'str'")
    "it needs a value, and can't be null"
    """
    if said.endswith("is not Optional") or said.startswith("Incompatible value 'None'"):
        return "it needs a value, and can't be null"
    if match := re.match(r"Value ('.*') is not a valid bool", said):
        return f"{match[1]} is neither true nor false"
    if match := re.match(r"Value ('.*') of type '\w+' could not be converted to (\w+)", said):
        return f"{match[1]} is no {NUMBERS.get(match[2], match[2])}"
    return said


def check_spaces(overrides: Sequence[str]) -> None:
    """Refuse settings with a space beside their equals sign, whether the shell has parted them or not.

    Their values are not shown, since they may be secret.

    Raises
    ------
    ConfigError
        With a line for each such setting.
    """
    pairs = zip(["", *overrides], overrides, strict=False)
    if keys := [key for before, override in pairs if (key := _parted(before, override)) is not None]:
        raise ConfigError(
            "\n".join(f"{key}: a setting has no spaces around the =, as in {key}=VALUE" for key in keys)
        )


def _parted(before: str, override: str) -> str | None:
    """Return the key of a setting that a space parts from its equals sign or value; None if none does."""
    if override.startswith("="):
        return "KEY" if "=" in before else before or "KEY"
    if match := re.match(r"([^\s=]+)\s+=", override):
        return match[1]
    if (match := re.fullmatch(r"([^\s=]+)=", before)) and not SETTING.match(override):
        return match[1]
    return None


def walk(schema: type, prefix: str) -> Iterator[str]:
    """Yield the dotted keys of a dataclass, the groups that hold them included."""
    types = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        yield f"{prefix}{field.name}"
        kinds = CHOICES[field.name].schemas() if field.name in CHOICES else [types[field.name]]
        for kind in kinds:
            if dataclasses.is_dataclass(kind) and isinstance(kind, type):
                yield from walk(kind, f"{prefix}{field.name}.")


def mappings(schema: type, prefix: str) -> Iterator[str]:
    """Yield the dotted keys of a dataclass whose values are dictionaries with names of their own."""
    types = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        kind = types[field.name]
        if any(typing.get_origin(each) is dict for each in (kind, *typing.get_args(kind))):
            yield f"{prefix}{field.name}"
        elif dataclasses.is_dataclass(kind) and isinstance(kind, type):
            yield from mappings(kind, f"{prefix}{field.name}.")


@functools.cache
def options_of(group: str) -> dict[str, dict[str, Any]]:
    """Return the options of a group by name, each with the keys that its own YAML file has."""
    content: dict[str, Any] = {
        path.stem: OmegaConf.to_container(OmegaConf.load(path))
        for path in sorted((conf_dir() / group).glob("*.yaml"))
    }
    return content


def who_has(key: str) -> str | None:
    """Say which options of a group have a key that the chosen one lacks; None if none has it.

    Parameters
    ----------
    key
        The dotted key, which begins with the group.
    """
    group, _, name = key.partition(".")
    having = [
        f"{group}={option}"
        for option, content in options_of(group).items()
        if any(f"{leaf}.".startswith(f"{name}.") for leaf in flatten(content))
    ]
    if not having:
        return None
    return (
        f"the chosen {group} has no such key, unlike {' and '.join(having)}; in a sweep over several "
        "options, give it in a line for these alone"
    )
