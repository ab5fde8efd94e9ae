"""The YAML files that a command line names, and which of them has a key that nothing knows."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mergerexp.config.keys import walk, who_has
from mergerexp.config.launcher import SCHEMAS
from mergerexp.config.paths import conf_dir
from mergerexp.errors import ConfigError
from mergerexp.files import flatten


def config_folders(args: argparse.Namespace) -> list[Path]:
    """Return the folders of configs that a command line names, and the main one; packages are left out."""
    main = args.config_path or str(conf_dir())
    more = [path for one in args.overrides for path in re.findall(r"file://([^],]+)", one)]
    return [Path(path) for path in (main, args.config_dir, *more) if path and not path.startswith("pkg://")]


def check_main_file(args: argparse.Namespace, config_name: str) -> None:
    """Refuse a main file that is not there, of which Hydra says more than a line.

    Parameters
    ----------
    args
        The parsed command line.
    config_name
        The name of the main file where the command line names none.

    Raises
    ------
    ConfigError
        If no folder has the file; the message lists those that are there.
    """
    folders, name = config_folders(args), (args.config_name or config_name).removesuffix(".yaml")
    if str(args.config_path).startswith("pkg://") or any((at / f"{name}.yaml").is_file() for at in folders):
        return
    flag = "--config-path" if args.config_name is None else f"--config-name {name}"
    there = ", ".join(sorted(path.stem for path in folders[0].glob("*.yaml"))) or "none"
    raise ConfigError(f"{flag}: no {name}.yaml in {folders[0]}; main files there: {there}")


def with_files(mistake: ConfigError, folders: Sequence[Path], schema: type) -> ConfigError:
    """Return an error that also names the files in which keys are that nothing knows, and keys like these.

    Parameters
    ----------
    mistake
        What validation says of a composed config.
    folders
        The result of `config_folders`.
    schema
        The root dataclass of the config.
    """
    lines = []
    for line in str(mistake).splitlines():
        key, _, reason = line.partition(": ")
        if reason.startswith(("unknown key", "the chosen")) and (files := _files_with(key, folders)):
            line = f"{' and '.join(files)}: {key}: {unknown_key(key, schema)}"
        lines.append(line)
    return ConfigError("\n".join(lines))


def _files_with(key: str, folders: Sequence[Path]) -> list[str]:
    """Return the files that set a key."""
    found = []
    for folder in dict.fromkeys(folders):
        for path in sorted(folder.rglob("*.yaml")):
            with suppress(OSError, ValueError, YAMLError, OmegaConfBaseException):
                parts = path.relative_to(folder).parts[:-1]
                if "@package _global_" in path.read_text(encoding="utf-8").partition("\n")[0]:
                    parts = ()
                content: Any = OmegaConf.to_container(OmegaConf.load(path))
                if any(f"{'.'.join((*parts, leaf))}.".startswith(f"{key}.") for leaf in flatten(content)):
                    found.append(str(path))
    return found


def unknown_key(key: str, schema: type) -> str:
    """Say of a key that nothing knows which options have it, or which keys are like it."""
    if (hint := who_has(key)) is not None:
        return hint
    # Those of every option of a group, and of our launchers.
    launchers = (key for options in SCHEMAS.values() for key in walk(options, "hydra.launcher."))
    known = list(dict.fromkeys([*walk(schema, ""), *launchers]))
    if key in known and key.startswith("hydra."):
        return "the chosen launcher has no such key (another one has)"
    if key in known:
        return f"a group's option is chosen by name, and its keys are set one by one: {key}.KEY=VALUE"
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else "--help lists the keys"
    return f"unknown key; {hint}"
