"""A composed config as typed dataclasses: unknown or missing keys and wrong types become a line each."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import re
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mergerexp.config.bounds import bound_mistakes
from mergerexp.config.keys import FORMS, form_of, plain_reason, who_has
from mergerexp.config.schema import CHOICES
from mergerexp.errors import ConfigError, try_all
from mergerexp.files import flatten

Schema = TypeVar("Schema")


def typed(cfg: DictConfig, schema: type[Schema]) -> Schema:
    """Return a composed config as typed dataclasses; see `validate`, which also looks at the values.

    Raises
    ------
    ConfigError
        If a key is unknown or missing, or a value has the wrong type; the message has a line for each.
    """
    with contextlib.suppress(ConfigError, OmegaConfBaseException):  # what is wrong is said below
        node = cfg if OmegaConf.get_type(cfg) is schema else in_schema(cfg, schema)
        return cast(Schema, OmegaConf.to_object(node))
    cfg = _resolved(cfg)
    return cast(Schema, merged(_empty(cfg, schema), cfg, ""))


def in_schema(cfg: DictConfig, schema: type) -> DictConfig:
    """Return a composed config as one that has its schema's types, with its interpolations.

    Raises
    ------
    ConfigError, OmegaConfBaseException
        If the schema does not take it; `typed` says all that is wrong with it.
    """
    node = _empty(cfg, schema)
    node.merge_with(cfg)
    return node


def has_chosen_schemas(cfg: DictConfig, schema: type) -> bool:
    """Tell whether each group of a config, which has its schema's types, has those that it chooses."""
    return all(OmegaConf.get_type(cfg[name]) is chosen_schema(cfg, name) for name in _with_choice(schema))


def _empty(cfg: DictConfig, schema: type) -> DictConfig:
    """Return a schema without values, in which each group has the schema that a config chooses."""
    empty, groups = OmegaConf.structured(schema), _with_choice(schema)
    chosen = try_all(lambda name: chosen_schema(cfg, name), groups)
    for name, kind in zip(groups, chosen, strict=True):
        empty[name] = OmegaConf.structured(kind)
    return cast(DictConfig, empty)


def _with_choice(schema: type) -> list[str]:
    return [name for name in CHOICES if name in field_names(schema)]


def merged(empty: DictConfig, cfg: DictConfig, prefix: str) -> Any:
    """Merge values into a schema, and return them as its dataclass.

    Parameters
    ----------
    empty
        The schema without values.
    cfg
        The values, without interpolations. Wrong ones are removed from it, so that all are found.
    prefix
        The text before the keys in messages.

    Raises
    ------
    ConfigError
        If a key is unknown or missing, or a value has the wrong type; the message has a line for each.
    """
    mistakes, wrong = list[str](), set[str]()
    while True:
        try:
            node = copy.deepcopy(empty)
            node.merge_with(cfg)
            missing = [f"{prefix}{key}" for key in sorted(OmegaConf.missing_keys(node)) if key not in wrong]
            mistakes += [f"{key}: no value given; add {key}=VALUE" for key in missing]
            if mistakes:
                raise ConfigError("\n".join([*mistakes, *bound_mistakes(node, prefix)]))
            return OmegaConf.to_object(node)
        except OmegaConfBaseException as error:
            wrong.add(error.full_key or "")
            mistakes.append(_type_mistake(error, prefix))
            if not _remove(cfg, error.full_key or ""):
                raise ConfigError("\n".join(mistakes)) from error


def _resolved(cfg: DictConfig) -> DictConfig:
    """Return a copy without interpolations; one that names nothing is refused under its own key."""
    try:
        return OmegaConf.create(cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True)))
    except OmegaConfBaseException as error:
        mistakes = _interpolation_mistakes(cfg) or [f"{error.full_key}: {str(error).splitlines()[0]}"]
        raise ConfigError("\n".join(mistakes)) from error


def _interpolation_mistakes(cfg: DictConfig) -> list[str]:
    """Return a line for each key whose interpolation names nothing; none for those within a list."""
    raw = flatten(cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=False)))
    reasons: dict[str, str] = {}
    for key in (key for key, value in raw.items() if isinstance(value, str) and "${" in value):
        try:
            OmegaConf.select(cfg, key)
        except OmegaConfBaseException as error:
            reasons[key] = str(error).splitlines()[0]
    # A key that only refers to a wrong one is not wrong itself, unless all refer to each other.
    wrong = [key for key in reasons if not any(f"${{{other}}}" in raw[key] for other in reasons)]
    return [f"{key}={raw[key]}: {reasons[key]}" for key in wrong or reasons]


def field_names(schema: type) -> set[str]:
    """Return the names of a dataclass's fields."""
    return {field.name for field in dataclasses.fields(schema)}


def _type_mistake(error: OmegaConfBaseException, prefix: str) -> str:
    """Say in one line what OmegaConf says of a key."""
    key, reason = f"{prefix}{error.full_key or ''}", plain_reason(str(error).splitlines()[0])
    if key.partition(".")[0] == "experiment":
        reason = "the file of an experiment needs the line '# @package _global_' at its top"
    elif re.match(r"Key '.*' not in '", reason):
        reason = who_has(key) or "unknown key; --help lists the keys"
    elif reason.startswith("Invalid type assigned"):
        reason = f"it has keys of its own, as in {key}.KEY=VALUE"
    elif "is not a ListConfig" in reason:
        reason = f"a list is needed: {key}=[A,B]{form_of(key)}"
    elif key in FORMS:
        reason = FORMS[key]
    return f"{key}: {reason}"


def _remove(cfg: DictConfig, key: str) -> bool:
    """Take a key out of a config, to look for further mistakes; tell whether it was there."""
    parent, _, name = key.rpartition(".")
    with contextlib.suppress(OmegaConfBaseException):
        node = OmegaConf.select(cfg, parent) if parent else cfg
        if isinstance(node, DictConfig) and name in node:
            del node[name]
            return True
    return False


def chosen_schema(cfg: DictConfig, group: str) -> Any:
    """Return the schema of a group that has several."""
    choice = CHOICES[group]
    value = OmegaConf.select(cfg, f"{group}.{choice.key}", throw_on_missing=False)
    if value not in choice.names:
        raise ConfigError(f"{group}.{choice.key}={value}: choose one of {', '.join(choice.names)}")
    return choice.schema(value)
