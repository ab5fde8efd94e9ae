"""All that leans on Hydra's private parts or reads its messages.

Hydra's command line parser and entry, how overrides are applied, and the words of its errors have no public
interface. Whoever raises the bound on hydra-core has to look here alone; tests/config/test_hydra_adapter.py
says what is relied on. (The base class of our sweeper is imported where Hydra looks for plugins.)
"""

from __future__ import annotations

import argparse
import copy
import difflib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from hydra import initialize_config_dir, version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from mergerexp.config.keys import form_of, known_keys, who_has
from mergerexp.config.paths import conf_dir
from mergerexp.errors import ConfigError

VERSION_BASE = "1.3"
FULL_ERROR = "HYDRA_FULL_ERROR"  # Hydra's own switch: errors are raised, not printed
OTHERS = "mergerexp_"  # begins the names under which other applications find our launchers
# What composing raises; data=null is an error that Hydra does not expect.
COMPOSITION = (HydraException, OmegaConfBaseException, ValueError, AttributeError)


def read_command_line(arguments: Sequence[str], program: str) -> argparse.Namespace:
    """Parse a command line as Hydra does, with flags before or after the overrides.

    Parameters
    ----------
    arguments
        What follows the program's name.
    program
        How the program is called, for the message of a mistake.

    Returns
    -------
    argparse.Namespace
        What Hydra's entry takes. A relative ``--config-path`` is relative to the working directory.

    Raises
    ------
    ConfigError
        If there is no such flag, or its value is missing.
    """
    parser = get_args_parser()

    def refuse(message: str) -> None:
        if flag := re.match(r"unrecognized arguments: (-\S+)", message):
            key = flag[1].lstrip("-").partition("=")[0]
            raise ConfigError(
                f"{flag[1]}: no such flag; settings have no dashes, as in {program} {key}=VALUE "
                "(--help lists flags and settings)"
            )
        raise ConfigError(f"{message} (--help lists flags and settings)")

    parser.error = refuse  # type: ignore[method-assign, assignment]
    args = parser.parse_intermixed_args(list(arguments))
    if args.experimental_rerun is not None:
        raise ConfigError(
            "--experimental-rerun: give the same command again instead, it goes on where it was"
        )
    if args.config_path is not None and not args.config_path.startswith("pkg://"):
        args.config_path = str(Path(args.config_path).absolute())
    return args


class Task(Protocol):
    """What Hydra calls with a composed config.

    Attributes
    ----------
    has_begun
        Whether the work has begun, so that errors are no longer those of composing.
    """

    has_begun: bool

    def __call__(self, cfg: DictConfig) -> Any:
        """Take a composed config."""


def run_hydra(args: argparse.Namespace, task: Task, config_name: str, schema: type) -> None:
    """Let Hydra do what a command line asks for: compose a run or a sweep, or show a config.

    Parameters
    ----------
    args
        From `read_command_line`.
    task
        Called with the composed config; the launcher gets it too.
    config_name
        YAML file in ``conf/``.
    schema
        The config's root dataclass, whose keys are named in messages.

    Raises
    ------
    ConfigError
        Naming every override that can't be composed.
    Exception
        Whatever task and launcher raise.
    """
    version.setbase(VERSION_BASE)
    overrides = list(args.overrides)  # Hydra adds its own
    try:
        with _errors_raised():
            _run_hydra(args, get_args_parser(), task, str(conf_dir()), config_name)
    except COMPOSITION as error:
        if task.has_begun:
            raise
        folder = args.config_path or str(conf_dir())
        path = [f"hydra.searchpath=[file://{Path(args.config_dir).absolute()}]"] if args.config_dir else []
        with initialize_config_dir(folder, version_base=VERSION_BASE):
            composer = CellComposer(args.config_name or config_name, schema)
            composer.compose([*path, *_without_sweeps(overrides)] if args.multirun else [*path, *overrides])
        raise ConfigError(_explain(error, overrides, schema)[0]) from error  # it was something else


@contextmanager
def _errors_raised() -> Iterator[None]:
    before = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = "1"
    try:
        yield
    finally:
        os.environ.pop(FULL_ERROR)
        if before is not None:
            os.environ[FULL_ERROR] = before


@contextmanager
def as_before_hydra(value: str | None) -> Iterator[None]:
    """Set `FULL_ERROR` as the user has it for what is done within Hydra: jobs inherit the environment."""
    os.environ.pop(FULL_ERROR, None)
    if value is not None:
        os.environ[FULL_ERROR] = value
    try:
        yield
    finally:
        os.environ[FULL_ERROR] = "1"


class CellComposer:
    """Composes the cells of a sweep, each choice of config groups once.

    Hydra applies the overrides of single values after it has composed the groups; to compose all groups
    anew for each fold would be nine tenths of the time.

    Parameters
    ----------
    config_name
        YAML file in the main folder of configs.
    schema
        The config's root dataclass, whose keys are named in messages.
    loader
        Hydra's; None for that of the Hydra that is initialised.
    hydra_overrides
        What the command line says of Hydra itself, for all cells.
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
        self._groups: dict[str, bool] = {}

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Return what Hydra composes, without its own node.

        Raises
        ------
        ConfigError
            With a line for every override that is wrong.
        """
        rest, mistakes = [*self.hydra_overrides, *overrides], []
        while True:
            try:
                cfg = self._compose(rest)
            except COMPOSITION as error:
                line, culprit = _explain(error, rest, self.schema)
                mistakes.append(line)
                if culprit is None:
                    break
                rest.remove(culprit)
            else:
                break
        if mistakes:
            raise ConfigError("\n".join(dict.fromkeys(mistakes)))
        return cfg

    def _compose(self, overrides: list[str]) -> DictConfig:
        parsed = OverridesParser.create(config_loader=self.loader).parse_overrides(overrides)
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
        cfg = copy.deepcopy(self._composed[groups])
        ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
        return cfg

    def _is_choice(self, override: Override, overrides: list[str]) -> bool:
        """Tell whether an override chooses an option of a group, rather than to set values."""
        key = override.key_or_group
        if key not in self._groups:
            path = [one for one in overrides if one.startswith("hydra.searchpath=")]
            found = self.loader.get_group_options(key, config_name=self.config_name, overrides=path)
            self._groups[key] = bool(found)
        return self._groups[key] and not isinstance(override.value(), dict)


def _without_sweeps(overrides: Sequence[str]) -> list[str]:
    """Return the overrides that have one value each, and those that can't be parsed."""

    def has_one(override: str) -> bool:
        try:
            (parsed,) = OverridesParser.create().parse_overrides([override])
        except HydraException:
            return True
        return not parsed.is_sweep_override()

    return [override for override in overrides if has_one(override)]


def _explain(error: Exception, overrides: Sequence[str], schema: type) -> tuple[str, str | None]:
    """Say in one line what Hydra says in several, and return the override that is to blame, where one is."""
    text, cause = str(error), error.__cause__
    if isinstance(error, OverrideParseException):
        key = error.override.partition("=")[0]
        hint = form_of(key) or f"; a value with any of = , : {{}} [] in it is quoted twice: '{key}=\"VALUE\"'"
        return f"{key}: {text.splitlines()[0]}{hint}", _find(error.override, overrides)
    if match := re.match(r"Could not override '([^']+)'", text):
        key = match[1]
        if isinstance(cause, OmegaConfBaseException) and "not in struct" not in str(cause):
            return f"{key}: {str(cause).splitlines()[0]}{form_of(key)}", _of_key(key, overrides)
        return f"{key}: {_unknown(key, schema)}", _of_key(key, overrides)
    if match := re.match(r"Error merging override (.*)", text):
        key = match[1].lstrip("+~").partition("=")[0]
        reason = str(cause).splitlines()[0] if cause is not None else "it can't be merged"
        return f"{key}: {reason}{form_of(key)}", _find(match[1], overrides)
    if match := re.search(r"(?:argument|parameters) '(.*)'", text) if "--multirun" in text else None:
        return f"{match[1]}: several values need -m, as in -m {match[1]}", _find(match[1], overrides)
    if match := re.match(r"Missing mandatory value: (\S+)", text):
        return f"{match[1]}: no value given; add {match[1]}=VALUE", _of_key(match[1], overrides)
    if "Available options in" in text:
        options = re.findall(r"^\t(\S+)$", text, re.MULTILINE)
        wanted = re.search(r"Could not find '([^']+)'", text)
        group, _, option = (wanted[1] if wanted else "?").lstrip("/").rpartition("/")
        shown = ", ".join(name for name in options if not name.startswith(OTHERS))
        return f"{group}={option}: choose one of {shown}", _of_key(group, overrides)
    if text.startswith("Config group override must be") and (nulls := [o for o in overrides if "=null" in o]):
        return f"{nulls[0]}: choose an option of the group", nulls[0]
    line = " ".join(f"{text} {cause or ''}".split())
    return (line or type(error).__name__), None


def _unknown(key: str, schema: type) -> str:
    if (hint := who_has(key)) is not None:
        return hint
    known = known_keys(schema)
    if key in known:
        return "the chosen launcher has no such key (another one has)"
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else "--help lists the keys"
    return f"unknown key; {hint}"


def _find(wanted: str, overrides: Sequence[str]) -> str | None:
    return next((override for override in overrides if override == wanted), None)


def _of_key(key: str, overrides: Sequence[str]) -> str | None:
    keys = {override.lstrip("+~").partition("=")[0].partition("@")[0]: override for override in overrides}
    return keys.get(key)


def options_of_groups(loader: ConfigLoader, choices: dict[str, Any]) -> dict[str, list[str]]:
    """Return the options of each config group that a composed config chooses from, by the group's name."""
    return {
        group: [name for name in loader.get_group_options(group) if not name.startswith(OTHERS)]
        for group in choices
    }
