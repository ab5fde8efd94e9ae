"""The cores, memory and GPUs that this process may use, found out without loading torch."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

NVIDIA_S = 30  # for an answer of the driver's tool
END_OF_LIST = ("-1", "NoDevFiles")  # CUDA ignores what follows these in CUDA_VISIBLE_DEVICES
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # what /proc/cpuinfo says of x86 and Arm processors
BF16_CAPABILITY = 8.0  # from this compute capability on, NVIDIA's GPUs compute in bfloat16, not emulate it
# What the drivers of NVIDIA, AMD and Windows' Linux leave in a machine or container with GPUs.
GPU_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


def usable_cores(root: Path = Path("/")) -> int:
    """Return the number of cores that this process may use, which a cluster or container may limit.

    The limits are the cores that the process is bound to, the quotas of its cgroups, SLURM_CPUS_PER_TASK and
    joblib's LOKY_MAX_CPU_COUNT. joblib's own function takes a fifth of a second to import.

    Parameters
    ----------
    root
        The folder that ``proc`` and ``sys`` are in.
    """
    bound = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    asked = (os.environ.get(name, "") for name in ("SLURM_CPUS_PER_TASK", "LOKY_MAX_CPU_COUNT"))
    limits = [len(bound), *_cgroup_cores(root), *(int(number) for number in asked if number.isdecimal())]
    return max(1, math.ceil(min(limits)))


def memory_gb(root: Path = Path("/")) -> float:
    """Return the memory in GB (10⁹ bytes) that this process may use: all of it, or what its cgroups allow.

    Parameters
    ----------
    root
        The folder that ``proc`` and ``sys`` are in.
    """
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return float(min([physical, *_cgroup_memory(root)]) / 1e9)


def _cgroup_cores(root: Path) -> Iterator[float]:
    """Yield every quota, in cores, that the cgroup of this process and those above it set."""
    for files in _cgroup_files(root, "cpu", ["cpu.cfs_quota_us", "cpu.cfs_period_us"], ["cpu.max"]):
        numbers = " ".join(files).split()  # -1 or max for no limit
        if len(numbers) == 2 and all(number.isdecimal() and int(number) for number in numbers):
            yield int(numbers[0]) / int(numbers[1])


def _cgroup_memory(root: Path) -> Iterator[int]:
    """Yield every limit, in bytes, that the cgroup of this process and those above it set."""
    for (limit,) in _cgroup_files(root, "memory", ["memory.limit_in_bytes"], ["memory.max"]):
        if limit.isdigit():
            yield int(limit)


def _cgroup_files(root: Path, controller: str, names1: list[str], names2: list[str]) -> Iterator[list[str]]:
    """Yield what files say in the cgroup of this process and in those above it; they differ by version."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return  # the system is not Linux
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mounted, names = (root / "sys/fs/cgroup", names2)
        if controllers:
            mounted, names = mounted / controller, names1
        innermost = mounted / path.lstrip("/")
        # Inside a container the path may be the host's. The limit of the container is then at the top.
        for folder in [innermost, *innermost.parents][: len(innermost.parts) - len(mounted.parts) + 1]:
            with contextlib.suppress(OSError):
                yield [(folder / name).read_text().strip() for name in names]


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that this process may use, in the form of ``CUDA_VISIBLE_DEVICES``."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        listed = [gpu.strip() for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(",")]
        end = next((i for i, gpu in enumerate(listed) if gpu in END_OF_LIST), len(listed))
        return [gpu for gpu in listed[:end] if gpu]
    return [str(i) for i in range(len(_ask_nvidia("--list-gpus")))]


def may_have_gpu() -> bool:
    """Tell whether this machine may have a GPU for torch, also where the driver's tool is not installed."""
    return bool(visible_gpus()) or any(Path(file).exists() for file in GPU_FILES)


def gpus_compute_bf16() -> bool:
    """Tell whether every GPU of this machine computes in bfloat16; if the driver does not say, assume so."""
    return all(
        float(capability) >= BF16_CAPABILITY
        for capability in _ask_nvidia("--query-gpu=compute_cap", "--format=csv,noheader")
        if capability.strip().replace(".", "", 1).isdigit()
    )


def gpu_memory_mb() -> dict[str, tuple[float, float]]:
    """Return used and whole memory in MB of each GPU, by its number and by its UUID; empty if unknown."""
    found = {}
    for line in _ask_nvidia(
        "--query-gpu=index,uuid,memory.used,memory.total", "--format=csv,noheader,nounits"
    ):
        index, uuid, *memory = (part.strip() for part in line.split(","))
        if len(memory) == 2 and all(part.replace(".", "", 1).isdigit() for part in memory):
            found[index] = found[uuid] = (float(memory[0]), float(memory[1]))
    return found


def _ask_nvidia(*arguments: str) -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        answer = subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True, timeout=NVIDIA_S)
    except subprocess.TimeoutExpired:  # it may wait for a GPU that is out of order
        return []
    return answer.stdout.splitlines() if answer.returncode == 0 else []


def torch_is_built_for_cuda() -> bool:
    """Tell whether the installed torch can use GPUs as cuda; some builds of it can use only processors."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    return any(re.search(rf"^{kind}\b[^=\n]*= *(?!None\b)\S", text, re.MULTILINE) for kind in ("cuda", "hip"))


def has_apple_gpu() -> bool:
    """Tell whether this is a Mac whose processor has a GPU that torch can use."""
    return (platform.system(), platform.machine()) == ("Darwin", "arm64")


def cpu_computes_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Tell whether the processor computes in bfloat16; if it emulates that, a batch takes minutes.

    Parameters
    ----------
    cpuinfo
        The file that describes the processor on Linux.
    """
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "hw.optional.arm.FEAT_BF16"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() == "1"
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    flags = [line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))]
    return bool(flags) and not BF16_FLAGS.isdisjoint(flags[0].split())


def wait_without_spinning() -> None:
    """Let OpenMP threads that wait for each other sleep soon, in this process and in those that it starts.

    By default they spin, and so take the core from the thread that they wait for: with other busy processes
    on the machine, a run with two threads took ten times as long. If they slept at once, to wake them would
    take longer than most waits: the same run alone on the machine was 1.4 times as slow. So they spin for
    some microseconds. This has no effect once torch is loaded, or if the user has chosen a policy.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "3000"}
