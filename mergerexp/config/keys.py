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


def form_of(key: str) -> str:
    """Return a hint for the message of a mistake, if the value of the key is not easy to write."""
    form = FORMS.get(key.partition(".")[0])
    return f"; {form}" if form else ""


def check_spaces(overrides: Sequence[str]) -> None:
    """Refuse settings with a space before their equals sign, whether the shell has parted them or not.

    Their values are not shown, since they may be secret.

    Raises
    ------
    ConfigError
        With a line for each such setting.
    """
    mistakes = []
    for before, override in zip(["", *overrides], overrides, strict=False):
        if before and "=" not in before and override.startswith("="):
            key = before
        elif match := re.match(r"([^\s=]+)\s+=", override):
            key = match[1]
        else:
            continue
        mistakes.append(f"{key}: a setting has no spaces around the =, as in {key}=VALUE")
    if mistakes:
        raise ConfigError("\n".join(mistakes))


def walk(schema: type, prefix: str) -> Iterator[str]:
    """Yield the dotted keys of a dataclass, the groups that hold them included."""
    types = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        yield f"{prefix}{field.name}"
        kinds = CHOICES[field.name].schemas() if field.name in CHOICES else [types[field.name]]
        for kind in kinds:
            if dataclasses.is_dataclass(kind) and isinstance(kind, type):
                yield from walk(kind, f"{prefix}{field.name}.")


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
