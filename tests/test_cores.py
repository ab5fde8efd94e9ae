"""What of a machine is ours: what a container or a launcher leaves of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mergerexp import cores
from mergerexp.cores import cpu_computes_bf16, memory_gb, usable_cores, visible_gpus


def test_a_number_of_threads_is_no_number_of_cores(monkeypatch):
    here = usable_cores()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert usable_cores() == here
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert usable_cores() == 1


def test_what_a_launcher_leaves_of_the_cores(monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert usable_cores() == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_what_this_process_is_bound_to():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


def machine(root: Path, cgroup: str, limits: dict[str, str]) -> Path:
    """Lay out the files of a system with cgroups."""
    for name, content in {"proc/self/cgroup": cgroup, **limits}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n")
    return root


V1 = "9:name=systemd:/\n4:memory,hugetlb:/jobs/7\n1:cpu:/jobs/7"


@pytest.mark.parametrize(
    ("cgroup", "limits", "gb"),
    [
        ("0::/", {"sys/fs/cgroup/memory.max": "2000000"}, 0.002),  # a container
        ("0::/a/b", {"sys/fs/cgroup/a/b/memory.max": "max", "sys/fs/cgroup/a/memory.max": "3000000"}, 0.003),
        ("0::/of/the/host", {"sys/fs/cgroup/memory.max": "2000000"}, 0.002),
        (V1, {"sys/fs/cgroup/memory/jobs/7/memory.limit_in_bytes": "4000000"}, 0.004),
        (V1, {"sys/fs/cgroup/memory/memory.limit_in_bytes": "5000000"}, 0.005),  # a container
    ],
)
def test_memory_of_a_container(cgroup, limits, gb, tmp_path):
    assert memory_gb(machine(tmp_path, cgroup, limits)) == pytest.approx(gb)


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bind this process to eight cores, and let no launcher leave fewer."""
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: range(8))
    for name in ("SLURM_CPUS_PER_TASK", "LOKY_MAX_CPU_COUNT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(
    ("cgroup", "limits"),
    [
        ("0::/", {"sys/fs/cgroup/cpu.max": "100000 100000"}),  # a container
        ("0::/a/b", {"sys/fs/cgroup/a/b/cpu.max": "max 100000", "sys/fs/cgroup/a/cpu.max": "5000 10000"}),
        ("0::/of/the/host", {"sys/fs/cgroup/cpu.max": "20000 100000"}),
        ("1:cpu:/\n0::/", {"sys/fs/cgroup/cpu.max": "80000 100000"}),  # both versions
        (
            "4:cpu,cpuacct:/jobs/7",
            {
                "sys/fs/cgroup/cpu/jobs/7/cpu.cfs_quota_us": "90000",
                "sys/fs/cgroup/cpu/jobs/7/cpu.cfs_period_us": "100000",
            },
        ),
    ],
)
def test_cores_of_a_container(cgroup, limits, tmp_path):
    assert usable_cores(tmp_path) == 8
    assert usable_cores(machine(tmp_path, cgroup, limits)) == 1


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(
    ("cgroup", "limits"),
    [
        ("0::/", {"sys/fs/cgroup/cpu.max": "max 100000"}),
        ("0::/", {"sys/fs/cgroup/cpu.max": "1600000 100000"}),  # more than there are
        ("0::/", {"sys/fs/cgroup/cpu.max": ""}),
        ("0::/", {"sys/fs/cgroup/cpu.max": "50000 0"}),
        (V1, {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}),
    ],
)
def test_quotas_that_are_no_limit(cgroup, limits, tmp_path):
    assert usable_cores(machine(tmp_path, cgroup, limits)) == 8


@pytest.mark.usefixtures("eight_cores")
def test_a_quota_of_parts_of_cores_is_rounded_up(tmp_path):
    assert usable_cores(machine(tmp_path, "0::/", {"sys/fs/cgroup/cpu.max": "250000 100000"})) == 3


def test_memory_without_a_limit(tmp_path):
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    unlimited = {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712"}
    assert memory_gb(machine(tmp_path, V1, unlimited)) == memory_gb(tmp_path / "no linux") == physical
    assert 0 < memory_gb() <= physical


@pytest.mark.parametrize(
    ("said", "gpus"),
    [("", []), ("0", ["0"]), ("3, 5", ["3", "5"]), ("-1", []), ("1,-1,2", ["1"]), ("NoDevFiles", [])],
)
def test_gpus_as_cuda_reads_them(said, gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", said)
    assert visible_gpus() == gpus


@pytest.mark.parametrize(
    ("cpuinfo", "has"),
    [
        ("model name\t: Xeon\nflags\t\t: fpu avx2 avx512f avx512_bf16\n", True),
        ("flags\t\t: fpu avx2 avx512f\n", False),
        ("Features\t: fp asimd i8mm bf16\n", True),
        ("Features\t: fp asimd\n", False),
        ("", False),
    ],
)
def test_processors_with_bfloat16(cpuinfo, has, tmp_path, monkeypatch):
    monkeypatch.setattr(cores.platform, "system", lambda: "Linux")
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert cpu_computes_bf16(tmp_path / "cpuinfo") is has
