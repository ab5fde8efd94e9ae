"""The YAML files that a command line names, and which of them has a key or value that is wrong."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mergerexp.config.keys import mappings, walk, who_has
from mergerexp.config.launcher import SCHEMAS
from mergerexp.config.paths import conf_dir
from mergerexp.errors import ConfigError
from mergerexp.files import flatten

PACKAGE = "pkg://"  # begins the address of a folder in a package
SWEPT = "hydra.sweeper.params."  # begins a key that a file sweeps over
ANY = object()  # stands for every value


def config_folders(args: argparse.Namespace) -> list[Path]:
    """Return the folders of configs that a command line names, and the main one; packages are left out."""
    main = args.config_path or str(conf_dir())
    more = [path.removeprefix("file://") for path in _search_path(args)]
    return [Path(path) for path in (main, args.config_dir, *more) if path and not path.startswith(PACKAGE)]


def _search_path(args: argparse.Namespace) -> list[str]:
    """Return the entries of ``hydra.searchpath`` on a command line."""
    lists = [match[1] for one in args.overrides if (match := re.match(r"\+*hydra\.searchpath=\[(.*)\]", one))]
    return [entry.strip(" '\"") for entries in lists for entry in entries.split(",")]


def check_folders(args: argparse.Namespace, config_name: str) -> None:
    """Refuse a main file or a folder of configs that is not there, of which Hydra says more than a line.

    Parameters
    ----------
    args
        The parsed command line.
    config_name
        The name of the main file where the command line names none.

    Raises
    ------
    ConfigError
        If a folder is not there, or no folder has the main file; the message lists those that are there.
    """
    for entry in _search_path(args):
        if entry.startswith(PACKAGE):
            _folder_of_package("hydra.searchpath", entry)
        elif not Path(entry.removeprefix("file://")).is_dir():
            raise ConfigError(f"hydra.searchpath={entry}: no such folder")
    folders, name = config_folders(args), (args.config_name or config_name).removesuffix(".yaml")
    in_package = str(args.config_path).startswith(PACKAGE)
    main = _folder_of_package("--config-path", args.config_path) if in_package else folders[0]
    if any((folder / f"{name}.yaml").is_file() for folder in (main, *folders)):
        return
    flag = "--config-path" if args.config_name is None else f"--config-name {name}"
    files = sorted(path.name for path in main.iterdir() if path.name.endswith(".yaml"))
    there = ", ".join(file.removesuffix(".yaml") for file in files) or "none"
    where = args.config_path if in_package else main
    raise ConfigError(f"{flag}: no {name}.yaml in {where}; main files there: {there}")


def _folder_of_package(key: str, address: str) -> Traversable:
    """Return the folder of a package, which a flag or key names as ``pkg://PACKAGE``."""
    package = address.removeprefix(PACKAGE)
    try:
        return resources.files(package)
    except (ImportError, TypeError, ValueError):  # of a name that is no package
        raise ConfigError(f"{key} {address}: Python finds no package {package!r}") from None


@contextmanager
def naming_files(
    cfg: DictConfig | None,
    overrides: Sequence[str],
    args: argparse.Namespace,
    schema: type,
) -> Iterator[None]:
    """Let a mistake in this block also name the file that it is in, if the user wrote that file.

    Parameters
    ----------
    cfg
        The composed config; None if it can't be composed.
    overrides
        The overrides that it was composed of.
    args
        The parsed command line. What it sets itself is in no file.
    schema
        The root dataclass of the config, whose keys are named for one that nothing knows.

    Raises
    ------
    ConfigError
        The mistake, with a line for each key.
    """
    try:
        yield
    except ConfigError as mistake:
        composed = flatten(cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=False))) if cfg else {}
        given, swept = _keys(args.overrides), _keys(overrides)
        files = _own_files(tuple(config_folders(args)), schema)
        lines = []
        for line in str(mistake).splitlines():
            key, _, reason = line.partition(": ")
            if reason.startswith(("unknown key", "the chosen")):
                line = f"{key}: {unknown_key(key, schema)}"
            key, _, value = key.partition("=")
            known = {SWEPT + key: ANY} if key in swept else {key: value, **composed}
            found = [] if key in given else [str(file) for file, leaves in files if _sets(leaves, key, known)]
            lines.append(": ".join(filter(None, [" and ".join(found), line])))
        raise ConfigError("\n".join(lines)) from mistake


def _keys(overrides: Sequence[str]) -> set[str]:
    return {override.lstrip("+~").partition("=")[0] for override in overrides}


@functools.cache  # every cell of a sweep may be wrong
def _own_files(folders: tuple[Path, ...], schema: type) -> list[tuple[Path, dict[str, Any]]]:
    """Return the user's files in folders of configs, each with the keys that it sets and their values.

    The folder may be that of a project, so that only the subfolders of groups are searched.
    """
    groups = {"experiment", "hydra", *(field.name for field in dataclasses.fields(schema))}
    found = []
    for folder in (each for each in dict.fromkeys(folders) if each != conf_dir()):
        inside = [path for group in sorted(groups) for path in sorted((folder / group).rglob("*.yaml"))]
        for path in [*sorted(folder.glob("*.yaml")), *inside]:
            with suppress(OSError, ValueError, YAMLError, OmegaConfBaseException):
                text = path.read_text(encoding="utf-8")
                named = re.match(r"#\s*@package\s+(\S+)", text)
                package = named[1] if named else ".".join(path.relative_to(folder).parts[:-1])
                prefix = "" if package in ("", "_global_") else f"{package}."
                content = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.create(text)))
                options = [entry for entry in content.pop("defaults", ()) if isinstance(entry, dict)]
                chosen = {
                    key.removeprefix("override ").strip("/ "): option
                    for entry in options
                    for key, option in entry.items()
                }
                leaves = {f"{prefix}{leaf}": value for leaf, value in flatten(content).items()}
                found.append((path, chosen | leaves))
    return found


def _sets(leaves: Mapping[str, Any], key: str, known: Mapping[str, Any]) -> bool:
    """Tell whether a file sets a key, or one below it, to a known value, or sweeps over it."""
    return any(
        known[leaf] in (value, ANY)
        for leaf, value in leaves.items()
        if leaf in known and f"{leaf.removeprefix(SWEPT)}.".startswith(f"{key}.")
    )


def unknown_key(key: str, schema: type) -> str:
    """Say of a key that nothing knows which options have it, or which keys are like it."""
    if key in mappings(schema, ""):
        return (
            f"a file's entries are changed one by one: +{key}.NAME=VALUE adds one, {key}.NAME=VALUE changes "
            f"it, ~{key}.NAME takes it out"
        )
    if (hint := who_has(key)) is not None:
        return hint
    # Those of every option of a group, and of our launchers.
    launchers = (key for options in SCHEMAS.values() for key in walk(options, "hydra.launcher."))
    known = list(dict.fromkeys([*walk(schema, ""), *launchers]))
    if key in known and key.startswith("hydra."):
        having = [name for name, kind in SCHEMAS.items() if key in walk(kind, "hydra.launcher.")]
        options = " and ".join(f"hydra/launcher={name.removesuffix('Launcher').lower()}" for name in having)
        return f"the chosen launcher has no such key, unlike {options}"
    if key in known:
        return f"a group's option is chosen by name, and its keys are set one by one: {key}.KEY=VALUE"
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else "--help lists the keys"
    return f"unknown key; {hint}"
