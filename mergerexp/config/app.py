"""The command line that all verbs share: Hydra, with every config checked before anything starts."""

from __future__ import annotations

import argparse
import difflib
import logging
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

import hydra
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mergerexp.config.paths import conf_dir
from mergerexp.config.schema import PrepareConfig, TrainConfig
from mergerexp.config.validate import validate
from mergerexp.console import ConsoleHandler, console
from mergerexp.errors import ConfigError

Schema = TypeVar("Schema", PrepareConfig, TrainConfig)


def compose_cell(config_name: str, overrides: Sequence[str], schema: type[Schema]) -> Schema:
    """Compose and validate one cell of a sweep.

    Raises
    ------
    ConfigError
        If Hydra or `validate` refuses it.
    """
    if not GlobalHydra.instance().is_initialized():
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return compose_cell(config_name, overrides, schema)
    try:
        cfg = compose(config_name, list(overrides))
        return validate(cfg, schema)
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
) -> list[Schema]:
    """Compose and validate every cell, so that nothing starts when one is wrong.

    Raises
    ------
    ConfigError
        With a line for each distinct mistake.
    """
    typed: list[Schema] = []
    mistakes: dict[str, list[str]] = {}
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        try:
            cells = expand(overrides) if multirun else [list(overrides)]
        except HydraException as error:
            raise ConfigError(one_line(error, config_name)) from error
        for cell in cells:
            try:
                typed.append(compose_cell(config_name, cell, schema))
            except ConfigError as error:
                mistakes.setdefault(str(error), cell)
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return typed


def one_line(error: Exception, config_name: str) -> str:
    """Say in one line what Hydra says in several, with the keys or options that exist."""
    text = str(error)
    if match := re.match(r"Could not override '([^']+)'", text):
        key = match.group(1)
        cause = error.__cause__
        if isinstance(cause, OmegaConfBaseException) and "not in struct" not in str(cause):
            return f"{key}: {str(cause).splitlines()[0]}"
        known = _known_keys(config_name)
        if key in known:
            return f"{key}: the chosen {key.split('.')[0]} has no such key (another option of the group has)"
        near = difflib.get_close_matches(key, known, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}?" if near else "--help lists the keys"
        return f"{key}: unknown key; {hint}"
    if "Available options in" in text:
        options = re.findall(r"^\t(\S+)$", text, re.MULTILINE)
        wanted = re.search(r"Could not find '([^']+)'", text)
        group, _, option = (wanted.group(1) if wanted else "?").lstrip("/").rpartition("/")
        return f"{group}={option}: choose one of {', '.join(options)}"
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
    walk(OmegaConf.create({"data": OmegaConf.load(conf_dir() / "data" / "folder.yaml")}), "")
    return keys


def run_app(
    config_name: str,
    schema: type[Schema],
    preflight: Callable[[list[Schema]], None],
    task: Callable[[Schema, list[str]], None],
    finish: Callable[[], int],
) -> None:
    """Run a verb and exit.

    Parameters
    ----------
    config_name
        YAML file in ``conf/``.
    schema
        Its root dataclass.
    preflight
        Called once with the configs of all cells, before the first one starts.
    task
        Called for each cell with the typed config and its overrides.
    finish
        Called after the last cell; returns the exit code.
    """
    set_up_logging()
    args = get_args_parser().parse_args()
    if not _only_shows(args):
        extra = [f"hydra.searchpath=[file://{Path(args.config_dir).absolute()}]"] if args.config_dir else []
        try:
            name = args.config_name or config_name
            preflight(compose_all(name, args.overrides + extra, args.multirun, schema))
        except ConfigError as error:
            _fail(*str(error).splitlines())
        except (ValueError, OSError) as error:
            _fail(str(error))
        except KeyboardInterrupt:
            _interrupted()

    def typed_task(cfg: DictConfig) -> None:
        overrides = list(HydraConfig.get().overrides.task)
        task(validate(cfg, schema), overrides)

    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)(typed_task)()
    except KeyboardInterrupt:
        _interrupted()
    if not _only_shows(args):
        sys.exit(finish())


def set_up_logging() -> None:
    """Send the log of our own modules to the terminal, and silence what others repeat on every run."""
    logger = logging.getLogger("mergerexp")
    if not logger.handlers:
        logger.addHandler(ConsoleHandler())
        logger.setLevel(logging.INFO)
        logger.propagate = False
    warnings.filterwarnings("ignore", module=r"pytorch_lightning\..*|lightning_fabric\..*")


def _only_shows(args: argparse.Namespace) -> bool:
    shows = (args.help, args.hydra_help, args.cfg, args.info, args.shell_completion)
    return any(flag is not None and flag is not False for flag in shows)


def _interrupted() -> NoReturn:
    console.print("[yellow]Interrupted: the same command goes on where this one stopped.[/]")
    sys.exit(130)


def _fail(*messages: str) -> NoReturn:
    for message in messages:
        print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
