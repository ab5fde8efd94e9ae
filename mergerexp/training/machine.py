"""The device, the precision, the threads and the memory of the machine."""

from __future__ import annotations

import ctypes
import platform
import resource
import sys
from dataclasses import dataclass
from typing import Any, Literal

import torch

from mergerexp.config.device import check_processor
from mergerexp.config.schema import TrainerConfig
from mergerexp.cores import memory_gb, usable_cores
from mergerexp.errors import ConfigError

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
LIGHTNING_PRECISION: dict[str, Precision] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # glibc's malloc.h


@dataclass(frozen=True)
class Machine:
    """The device and the precision that a run computes with.

    Attributes
    ----------
    device
        The device of all tensors.
    precision
        The precision of training: ``32``, ``bf16`` or ``16``, or ``64`` where no network is trained.
        Predictions of networks are always made in float32.
    threads
        The number of CPU threads, or of worker processes with one thread each.
    cuda_graph
        Whether training steps are captured as a CUDA graph: ``always``, ``auto`` (if they can be) or
        ``never``.
    """

    device: torch.device
    precision: str
    threads: int
    cuda_graph: str = "never"


def choose_machine(trainer: TrainerConfig) -> Machine:
    """Return the device and the precision that a run was planned with, and set up torch for them.

    Parameters
    ----------
    trainer
        The settings, in which neither is ``auto`` any more (see `mergerexp.config.device.resolve`).

    Raises
    ------
    ConfigError
        If this machine does not have the device or the precision.
    """
    kind = trainer.device
    if kind not in _devices():  # on another device the run would be another one
        raise ConfigError(
            f"trainer.device={kind}: the run was planned for it, and torch {torch.__version__} finds "
            f"{' and '.join(_devices())} on {platform.node()}; give the job such a device "
            "(on Slurm hydra.launcher.gpus=1), or the same line with trainer.device=cpu"
        )
    if kind == "cpu":
        check_processor(trainer.precision)
    if (kind, trainer.precision) == ("cuda", "bf16") and not torch.cuda.is_bf16_supported(
        including_emulation=False
    ):
        raise ConfigError(
            f"trainer.precision=bf16: the run was planned with it, and {torch.cuda.get_device_name()} has no "
            "bfloat16 units; give the same line with trainer.precision=16 or 32, or ask for other GPUs "
            "(hydra.launcher.gpu_type)"
        )
    threads = trainer.threads or usable_cores()
    set_up_torch(threads)
    return Machine(_first(kind), trainer.precision, threads, trainer.cuda_graph)


def choose_device(kind: str, key: str) -> torch.device:
    """Choose a device.

    Parameters
    ----------
    kind
        The kind of device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
    key
        The key of the setting, for the error message.

    Raises
    ------
    ConfigError
        If this machine has no such device.
    """
    available = _devices()
    if kind == "auto":
        kind = available[0]
    if kind not in available:
        raise ConfigError(
            f"{key}={kind}: torch {torch.__version__} finds no such device on {platform.node()}; give the "
            f"job one (on Slurm hydra.launcher.gpus=1), or use {key}=cpu"
        )
    return _first(kind)


def _devices() -> list[str]:
    """Return the kinds of devices that this machine has, with the fastest first."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [kind for kind, here in there.items() if here]


def _first(kind: str) -> torch.device:
    return torch.device(kind, 0) if kind == "cuda" else torch.device(kind)


def set_up_torch(threads: int) -> None:
    """Set the number of CPU threads that torch uses, and make it keep the memory that it frees.

    Otherwise glibc returns the large buffers of every batch to the system, and page faults take long.
    """
    torch.set_num_threads(threads)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(M_ARENA_MAX, 1)  # other threads' would grow by 64 MB at most
            libc.mallopt(M_MMAP_MAX, 0)
            libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def cpu_only(trainer: TrainerConfig) -> Machine:
    """Return the machine of a run that has no use for a GPU, and computes in float64."""
    return Machine(torch.device("cpu"), "64", trainer.threads or usable_cores())


def hardware() -> dict[str, Any]:
    """Return a description of the machine for the record."""
    return {
        "hostname": platform.node(),
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cores": usable_cores(),
        "memory_gb": round(memory_gb(), 1),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
    }


def peak_memory_gb() -> float:
    """Return the largest resident memory of this process so far, in GB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak * (1 if sys.platform == "darwin" else 1024) / 1e9)


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:  # noqa: PTH123
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
