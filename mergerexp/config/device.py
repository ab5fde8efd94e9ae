"""The device and precision that a run computes with, which are decided when it is planned."""

from __future__ import annotations

import dataclasses
import re

from mergerexp.config.launcher import Options, SlurmOptions
from mergerexp.config.schema import TrainerConfig
from mergerexp.cores import (
    cpu_computes_bf16,
    gpus_compute_bf16,
    has_apple_gpu,
    may_have_gpu,
    torch_is_built_for_cuda,
    visible_gpus,
)
from mergerexp.errors import ConfigError

# sbatch's options that ask for GPUs
GPU_OPTIONS = ("gpus", "gpus_per_node", "gpus_per_task", "gpus_per_socket", "gres", "tres_per_task")


def resolve(trainer: TrainerConfig, options: Options | None) -> TrainerConfig:
    """Return the settings with a device and a precision in place of ``auto``, and no graph but on CUDA.

    On Slurm the device is what ``hydra.launcher`` asks for, since a login node need not have what its jobs
    get; otherwise it is this machine's. The precision on a CUDA device is bf16, unless a GPU of this machine
    is known to lack it, and elsewhere float32. A job that finds something else refuses; see
    `mergerexp.training.machine.choose_machine`.

    Parameters
    ----------
    trainer
        The validated settings.
    options
        The options of the launcher; None for runs in this process.

    Raises
    ------
    ConfigError
        If this machine, which is to train the run, does not have the device, or the processor does not
        compute in the precision that is asked for.
    """
    device = resolve_device("trainer.device", trainer.device, options)
    precision = trainer.precision
    if precision == "auto":
        known = device != "cuda" or isinstance(options, SlurmOptions) or gpus_compute_bf16()
        precision = "bf16" if device == "cuda" and known else "32"
    if device == "cpu":
        check_processor(precision, here=not isinstance(options, SlurmOptions))
    graph = _cuda_graph(trainer.cuda_graph, device, precision)
    return dataclasses.replace(trainer, device=device, precision=precision, cuda_graph=graph)


def check_processor(precision: str, here: bool = True) -> None:
    """Refuse a precision that a processor does not compute in.

    Parameters
    ----------
    precision
        ``32``, ``bf16`` or ``16``.
    here
        Whether it is the processor of this machine; that of a cluster's node is not known yet.

    Raises
    ------
    ConfigError
        If the processor does not compute in it; the message says which to use instead.
    """
    if precision == "16":
        raise ConfigError("trainer.precision=16: float16 needs a GPU; use trainer.precision=32 without one")
    if precision == "bf16" and here and not cpu_computes_bf16():
        raise ConfigError(
            "trainer.precision=bf16: this processor has no bfloat16 units and would take minutes for a "
            "batch; use trainer.precision=32"
        )


def _cuda_graph(asked: str, device: str, precision: str) -> str:
    """Return ``never`` instead of ``auto`` where nothing can be captured, and refuse ``always`` there."""
    if device == "cuda" and precision != "16":  # whose scaled gradients are read back at every step
        return asked
    if asked == "always":
        raise ConfigError(
            f"trainer.cuda_graph=always: steps on {device} in precision {precision} cannot be captured as a "
            "CUDA graph; use trainer.cuda_graph=auto"
        )
    return "never"


def resolve_device(key: str, device: str, options: Options | None) -> str:
    """Return the kind of device in place of ``auto``, as `resolve` does.

    Parameters
    ----------
    key, device
        The setting, and its value.
    options
        The options of the launcher; None for work in this process.

    Raises
    ------
    ConfigError
        If this machine, which is to do the work, does not have the device.
    """
    if device == "auto":
        return _device_of_jobs(options) if isinstance(options, SlurmOptions) else _device_of_this_machine()
    if not isinstance(options, SlurmOptions) and not _may_be_here(device):
        raise ConfigError(
            f"{key}={device}: this machine, which is to do the work, has no such device, or its torch cannot "
            f"use it; use {key}=auto, or hydra/launcher=slurm for jobs on other machines"
        )
    return device


def _device_of_jobs(options: SlurmOptions) -> str:
    extra = {str(key).replace("-", "_"): str(value) for key, value in (options.extra or {}).items()}
    asked = {key: extra[key] for key in GPU_OPTIONS if key in extra and not re.search(r"(^|:)0$", extra[key])}
    by_extra = any("gpu" in key or "gpu" in value for key, value in asked.items())
    return "cuda" if options.gpus > 0 or by_extra else "cpu"


def _device_of_this_machine() -> str:
    if visible_gpus() and torch_is_built_for_cuda():
        return "cuda"
    return "mps" if has_apple_gpu() else "cpu"


def _may_be_here(device: str) -> bool:
    if device == "cuda":
        return may_have_gpu() and torch_is_built_for_cuda()
    return device == "cpu" or has_apple_gpu()
