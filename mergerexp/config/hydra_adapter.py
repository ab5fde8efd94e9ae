"""What relies on private parts of Hydra or reads its messages.

Hydra's command line parser and entry, how overrides are applied, and the words of its errors have no public
interface. Whoever raises the bound on hydra-core has to look here, and into `cell_composer` and
`hydra_errors` beside this; tests/config/test_hydra_adapter.py checks everything that is relied on. (The base
class of our sweeper is imported where Hydra looks for plugins.)
"""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol

from hydra import compose, initialize_config_dir, initialize_config_module, version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig

from mergerexp.config.cell_composer import CellComposer
from mergerexp.config.config_files import check_folders, naming_files
from mergerexp.config.flags import unknown_flag
from mergerexp.config.hydra_errors import FULL_ERROR, OTHERS, explain_hydra
from mergerexp.config.keys import check_spaces
from mergerexp.config.paths import conf_dir
from mergerexp.environment import environment
from mergerexp.errors import ConfigError, visible_lines
from mergerexp.software import version_text

VERSION_BASE = "1.3"


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
        raise ConfigError(explain_hydra(error, overrides, schema)[0]) from error  # it was something else


def _is_sweep(override: str) -> bool:
    """Tell whether an override has several values; one that can't be parsed has not."""
    try:
        (parsed,) = OverridesParser.create().parse_overrides([override])
    except HydraException:
        return False
    return bool(parsed.is_sweep_override())
