"""Where the configuration lives, and what its paths mean."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from mergerexp.config.schema import AggregateConfig, TrainConfig

StoreUser = TypeVar("StoreUser", "TrainConfig", "AggregateConfig")  # configs with paths and a store

SQLITE = "sqlite:///"


def conf_dir() -> Path:
    """Return the folder of the YAML files: ``conf/`` of a checkout, or the copy inside a wheel."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent / "conf"
    return checkout if (checkout / "train.yaml").is_file() else package / "conf"


def absolute_paths(cfg: StoreUser) -> StoreUser:
    """Return a config whose paths mean the same from any working directory."""
    paths = {field.name: _absolute(getattr(cfg.paths, field.name)) for field in dataclasses.fields(cfg.paths)}
    tracking = dataclasses.replace(cfg.tracking)
    if tracking.uri is not None and tracking.uri.startswith(SQLITE):
        tracking.uri = SQLITE + _absolute(tracking.uri.removeprefix(SQLITE))
    if tracking.artifacts is not None and "://" not in tracking.artifacts:
        tracking.artifacts = _absolute(tracking.artifacts)
    return dataclasses.replace(cfg, paths=dataclasses.replace(cfg.paths, **paths), tracking=tracking)


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def set_machine_defaults() -> None:
    """Set the environment variables that the defaults in ``conf/`` ask for, as far as the user has not."""
    os.environ.setdefault("MERGEREXP_LAUNCHER", "slurm" if _has_slurm() else "local")
    is_named = bool(os.environ.get("MLFLOW_TRACKING_URI"))  # a server or any other store
    os.environ.setdefault("MERGEREXP_TRACKING", "server" if is_named else "sqlite")


def _has_slurm() -> bool:
    """Tell whether this machine belongs to a Slurm cluster: it has the commands, and knows the controller."""
    known = os.environ.keys() & {"SLURM_CONF", "SLURM_CONF_SERVER"}
    cached = any(Path(path).exists() for path in ("/etc/slurm/slurm.conf", "/run/slurm/conf/slurm.conf"))
    return shutil.which("sbatch") is not None and (bool(known) or cached)
