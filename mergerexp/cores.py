"""What of this machine is ours: cores, memory and GPUs, without loading torch to find out."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

NO_MORE = ("-1", "NoDevFiles")  # ends the list in CUDA_VISIBLE_DEVICES
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # of x86 and Arm in /proc/cpuinfo
BF16_CAPABILITY = 8.0  # NVIDIA's compute capability from which bfloat16 is computed rather than emulated


def usable_cores() -> int:
    """Return how many cores this process may use, which a cluster, a container or a launcher limits."""
    from joblib import cpu_count  # affinity, cgroup quotas and LOKY_MAX_CPU_COUNT; a quarter of a second

    cores = int(cpu_count())
    asked = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return max(1, min(cores, int(asked)) if asked.isdigit() else cores)


def memory_gb(root: Path = Path("/")) -> float:
    """Return the memory in GB that this process may use: the machine's, or what its cgroups leave of it.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` are.
    """
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return float(min([physical, *_cgroup_memory(root)]) / 1e9)


def _cgroup_memory(root: Path) -> Iterator[int]:
    """Yield every limit, in bytes, that our cgroup and those above it set."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return  # no Linux
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        version1 = bool(controllers)
        mounted = root / "sys/fs/cgroup" / ("memory" if version1 else "")
        own = mounted / path.lstrip("/")
        # Inside a container the path may be one of the host's: its own limit stands at the top.
        for folder in [own, *own.parents][: len(own.parts) - len(mounted.parts) + 1]:
            try:
                limit = (folder / ("memory.limit_in_bytes" if version1 else "memory.max")).read_text().strip()
            except OSError:
                continue
            if limit.isdigit():
                yield int(limit)


def visible_gpus() -> list[str]:
    """Return the names of the GPUs as ``CUDA_VISIBLE_DEVICES`` takes them."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        listed = [gpu.strip() for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(",")]
        end = next((i for i, gpu in enumerate(listed) if gpu in NO_MORE), len(listed))
        return [gpu for gpu in listed[:end] if gpu]
    return [str(i) for i in range(len(_ask_nvidia("--list-gpus")))]


def gpus_compute_bf16() -> bool:
    """Tell whether every GPU of this machine has bfloat16 units; where the driver does not say, it has."""
    return all(
        float(capability) >= BF16_CAPABILITY
        for capability in _ask_nvidia("--query-gpu=compute_cap", "--format=csv,noheader")
        if capability.strip().replace(".", "", 1).isdigit()
    )


def _ask_nvidia(*arguments: str) -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    said = subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True)
    return said.stdout.splitlines() if said.returncode == 0 else []


def torch_is_built_for_cuda() -> bool:
    """Tell whether the torch that is installed could use an NVIDIA GPU; some builds know processors alone."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    return re.search(r"^cuda\b[^=\n]*= *None", text, re.MULTILINE) is None


def has_apple_gpu() -> bool:
    """Tell whether this is a Mac whose processor has a GPU that torch uses."""
    return (platform.system(), platform.machine()) == ("Darwin", "arm64")


def cpu_computes_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Tell whether the processor has bfloat16 units; without them a batch takes minutes."""
    if platform.system() == "Darwin":
        ask = ["sysctl", "-n", "hw.optional.arm.FEAT_BF16"]
        return subprocess.run(ask, capture_output=True, text=True).stdout.strip() == "1"
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    flags = [line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))]
    return bool(flags) and not BF16_FLAGS.isdisjoint(flags[0].split())


def wait_without_spinning() -> None:
    """Let threads that wait for each other sleep, in this process and those that it starts.

    OpenMP's threads spin by default, and so take the core from the one that they wait for: beside other busy
    processes two threads of a run took ten times as long. To be called before torch is loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
