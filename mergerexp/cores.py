"""What of this machine is ours: cores, memory and GPUs."""

import os
import shutil
import subprocess


def usable_cores() -> int:
    """Return how many cores this process may use, which a cluster or a launcher limits."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    for limit in ("SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS"):
        if os.environ.get(limit, "").isdigit():
            cores = min(cores, int(os.environ[limit]))
    return max(1, cores)


def memory_gb() -> float:
    """Return the machine's memory in GB."""
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9)


def visible_gpus() -> list[str]:
    """Return the names of the GPUs as ``CUDA_VISIBLE_DEVICES`` takes them, without loading torch."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [gpu for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if gpu]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)
    return [str(i) for i in range(len(listed.stdout.splitlines()))] if listed.returncode == 0 else []
