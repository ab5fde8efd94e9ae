"""What the options of a config group are, read from their YAML files."""

from __future__ import annotations

import functools
from typing import Any

from omegaconf import OmegaConf

from mergerexp.config.paths import conf_dir


@functools.cache
def options_of(group: str) -> dict[str, dict[str, Any]]:
    """Return the options of a group by name, each with the keys that its own file has."""
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
        Dotted, the group first.
    """
    group, *names = key.split(".")
    having = [f"{group}={name}" for name, content in options_of(group).items() if _has(content, names)]
    if not names or not having:
        return None
    return (
        f"the chosen {group} has no such key, unlike {' and '.join(having)}; in a sweep over several "
        "options, give it in a line for these alone"
    )


def _has(content: Any, names: list[str]) -> bool:
    for name in names:
        if not isinstance(content, dict) or name not in content:
            return False
        content = content[name]
    return True
