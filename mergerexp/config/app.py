"""The command line that all verbs share: Hydra, with every config checked before anything starts."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import hydra
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mergerexp.config.paths import conf_dir
from mergerexp.config.schema import PrepareConfig, TrainConfig
from mergerexp.config.validate import validate
from mergerexp.console import console, set_up_logging
from mergerexp.errors import ConfigError
from mergerexp.sweep.options import Options, read_options

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
) -> list[tuple[list[str], Schema]]:
    """Compose and validate every cell, so that nothing starts when one is wrong.

    Returns the overrides and the config of each.

    Raises
    ------
    ConfigError
        With a line for each distinct mistake.
    """
    typed: list[tuple[list[str], Schema]] = []
    mistakes: dict[str, None] = {}  # in the order of the cells, each once
    hydras = [override for override in overrides if re.match(r"[+~]*hydra[./]", override)]
    own = [override for override in overrides if override not in hydras]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        try:
            cells = expand(own) if multirun else [own]
            if multirun:
                _check_launcher(config_name, hydras)
        except HydraException as error:
            raise ConfigError(one_line(error, config_name)) from error
        for cell in cells:
            try:
                typed.append((cell, compose_cell(config_name, hydras + cell, schema)))
            except ConfigError as mistake:
                mistakes[str(mistake)] = None
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return typed


def _check_launcher(config_name: str, overrides: list[str]) -> None:
    """Refuse wrong launcher options before anything else is done."""
    read_options(compose(config_name, overrides, return_hydra_config=True).hydra.launcher)


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


class Verb(Protocol[Schema]):
    """What a verb does with its configs."""

    def preflight(self, cells: list[tuple[list[str], Schema]]) -> None:
        """Take overrides and configs of all cells, before the first one starts."""

    def run(self, overrides: list[str]) -> Any:
        """Do one cell in this process."""

    def launch(self, options: Options, job_overrides: Sequence[Sequence[str]]) -> Sequence[JobReturn]:
        """Do many cells with a launcher of ours."""

    def finish(self) -> int:
        """Say what came out, and return the exit code."""


def run_app(config_name: str, schema: type[Schema], verb: Verb[Schema]) -> None:
    """Run a verb and exit.

    Parameters
    ----------
    config_name
        YAML file in ``conf/``.
    schema
        Its root dataclass.
    verb
        What to do.
    """
    set_up_logging()
    os.environ.setdefault("MERGEREXP_LAUNCHER", "slurm" if shutil.which("sbatch") else "local")
    args = get_args_parser().parse_args()
    if not _only_shows(args):
        extra = [f"hydra.searchpath=[file://{Path(args.config_dir).absolute()}]"] if args.config_dir else []
        with _told_plainly():
            name = args.config_name or config_name
            verb.preflight(compose_all(name, args.overrides + extra, args.multirun, schema))

    def task(cfg: DictConfig) -> Any:
        return verb.run(list(HydraConfig.get().overrides.task))

    def launch(options: Options, job_overrides: Sequence[Sequence[str]]) -> Sequence[JobReturn]:
        with _told_plainly():
            return verb.launch(options, job_overrides)
        raise AssertionError  # the mistake was told, and the process ended

    task.launch = launch  # type: ignore[attr-defined]  # our launchers ask for it
    with _told_plainly():
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)(task)()
    if not _only_shows(args):
        sys.exit(verb.finish())


@contextlib.contextmanager
def _told_plainly() -> Iterator[None]:
    """End the process with one line for a mistake of the user's, and after Ctrl-C."""
    try:
        yield
    except (ValueError, OSError) as error:
        for message in str(error).splitlines():
            print(f"error: {message}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as interrupt:
        what = str(interrupt) or "Interrupted: the same command goes on where this one stopped."
        console.print(f"[yellow]{what}[/]", soft_wrap=True)
        sys.exit(130)


def _only_shows(args: argparse.Namespace) -> bool:
    shows = (args.help, args.hydra_help, args.cfg, args.info, args.shell_completion)
    return any(flag is not None and flag is not False for flag in shows)
