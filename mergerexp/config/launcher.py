"""The settings of our launchers, whose values are in ``conf/hydra/launcher``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf

from mergerexp.config.bounds import check_bounds
from mergerexp.config.typed import merged
from mergerexp.errors import ConfigError
from mergerexp.settings import setting

# The settings that sbatch has options of the same name for.
AS_IT_IS = ("partition", "account", "qos")
RERUN = (
    "which runs that ended before start again. failed: those that failed or were lost; none: no run; all: "
    "every run, at every call, so leave it out to go on with a sweep that was begun with it"
)
AUTO = "auto"
MOST_ON_A_GPU = 8  # by auto: more runs gained little more on an H100, even of small networks
RUNS_PER_GPU = (
    "runs that share a GPU; auto: as many as its memory holds by what the first one took after an epoch, and "
    f"at most {MOST_ON_A_GPU}"
)


@dataclass(kw_only=True)
class LocalOptions:
    """Options of hydra/launcher=local: this machine, each run in a process of its own."""

    n_jobs: int | None = setting(
        "runs at once; null: runs_per_gpu on each GPU, or without GPUs one for each core, as far as memory "
        "allows",
        1,
        1024,
    )
    runs_per_gpu: int | str = setting(RUNS_PER_GPU, 1, 64, word=AUTO)
    rerun: str = setting(RERUN, choices=("failed", "none", "all"))


@dataclass(kw_only=True)
class SlurmOptions:
    """Options of hydra/launcher=slurm: an array of jobs for a sweep, through submitit."""

    partition: str | None = setting("partition; null: the site's default, as for account and qos")
    account: str | None = setting("account that is charged")
    qos: str | None = setting("quality of service")
    gpus: int = setting("GPUs of each job", 0, 64)
    gpu_type: str | None = setting("kind of GPU, e.g. a100")
    runs_per_gpu: int | str = setting(
        f"{RUNS_PER_GPU}; a job has all of them, and with auto asks for the cores and memory of "
        f"{MOST_ON_A_GPU} for each GPU",
        1,
        64,
        word=AUTO,
    )
    runs_per_node: int = setting("runs that a job without GPUs trains side by side", 1, 1024)
    cpus: int = setting("cores of each run; a job asks for those of all its runs", 1, 1024)
    mem: str = setting("memory of each run, e.g. 16GB; a job asks for that of all its runs")
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

    @property
    def runs_per_job(self) -> int:
        """The most runs that a job trains side by side."""
        if not self.gpus:
            return self.runs_per_node
        return self.gpus * (MOST_ON_A_GPU if isinstance(self.runs_per_gpu, str) else self.runs_per_gpu)

    def memory(self, runs: int) -> str:
        """Return the memory of a job with so many runs, as Slurm writes it."""
        number, unit = _memory(self.mem)
        return f"{number * runs}{unit}"

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
    else:
        _check_local(options)
    return options


def _memory(text: str) -> tuple[int, str]:
    """Return number and unit of an amount of memory.

    Raises
    ------
    ConfigError
        If the text is none.
    """
    found = re.fullmatch(r"(\d+)\s*([KMGT]?)B?", text.strip(), re.IGNORECASE)
    if found is None:
        raise ConfigError(f"hydra.launcher.mem={text}: is no amount of memory such as 16GB or 500MB")
    return int(found[1]), f"{found[2].upper()}B" if found[2] else ""


def _check_local(options: LocalOptions) -> None:
    if options.n_jobs is not None and options.runs_per_gpu != 1:
        raise ConfigError(
            f"hydra.launcher.n_jobs={options.n_jobs} and hydra.launcher.runs_per_gpu={options.runs_per_gpu} "
            "both say how many runs there are at once; leave one of them out"
        )


def _check_slurm(options: SlurmOptions) -> None:
    _memory(options.mem)
    if options.gpus and options.runs_per_node != 1:
        raise ConfigError(
            f"hydra.launcher.runs_per_node={options.runs_per_node}: is for jobs without GPUs, and these have "
            f"{options.gpus}; use hydra.launcher.runs_per_gpu, or hydra.launcher.gpus=0"
        )
    if not options.gpus and options.runs_per_gpu != 1:
        raise ConfigError(
            f"hydra.launcher.runs_per_gpu={options.runs_per_gpu}: the jobs have no GPU "
            "(hydra.launcher.gpus=0); use hydra.launcher.runs_per_node"
        )
    for key in options.extra or {}:
        if (known := DECIDED_ELSEWHERE.get(str(key).replace("-", "_").lower())) is not None:
            raise ConfigError(f"hydra.launcher.extra: {key} is decided by {known}")
    if options.signal_lead >= 60 * options.timeout:
        raise ConfigError(
            f"hydra.launcher.signal_lead={options.signal_lead}: must be less than the time limit, "
            f"hydra.launcher.timeout={options.timeout} min"
        )
