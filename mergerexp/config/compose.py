"""From override strings to validated configs: all cells of a sweep, before any of them starts."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import re
from collections.abc import Sequence
from typing import TypeVar

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mergerexp.config.launcher import SCHEMAS, Options, read_options
from mergerexp.config.options import who_has
from mergerexp.config.paths import conf_dir
from mergerexp.config.schema import AggregateConfig, PrepareConfig, RobustnessConfig, TrainConfig
from mergerexp.config.validate import QUOTED, validate
from mergerexp.errors import ConfigError, try_all

Schema = TypeVar("Schema", PrepareConfig, TrainConfig, AggregateConfig, RobustnessConfig)


class Composer:
    """Composes the cells of a sweep, each choice of config groups once.

    Hydra itself applies the overrides of single values after it has composed the groups; to compose all
    groups anew for each fold would be nine tenths of the time.

    Parameters
    ----------
    config_name
        YAML file in ``conf/``.
    """

    def __init__(self, config_name: str) -> None:
        self.config_name = config_name
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Return what Hydra's own `compose` returns; raises what it raises."""
        loader = GlobalHydra.instance().config_loader()
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
        assert isinstance(loader, ConfigLoaderImpl)
        loader.validate_sweep_overrides_legal(parsed, RunMode.RUN, from_shell=False)
        is_group = loader.repository.group_exists
        values = [
            override
            for override in parsed
            if not override.is_hydra_override()
            and (isinstance(override.value(), dict) or not is_group(override.key_or_group))
        ]
        groups = tuple(override.input_line or "" for override in parsed if override not in values)
        if groups not in self._composed:
            self._composed[groups] = compose(self.config_name, list(groups))
        cfg = copy.deepcopy(self._composed[groups])
        ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
        return cfg


def compose_cell(
    config_name: str, overrides: Sequence[str], schema: type[Schema], composer: Composer | None = None
) -> Schema:
    """Compose and validate one cell of a sweep, where `composer` is given together with the others.

    Raises
    ------
    ConfigError
        If Hydra or `validate` refuses it.
    """
    if not GlobalHydra.instance().is_initialized():
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return compose_cell(config_name, overrides, schema, composer)
    try:
        return validate((composer or Composer(config_name)).compose(overrides), schema)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(one_line(error, config_name)) from error
    except (ValueError, AttributeError) as error:  # e.g. data=null, which Hydra does not expect
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{' '.join(overrides)}: {' '.join(str(error).split())}") from error


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """Return the cells of a sweep as lists of overrides, in Hydra's own order."""
    loader = GlobalHydra.instance().config_loader()
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    return [cell for batch in BasicSweeper.split_arguments(parsed, None) for cell in batch]


def compose_all(
    config_name: str, overrides: Sequence[str], multirun: bool, schema: type[Schema]
) -> tuple[list[tuple[list[str], Schema]], Options | None]:
    """Compose and validate every cell, so that nothing starts when one is wrong.

    Returns
    -------
    list of tuple
        The overrides and the config of each.
    Options or None
        Of the launcher that is to start them; None where this process does.

    Raises
    ------
    ConfigError
        With a line for each wrong cell; see `try_all`.
    """
    options = None
    hydras = [override for override in overrides if re.match(r"[+~]*hydra[./]", override)]
    own = [override for override in overrides if override not in hydras]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        try:
            cells = expand(own) if multirun else [own]
            if multirun:
                options = _launcher_options(config_name, hydras)
        except HydraException as error:
            raise ConfigError(one_line(error, config_name)) from error
        composer = Composer(config_name)
        own_of = {tuple(cell): " ".join(mine) for cell, mine in zip(cells, differences(cells), strict=True)}

        def typed(cell: list[str]) -> tuple[list[str], Schema]:
            return cell, compose_cell(config_name, hydras + cell, schema, composer)

        return try_all(typed, cells, lambda cell: own_of[tuple(cell)] if multirun else ""), options


def differences(cells: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return of each cell's overrides those that not all cells share."""
    shared = set.intersection(*(set(cell) for cell in cells)) if len(cells) > 1 else set()
    return [[override for override in cell if override not in shared] for cell in cells]


def _launcher_options(config_name: str, overrides: list[str]) -> Options | None:
    """Return the launcher's options; wrong ones are refused before anything else is done."""
    return read_options(compose(config_name, overrides, return_hydra_config=True).hydra.launcher)


def one_line(error: Exception, config_name: str) -> str:
    """Say in one line what Hydra says in several, with the keys or options that exist."""
    text = str(error)
    if match := re.match(r"Could not override '([^']+)'", text):
        key = match.group(1)
        cause = error.__cause__
        if isinstance(cause, OmegaConfBaseException) and "not in struct" not in str(cause):
            return f"{key}: {str(cause).splitlines()[0]}"
        if (hint := who_has(key)) is not None:
            return f"{key}: {hint}"
        known = _known_keys(config_name)
        if key in known:  # a launcher's
            return f"{key}: the chosen launcher has no such key (another one has)"
        near = difflib.get_close_matches(key, known, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}?" if near else "--help lists the keys"
        return f"{key}: unknown key; {hint}"
    if "Available options in" in text:
        options = re.findall(r"^\t(\S+)$", text, re.MULTILINE)
        wanted = re.search(r"Could not find '([^']+)'", text)
        group, _, option = (wanted.group(1) if wanted else "?").lstrip("/").rpartition("/")
        return f"{group}={option}: choose one of {', '.join(options)}"
    if config_name == "aggregate" and "no viable alternative at input" in text:
        return f"{text.splitlines()[0]}; {QUOTED}"
    return " ".join(text.split())


def _known_keys(config_name: str) -> list[str]:
    """List the dotted keys that overrides can name."""
    keys: list[str] = []

    def walk(node: DictConfig, prefix: str) -> None:
        for name in map(str, node):
            keys.append(f"{prefix}{name}")
            child = node._get_node(name)
            if isinstance(child, DictConfig) and not child._is_missing() and not child._is_none():
                walk(child, f"{prefix}{name}.")

    walk(compose(config_name), "")
    for group, option in (("data", "folder"), ("model", "nonparametric")):
        walk(OmegaConf.create({group: OmegaConf.load(conf_dir() / group / f"{option}.yaml")}), "")
    for options in SCHEMAS.values():
        keys += [f"hydra.launcher.{field.name}" for field in dataclasses.fields(options)]
    return list(dict.fromkeys(keys))
