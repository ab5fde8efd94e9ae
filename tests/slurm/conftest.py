"""A real Slurm on this machine, for the tests of this folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from mergerexp.sweep import slurm as scheduler
from tests.conftest import REPOSITORY

SANDBOX = REPOSITORY / "launchers" / "slurm_sandbox"
PORTS = 20  # that a sandbox uses
# Small jobs that come and go quickly.
JOBS = (
    "hydra.launcher.gpus=0",
    "hydra.launcher.cpus=1",
    "hydra.launcher.mem=2GB",
    "hydra.launcher.timeout=5",
    "hydra.launcher.signal_lead=10",
)


@pytest.fixture(scope="session")
def cluster(one_installs: FileLock) -> Iterator[dict[str, str]]:
    """Start the sandbox; return the environment that reaches it."""
    # Whatever sandbox the caller uses: here jobs are cancelled and daemons stopped. The path of a Unix socket
    # is short, and a colleague reads slurm.conf.
    folder = Path(tempfile.mkdtemp(prefix="mergerexp-slurm-", dir="/tmp"))
    folder.chmod(0o755)
    environment = sandbox_environment(folder)
    with one_installs:
        started = subprocess.run([SANDBOX / "start.sh"], env=environment, capture_output=True, text=True)
    said = started.stdout + started.stderr
    if started.returncode == 77:
        pytest.skip(f"Slurm can't be installed here: {said.strip().splitlines()[-1]}")
    assert started.returncode == 0, said
    yield {**environment, "SLURM_CONF": str(folder / "slurm.conf"), "MERGEREXP_LAUNCHER": "slurm"}
    subprocess.run([SANDBOX / "stop.sh"], env=environment, capture_output=True)
    shutil.rmtree(folder)


def sandbox_environment(folder: Path) -> dict[str, str]:
    """Return the settings of a sandbox in a folder, whatever the caller has set for another one."""
    others = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_SANDBOX_")}
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = int(os.environ.get("MERGEREXP_TESTS_SLURM_PORT", "16850"))
    ours = {"SLURM_SANDBOX_DIR": str(folder), "SLURM_SANDBOX_PORT": str(first + PORTS * process)}
    return {**others, **ours, "SLURM_SANDBOX_GRACE": "10", "SLURM_SANDBOX_OOM": "1"}


@pytest.fixture
def site(cluster: dict[str, str]) -> Iterator[Callable[[str, str], None]]:
    """Let a test change what its site has set, by a substitution in slurm.conf."""
    conf = Path(cluster["SLURM_CONF"])
    usual = conf.read_text()

    def write(text: str) -> None:
        conf.write_text(text)
        subprocess.run(["scontrol", "reconfigure"], env=cluster, check=True)

    def change(old: str, new: str) -> None:
        assert old in conf.read_text()
        write(conf.read_text().replace(old, new))

    yield change
    write(usual)


@pytest.fixture
def slurm(cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Let this process use the sandbox."""
    for key, value in cluster.items():
        monkeypatch.setenv(key, value)
    return cluster


@pytest.fixture
def clean_queue(slurm: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the jobs find the tests, and leave none behind."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setattr(scheduler, "QUEUE_EVERY_S", 1.0)
    monkeypatch.setattr(scheduler, "GRACE_S", 3.0)
    yield
    subprocess.run(["scancel", "--user=root", "--full"])
