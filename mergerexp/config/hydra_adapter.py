"""Everything that relies on private parts of Hydra or reads its messages.

Hydra's command line parser and entry, how overrides are applied, and the words of its errors have no public
interface. Whoever raises the bound on hydra-core has to look here alone; tests/config/test_hydra_adapter.py
checks everything that is relied on. (The base class of our sweeper is imported where Hydra looks for
plugins.)
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol

from hydra import compose, initialize_config_dir, initialize_config_module, version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mergerexp.config.config_files import check_folders, naming_files, unknown_key
from mergerexp.config.flags import unknown_flag
from mergerexp.config.keys import check_spaces, form_of, hint_on_value, plain_reason
from mergerexp.config.paths import conf_dir
from mergerexp.config.validate import validate
from mergerexp.environment import environment
from mergerexp.errors import ConfigError, describe, visible_lines
from mergerexp.software import version_text

VERSION_BASE = "1.3"
FULL_ERROR = "HYDRA_FULL_ERROR"  # Hydra's own switch: errors are raised, not printed
OTHERS = "mergerexp_"  # begins the names under which other applications find our launchers


def read_command_line(arguments: Sequence[str], program: str) -> argparse.Namespace:
    """Parse a command line as Hydra does, with flags before or after the overrides.

    Parameters
    ----------
    arguments
        The arguments that follow the name of the program.
    program
        The command that starts the program, for messages.

    Returns
    -------
    argparse.Namespace
        The arguments as Hydra's entry takes them, where a relative ``--config-path`` is relative to the
        working directory.

    Raises
    ------
    ConfigError
        If there is no such flag, or its value is missing.
    """
    parser = get_args_parser()

    def refuse(message: str) -> None:
        if said := unknown_flag(message):
            key = said.partition(":")[0].lstrip("-")
            rest = " Settings" if said.endswith("?") else "; settings"
            message = f"{said}{rest} have no dashes, as in {program} {key}=VALUE"
        raise ConfigError(f"{message} (--help lists flags and settings)")

    parser.formatter_class = argparse.RawDescriptionHelpFormatter  # which keeps the lines of --version
    parser.error = refuse  # type: ignore[method-assign, assignment]
    for action in parser._actions:
        if "--version" in action.option_strings:  # whose text is Hydra's alone
            action.version = version_text()  # type: ignore[attr-defined]
    args = parser.parse_intermixed_args(list(arguments))
    check_spaces(args.overrides)
    if args.experimental_rerun is not None:
        raise ConfigError(
            "--experimental-rerun: give the same command again instead, it goes on where it was"
        )
    for flag in ("config_path", "config_dir"):
        folder = getattr(args, flag)
        if folder is not None and not (flag == "config_path" and folder.startswith("pkg://")):
            setattr(args, flag, str(Path(folder).absolute()))
            if not Path(folder).is_dir():
                raise ConfigError(f"--{flag.replace('_', '-')} {folder}: no such folder")
    return args


class Task(Protocol):
    """An object that Hydra calls with a composed config.

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
        The result of `read_command_line`.
    task
        The object that is called with the composed config, and handed to the launcher.
    config_name
        The name of the YAML file in ``conf/``.
    schema
        The root dataclass of the config, whose keys are named in messages.

    Raises
    ------
    ConfigError
        If overrides can't be composed; the message names them all.
    Exception
        The exceptions of the task and of the launcher.
    """
    version.setbase(VERSION_BASE)
    check_folders(args, config_name)
    overrides = list(args.overrides)  # Hydra adds its own
    try:
        with environment({FULL_ERROR: "1"}), _mode_given(args.multirun), _shown_escaped(args):
            _run_hydra(args, get_args_parser(), task, str(conf_dir()), config_name)
    except Exception as error:  # Hydra does not expect everything that a command line can say
        if task.has_begun or isinstance(error, ConfigError):
            raise
        _raise_all_mistakes(error, args, overrides, config_name, schema)


@contextmanager
def _shown_escaped(args: argparse.Namespace) -> Iterator[None]:
    """Escape control characters in what Hydra prints of a config, if the command line asks for that."""
    if args.cfg is None and args.info is None:
        yield
        return
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        yield
    print(visible_lines(shown.getvalue()), end="")


@contextmanager
def _mode_given(is_sweep: bool) -> Iterator[None]:
    """Skip the composition in which Hydra looks up ``hydra.mode``, where -m decides it."""
    get_mode = Hydra.get_mode
    if is_sweep:
        Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.get_mode = get_mode  # type: ignore[method-assign]


def compose_with_hydra(
    args: argparse.Namespace, config_name: str, schema: type
) -> tuple[DictConfig, dict[str, list[str]]]:
    """Compose what a command line chooses, Hydra's own node included, without running anything.

    Parameters
    ----------
    args
        The result of `read_command_line`.
    config_name
        The name of the YAML file in ``conf/``.
    schema
        The root dataclass of the config, whose keys are named in messages.

    Returns
    -------
    DictConfig
        The config. Values that are swept over are left out.
    dict
        The options of each config group that it chooses from, by the group's name.

    Raises
    ------
    ConfigError
        If overrides are wrong, with a line for each mistake.
    """
    check_folders(args, config_name)
    try:
        with _initialised(args):
            overrides = _one_value_each(args)
            if not args.multirun:  # then a sweep is a mistake, which Hydra names
                overrides += [override for override in args.overrides if override not in overrides]
            cfg = compose(args.config_name or config_name, overrides, return_hydra_config=True)
            loader = GlobalHydra.instance().config_loader()
            options = {group: loader.get_group_options(group) for group in cfg.hydra.runtime.choices}
    except Exception as error:  # whatever Hydra raises, as in `run_hydra`
        _raise_all_mistakes(error, args, args.overrides, config_name, schema)
    return cfg, {
        group: [name for name in names if not name.startswith(OTHERS)] for group, names in options.items()
    }


def _initialised(args: argparse.Namespace) -> AbstractContextManager[None]:
    """Initialise Hydra with the folders of a command line."""
    folder = args.config_path or str(conf_dir())
    if folder.startswith("pkg://"):
        return initialize_config_module(folder.removeprefix("pkg://"), version_base=VERSION_BASE)
    return initialize_config_dir(folder, version_base=VERSION_BASE)


def _one_value_each(args: argparse.Namespace) -> list[str]:
    """Return the overrides that are no sweeps, with the search path that a flag adds."""
    path = [f"hydra.searchpath=[file://{args.config_dir}]"] if args.config_dir else []
    return [*path, *(override for override in args.overrides if not _is_sweep(override))]


def _raise_all_mistakes(
    error: Exception, args: argparse.Namespace, overrides: Sequence[str], config_name: str, schema: type
) -> NoReturn:
    """Compose once more without what is wrong, until all that is wrong is known.

    Raises
    ------
    ConfigError
        With a line for each mistake.
    """
    args = argparse.Namespace(**{**vars(args), "overrides": list(overrides)})
    given = [
        *_one_value_each(args),
        *(one for one in overrides if _is_sweep(one) and "--multirun" in str(error)),
    ]
    with naming_files(None, (), args, schema), _initialised(args):
        CellComposer(args.config_name or config_name, schema).compose(given)
        raise ConfigError(_explain(error, overrides, schema)[0]) from error  # it was something else


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
        self._groups: dict[str, bool] = {}

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Return the config that Hydra composes for a cell, without Hydra's own node.

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
                line, culprit = _explain(error, rest, self.schema)
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


def _is_sweep(override: str) -> bool:
    """Tell whether an override has several values; one that can't be parsed has not."""
    try:
        (parsed,) = OverridesParser.create().parse_overrides([override])
    except HydraException:
        return False
    return bool(parsed.is_sweep_override())


def _explain(error: Exception, overrides: Sequence[str], schema: type) -> tuple[str, str | None]:
    """Say in one line what Hydra says in several, and return the override that is to blame, where one is."""
    text, cause = str(error).partition("\nSearch path")[0], error.__cause__
    if isinstance(error, OverrideParseException):
        key, equals, value = error.override.strip("'\"").partition("=")
        if not equals:
            return f"{key!r}: no setting; settings are KEY=VALUE", _find(error.override, overrides)
        # The value is not shown, since it may be secret.
        return f"{key}: its value can't be read; {hint_on_value(key, value)}", _find(
            error.override, overrides
        )
    if match := re.match(r"Could not override '([^']+)'", text):
        key = match[1]
        if isinstance(cause, OmegaConfBaseException) and "not in struct" not in str(cause):
            return f"{key}: {plain_reason(str(cause).splitlines()[0])}{form_of(key)}", _of_key(key, overrides)
        return f"{key}: {unknown_key(key, schema)}", _of_key(key, overrides)
    if match := re.match(r"Error merging override (.*)", text):
        key = match[1].lstrip("+~").partition("=")[0]
        reason = plain_reason(str(cause).splitlines()[0]) if cause is not None else "it can't be merged"
        return f"{key}: {reason}{form_of(key)}", _find(match[1], overrides)
    if match := re.search(r"(?:argument|parameters) '(.*)'", text) if "--multirun" in text else None:
        return f"{match[1]}: several values need -m, as in -m {match[1]}", _find(match[1], overrides)
    if match := re.match(r"Missing mandatory value: (\S+)", text):
        return f"{match[1]}: no value given; add {match[1]}=VALUE", _of_key(match[1], overrides)
    if "Available options in" in text:
        options = re.findall(r"^\t(\S+)$", text, re.MULTILINE)
        wanted = re.search(r"Could not find '([^']+)'", text)
        group, _, option = (wanted[1] if wanted else "?").lstrip("/").replace("//", "/").rpartition("/")
        shown = ", ".join(name for name in options if not name.startswith(OTHERS))
        return f"{group}={option}: choose one of {shown}", _of_key(group, overrides)
    if text.startswith("Config group override must be"):
        groups = [one for one in overrides if re.match(r"[\w/@]+=(null|[\d.]+)$", one)]
        if groups:
            return f"{groups[0]}: choose an option of the group by its name", groups[0]
    if isinstance(error, HydraException | OmegaConfBaseException | YAMLError | OSError):
        return " ".join(f"{text} {cause or ''}".split()) or type(error).__name__, None
    return f"{describe(error)} ({FULL_ERROR}=1 shows where it came from)", None


def _find(wanted: str, overrides: Sequence[str]) -> str | None:
    return next((override for override in overrides if override == wanted), None)


def _of_key(key: str, overrides: Sequence[str]) -> str | None:
    keys = {override.lstrip("+~").partition("=")[0].partition("@")[0]: override for override in overrides}
    return keys.get(key)
