"""What the launchers can be told; the values are in ``conf/hydra/launcher``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mergerexp.config.schema import setting
from mergerexp.config.validate import check_bounds
from mergerexp.errors import ConfigError

RERUN = ("failed", "none", "all")


@dataclass
class LocalOptions:
    """``hydra/launcher=local``."""

    n_jobs: int | None = setting(1, 1024)
    rerun: str = setting(choices=RERUN)


@dataclass
class SlurmOptions:
    """``hydra/launcher=slurm``."""

    partition: str | None = setting()
    account: str | None = setting()
    qos: str | None = setting()
    gpus: int = setting(0, 64)
    gpu_type: str | None = setting()
    cpus: int = setting(1, 1024)
    mem: str = setting()
    timeout: int = setting(1, 60 * 24 * 365)
    parallel: int = setting(1, 100_000)
    max_requeues: int = setting(0, 10_000)
    signal_lead: int = setting(5, 86_400)
    setup: list[str] = setting()
    extra: dict[str, Any] | None = setting()
    rerun: str = setting(choices=RERUN)
    wait: bool = setting()


Options = LocalOptions | SlurmOptions
SCHEMAS: dict[str, type[LocalOptions] | type[SlurmOptions]] = {
    "LocalLauncher": LocalOptions,
    "SlurmLauncher": SlurmOptions,
}


def read_options(node: Any) -> Options | None:
    """Return the typed and checked options of a ``hydra.launcher`` config; None if it is not one of ours.

    Raises
    ------
    ConfigError
        On an unknown key, a value of the wrong type or out of bounds.
    """
    values: Any = OmegaConf.to_container(node, resolve=True)
    schema = SCHEMAS.get(str(values.pop("_target_", "")).rpartition(".")[2])
    if schema is None:
        return None
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), values)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"hydra.launcher.{error.full_key}: {reason}") from error
    options: Options = OmegaConf.to_object(merged)  # type: ignore[assignment]
    check_bounds(options, "hydra.launcher.")
    if isinstance(options, SlurmOptions) and options.signal_lead >= 60 * options.timeout:
        raise ConfigError(
            f"hydra.launcher.signal_lead={options.signal_lead}: must be less than the time limit, "
            f"hydra.launcher.timeout={options.timeout} min"
        )
    return options
