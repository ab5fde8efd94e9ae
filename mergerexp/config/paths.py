"""Where the configuration lives, and what its paths mean."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mergerexp.errors import ConfigError, explain

if TYPE_CHECKING:
    from mergerexp.config.schema import AggregateConfig, PathsConfig, TrainConfig

StoreUser = TypeVar("StoreUser", "TrainConfig", "AggregateConfig")  # configs with paths and a store

SQLITE = "sqlite:///"
ROOT_VARIABLE = "MERGEREXP_ROOT"


def conf_dir() -> Path:
    """Return the folder of the YAML files: ``conf/`` of a checkout, or the copy inside a wheel."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent / "conf"
    return checkout if (checkout / "train.yaml").is_file() else package / "conf"


def absolute_paths(cfg: StoreUser) -> StoreUser:
    """Return a config whose paths mean the same from any working directory."""
    names = [field.name for field in dataclasses.fields(cfg.paths)]
    paths = {name: absolute_path(getattr(cfg.paths, name)) for name in names}
    tracking = dataclasses.replace(cfg.tracking)
    if tracking.uri is not None and tracking.uri.startswith(SQLITE):
        tracking.uri = SQLITE + absolute_path(tracking.uri.removeprefix(SQLITE))
    if tracking.artifacts is not None and "://" not in tracking.artifacts:
        tracking.artifacts = absolute_path(tracking.artifacts)
    replaced = dataclasses.replace(cfg, paths=dataclasses.replace(cfg.paths, **paths), tracking=tracking)
    init = getattr(replaced, "init", None)  # that of a run; a study has none
    if init is not None and init.source and Path(init.source).expanduser().is_dir():
        replaced.init = dataclasses.replace(init, source=absolute_path(init.source))  # type: ignore[attr-defined]
    return replaced


def absolute_path(path: str) -> str:
    """Return a path that means the same from any working directory, and ends with a name."""
    found = Path(path).expanduser().absolute()
    return str(found.resolve() if ".." in found.parts else found)


def name_of_root(root: str, setting: str = "paths.root") -> str:
    """Return where a root was set: in the environment, or by a setting of the command line."""
    given = os.environ.get(ROOT_VARIABLE)
    return ROOT_VARIABLE if given and Path(given) == Path(root) else setting


def check_folders(paths: PathsConfig) -> None:
    """Do what `check_folder` does with the root, and then with the other folders.

    Raises
    ------
    ConfigError
        As `check_folder`.
    """
    check_folder(name_of_root(paths.root), paths.root)
    for field in dataclasses.fields(paths):
        check_folder(f"paths.{field.name}", getattr(paths, field.name))


def check_folder(key: str, folder: str) -> None:
    """Refuse a folder that neither is there nor could be made, or that this user may not look for.

    Parameters
    ----------
    key
        The setting that names the folder, for the message.
    folder
        The folder.

    Raises
    ------
    ConfigError
        If a file is in its place or among its parents, or the system does not let this user look.
    """
    path = Path(absolute_path(folder))
    try:
        if path.stat() and path.is_dir():
            return
    except FileNotFoundError:  # it can be made
        return
    except NotADirectoryError:
        pass
    except OSError as error:
        raise ConfigError(f"{key}={folder}: {explain(error)}") from error
    file = next(place for place in (path, *path.parents) if place.exists())
    what = "this is a file" if file == path else f"{file} is a file"
    raise ConfigError(f"{key}={folder}: {what}, and a folder is needed")


def set_machine_defaults() -> None:
    """Set the environment variables that the defaults in ``conf/`` ask for, as far as the user has not.

    A variable without content counts as not set, as it does for a shell's ``${NAME:-default}``.
    """
    for name in ("MERGEREXP_LAUNCHER", "MERGEREXP_TRACKING", "MLFLOW_TRACKING_URI", ROOT_VARIABLE):
        if os.environ.get(name) == "":
            del os.environ[name]
    os.environ.setdefault("MERGEREXP_LAUNCHER", "slurm" if _has_slurm() else "local")
    is_named = bool(os.environ.get("MLFLOW_TRACKING_URI"))  # a server or any other store
    os.environ.setdefault("MERGEREXP_TRACKING", "server" if is_named else "sqlite")


def _has_slurm() -> bool:
    """Tell whether this machine belongs to a Slurm cluster: it has the commands, and knows the controller."""
    known = os.environ.keys() & {"SLURM_CONF", "SLURM_CONF_SERVER"}
    cached = any(Path(path).exists() for path in ("/etc/slurm/slurm.conf", "/run/slurm/conf/slurm.conf"))
    return shutil.which("sbatch") is not None and (bool(known) or cached)
