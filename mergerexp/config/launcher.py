"""The settings of our launchers, whose values are in ``conf/hydra/launcher``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf

from mergerexp.config.validate import check_bounds, merged
from mergerexp.errors import ConfigError
from mergerexp.settings import setting

# The settings that sbatch has options of the same name for.
AS_IT_IS = ("partition", "account", "qos")
RERUN = (
    "which runs that ended before start again. failed: those that failed or were lost; none: no run; all: "
    "every run, at every call, so leave it out to go on with a sweep that was begun with it"
)


@dataclass(kw_only=True)
class LocalOptions:
    """Options of hydra/launcher=local: this machine, each run in a process of its own."""

    n_jobs: int | None = setting(
        "runs at once; null: one for each GPU, or without GPUs one for each core, as far as memory allows",
        1,
        1024,
    )
    rerun: str = setting(RERUN, choices=("failed", "none", "all"))


@dataclass(kw_only=True)
class SlurmOptions:
    """Options of hydra/launcher=slurm: an array of jobs for a sweep, through submitit."""

    partition: str | None = setting("partition; null: the site's default, as for account and qos")
    account: str | None = setting("account that is charged")
    qos: str | None = setting("quality of service")
    gpus: int = setting("GPUs of each job", 0, 64)
    gpu_type: str | None = setting("kind of GPU, e.g. a100")
    cpus: int = setting("cores of each job", 1, 1024)
    mem: str = setting("memory of each job, e.g. 16GB")
    timeout: int = setting(
        "time limit; a run that needs longer is requeued and goes on", 1, 60 * 24 * 365, unit="minutes"
    )
    parallel: int = setting("jobs of the sweep that run at once", 1, 100_000)
    max_requeues: int = setting(
        "requeues of a job that runs out of time; preemption and failing nodes do not count", 0, 10_000
    )
    signal_lead: int = setting(
        "time before the end at which a run writes its last checkpoint", 5, 86_400, unit="seconds"
    )
    setup: list[str] = setting("shell lines before the run, e.g. [module load cuda]")
    extra: dict[str, Any] | None = setting(
        "further options of sbatch, e.g. {constraint: h100, exclude: node13}"
    )
    rerun: str = setting(RERUN, choices=("failed", "none", "all"))
    wait: bool = setting(
        "look on until all is over; false: submit and leave; the same line, or mergerexp.status, shows how "
        "the jobs stand"
    )

    def for_sbatch(self) -> dict[str, Any]:
        """Return the options of ``sbatch`` that submitit has no name for."""
        gres = {"gres": f"gpu:{self.gpu_type}:{self.gpus}" if self.gpu_type else f"gpu:{self.gpus}"}
        given = {key: value for key in AS_IT_IS if (value := getattr(self, key)) is not None}
        return {**given, **(gres if self.gpus else {}), "requeue": True, **(self.extra or {})}


Options = LocalOptions | SlurmOptions
# Options of sbatch that `extra` must not set: those of other settings, and those that resuming relies on.
DECIDED_ELSEWHERE = {
    **{key: f"hydra.launcher.{key}" for key in (*AS_IT_IS, "mem")},
    "time": "hydra.launcher.timeout",
    "cpus_per_task": "hydra.launcher.cpus",
    "signal": "hydra.launcher.signal_lead",
    "array": "the sweep, and hydra.launcher.parallel",
    **dict.fromkeys(
        ("job_name", "output", "error", "open_mode", "parsable"), "this launcher, which finds jobs by it"
    ),
    "wait": "hydra.launcher.wait",
    "requeue": "this launcher: runs rely on being requeued",
    "no_requeue": "this launcher: runs rely on being requeued",
}
SCHEMAS: dict[str, type[LocalOptions] | type[SlurmOptions]] = {
    "LocalLauncher": LocalOptions,
    "SlurmLauncher": SlurmOptions,
}


def read_options(name: str, values: Any) -> Options:
    """Return the typed and checked options of one of our launchers.

    Parameters
    ----------
    name
        The name of the launcher's class, which is a key of `SCHEMAS`.
    values
        The content of ``hydra.launcher`` besides ``_target_``.

    Raises
    ------
    ConfigError
        If a key is unknown, or a value has the wrong type or is out of bounds.
    """
    given = OmegaConf.create(values)
    options: Options = merged(OmegaConf.structured(SCHEMAS[name]), given, "hydra.launcher.")
    check_bounds(options, "hydra.launcher.")
    if isinstance(options, SlurmOptions):
        _check_slurm(options)
    return options


def _check_slurm(options: SlurmOptions) -> None:
    for key in options.extra or {}:
        if (known := DECIDED_ELSEWHERE.get(str(key).replace("-", "_").lower())) is not None:
            raise ConfigError(f"hydra.launcher.extra: {key} is decided by {known}")
    if options.signal_lead >= 60 * options.timeout:
        raise ConfigError(
            f"hydra.launcher.signal_lead={options.signal_lead}: must be less than the time limit, "
            f"hydra.launcher.timeout={options.timeout} min"
        )
