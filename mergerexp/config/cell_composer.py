"""Composing the cells of a sweep: what they share is done once.

This relies on private parts of Hydra, as `mergerexp.config.hydra_adapter` says.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from mergerexp.config.hydra_errors import explain_hydra
from mergerexp.config.typed import has_chosen_schemas, in_schema
from mergerexp.config.validate import validate
from mergerexp.errors import ConfigError


class CellComposer:
    """Composes the cells of a sweep, each choice of config groups once.

    Hydra applies the overrides of single values after it has composed the groups; to compose all groups
    anew for each fold would be nine tenths of the time.

    Parameters
    ----------
    config_name
        The name of the YAML file in the main folder of configs.
    schema
        The root dataclass of the config, whose keys are named in messages.
    loader
        The config loader of Hydra; None for the one of the present initialisation.
    hydra_overrides
        The overrides of Hydra's own settings, which hold for all cells.
    """

    def __init__(
        self,
        config_name: str,
        schema: type,
        loader: ConfigLoader | None = None,
        hydra_overrides: Sequence[str] = (),
    ) -> None:
        self.config_name, self.schema = config_name, schema
        self.loader = loader or GlobalHydra.instance().config_loader()
        self.hydra_overrides = list(hydra_overrides)
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._in_schema: dict[tuple[str, ...], DictConfig] = {}  # those of them that their schema takes
        self._groups: dict[str, bool] = {}
        self._parsed: dict[str, Override] = {}

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Return the config that Hydra composes for a cell, without Hydra's own node.

        It has the types of its schema already, if this takes all of its values.

        Raises
        ------
        ConfigError
            If overrides are wrong, with a line for each.
        """
        rest, mistakes = [*self.hydra_overrides, *overrides], list[str]()
        while True:
            try:
                cfg = self._compose(rest)
                break
            except Exception as error:  # whatever Hydra raises, as in `run_hydra`
                line, culprit = explain_hydra(error, rest, self.schema)
                mistakes.append(line)
                if culprit is None:
                    raise ConfigError("\n".join(dict.fromkeys(mistakes))) from error
                rest.remove(culprit)
        if mistakes:
            try:
                validate(cfg, self.schema)  # the other overrides may be wrong too
            except ConfigError as error:
                mistakes += str(error).splitlines()
            raise ConfigError("\n".join(dict.fromkeys(mistakes)))
        return cfg

    def _compose(self, overrides: list[str]) -> DictConfig:
        parsed = self._parse(overrides)
        # Hydra applies single values in their order, after all groups.
        values = [
            one for one in parsed if not one.is_hydra_override() and not self._is_choice(one, overrides)
        ]
        groups = tuple(one.input_line or "" for one in parsed if one not in values)
        if sweeps := [one for one in values if one.is_sweep_override()]:
            groups += tuple(one.input_line or "" for one in sweeps)  # for Hydra's refusal
        if groups not in self._composed:
            cfg = self.loader.load_configuration(self.config_name, list(groups), run_mode=RunMode.RUN)
            with open_dict(cfg):
                del cfg["hydra"]
            self._composed[groups] = cfg
            with contextlib.suppress(ConfigError, OmegaConfBaseException):
                self._in_schema[groups] = in_schema(cfg, self.schema)
        if groups in self._in_schema and all(one.type is OverrideType.CHANGE for one in values):
            # To bring each cell into its schema would be most of the time that it takes.
            with contextlib.suppress(ConfigError, HydraException, OmegaConfBaseException):
                cfg = _applied(values, self._in_schema[groups])
                if has_chosen_schemas(cfg, self.schema):
                    return cfg
        return _applied(values, self._composed[groups])

    def _parse(self, overrides: Sequence[str]) -> list[Override]:
        """Return overrides in their order, of which each is parsed once for all cells."""
        if new := [one for one in dict.fromkeys(overrides) if one not in self._parsed]:
            parser = OverridesParser.create(config_loader=self.loader)
            self._parsed |= dict(zip(new, parser.parse_overrides(new), strict=True))
        return [self._parsed[one] for one in overrides]

    def _is_choice(self, override: Override, overrides: list[str]) -> bool:
        """Tell whether an override chooses an option of a group, rather than to set values."""
        key = override.key_or_group
        if key not in self._groups:
            path = [one for one in overrides if one.startswith("hydra.searchpath=")]
            found = self.loader.get_group_options(key, config_name=self.config_name, overrides=path)
            self._groups[key] = bool(found)
        return self._groups[key] and not isinstance(override.value(), dict)


def _applied(values: list[Override], cfg: DictConfig) -> DictConfig:
    cfg = copy.deepcopy(cfg)
    ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
    return cfg
