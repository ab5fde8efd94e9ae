"""The text of ``--help``: examples, groups, and every key with its meaning, bounds and default."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import textwrap
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mergerexp.config.flags import FLAGS
from mergerexp.config.hydra_adapter import compose_with_hydra
from mergerexp.config.launcher import SCHEMAS
from mergerexp.config.schema import CHOICES
from mergerexp.config.typed import chosen_schema, field_names
from mergerexp.settings import Setting, declared

INDENT = 34  # characters before a key's meaning
WIDTHS = (80, 110)


def help_text(args: argparse.Namespace, name: str, schema: type) -> str:
    """Return the help of a verb, for the options that a command line chooses.

    Parameters
    ----------
    args
        The parsed command line.
    name
        The name of the verb.
    schema
        The root dataclass of its config.

    Raises
    ------
    ConfigError
        If the options can't be composed, with a line for each mistake.
    """
    cfg, options = compose_with_hydra(args, name, schema)
    groups = {*field_names(schema), "experiment", "hydra/launcher"}
    chosen = cfg.hydra.runtime.choices.items()
    choices = {group: option for group, option in chosen if group in groups and option != "basic"}
    width = min(max(shutil.get_terminal_size((WIDTHS[1], 24)).columns, WIDTHS[0]), WIDTHS[1])
    lines = [str(cfg.hydra.help.header).rstrip(), "", "Flags:"]
    lines += [line for flag, meaning in FLAGS.items() for line in _entry(flag, meaning, width)]
    lines += ["", "Groups, and what may be chosen of each (GROUP=OPTION):"]
    for group, option in sorted(choices.items()):
        possible = [each for each in options[group] if not _is_refused(schema, group, each)]
        lines += _entry(f"{group}={_text(option)}", ", ".join(possible), width)
    lines += ["", "Settings and their defaults (KEY=VALUE):"]
    lines += list(_keys(cfg, schema, "", width))
    launcher = SCHEMAS.get(str(cfg.hydra.launcher.get("_target_")).rpartition(".")[2])
    if launcher is not None and "hydra/launcher" in choices:
        lines += ["", f"hydra.launcher: {_title(launcher)}"]
        lines += list(_keys(cfg, launcher, "hydra.launcher.", width))
    return "\n".join(lines)


def _is_refused(schema: type, group: str, option: str) -> bool:
    """Tell whether a verb refuses an option that others take: a study can't be read without a store."""
    return (group, option) == ("tracking", "none") and getattr(schema, "needs_store", False)


def _keys(cfg: DictConfig, schema: type, prefix: str, width: int) -> Iterator[str]:
    """Yield the lines of a group's own keys, then those of the groups in it."""
    types, inner = typing.get_type_hints(schema), []
    for field in dataclasses.fields(schema):
        key = f"{prefix}{field.name}"
        if (setting := declared(field)) is None:
            inner.append((key, chosen_schema(cfg, key) if field.name in CHOICES else types[field.name]))
        else:
            group, _, name = key.rpartition(".")
            choice = CHOICES.get(group)
            names = choice.names if choice is not None and choice.key == name else ()
            yield from _entry(f"{key}={_value(cfg, key)}", _meaning(setting, names), width)
    for key, kind in inner:
        yield from ["", f"{key}: {_title(kind)}"]
        yield from _keys(cfg, kind, f"{key}.", width)


def _title(schema: type) -> str:
    return (schema.__doc__ or "").strip().splitlines()[0].replace("`", "")


def _meaning(setting: Setting, names: Sequence[str]) -> str:
    """Return what a key means, with unit and bounds, or the names that it may have."""
    limits = f"one of {', '.join(names)}" if names else setting.short_limits
    facts = "; ".join(filter(None, [f"in {setting.unit}" if setting.unit else "", limits]))
    return f"{setting.meaning} ({facts})" if facts else setting.meaning


def _value(cfg: DictConfig, key: str) -> str:
    if OmegaConf.is_missing(OmegaConf.select(cfg, key.rpartition(".")[0]) or cfg, key.rpartition(".")[2]):
        return "(no default)"
    return _text(OmegaConf.select(cfg, key))


def _text(value: Any) -> str:
    """Write a value as an override has it."""
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value)
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    return value if isinstance(value, str) else json.dumps(value)


def _entry(key: str, meaning: str, width: int) -> list[str]:
    """Return a key and its meaning in two columns."""
    wrapped = textwrap.wrap(meaning, width - INDENT) or [""]
    if len(key) > INDENT - 4:
        return [f"  {key}", *(f"{'':{INDENT}}{line}" for line in wrapped)]
    return [f"  {key:<{INDENT - 2}}{wrapped[0]}", *(f"{'':{INDENT}}{line}" for line in wrapped[1:])]
