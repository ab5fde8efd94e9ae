"""The train verb on a real Slurm: one array, frozen configs and code, preemption without a trace."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from mergerexp.files import read_json
from tests.conftest import REPOSITORY, TINY
from tests.slurm.conftest import JOBS


def line(galaxies: Path, datasets: Path, *overrides: str) -> list[str]:
    shared = [f"paths.datasets={datasets}", f"paths.weights={datasets / 'weights'}"]
    data = ["data=folder", f"data.root={galaxies}", *shared]
    given = {override.split("=")[0] for override in overrides}
    tiny = [override for override in TINY if override.split("=")[0] not in given]
    return [sys.executable, "-m", "mergerexp.train", "-m", *data, *tiny, *JOBS, *overrides]


def environment(slurm: dict[str, str], root: Path, code: Path = REPOSITORY) -> dict[str, str]:
    return {**slurm, "MERGEREXP_ROOT": str(root), "PYTHONPATH": str(code)}


def run(command: list[str], env: dict[str, str], code: int = 0) -> str:
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=env["PYTHONPATH"])
    assert done.returncode == code, done.stderr
    return done.stderr


def predictions(root: Path) -> dict[str, pd.DataFrame]:
    files = sorted((root / "runs").glob("*/predictions.parquet"))
    return {path.parent.name: pd.read_parquet(path) for path in files}


def test_slurm_gives_what_local_processes_give(slurm, galaxies, datasets, tmp_path):
    sweep = line(galaxies, datasets, "fold=0,1", "trainer.max_epochs=1")
    run(sweep, environment(slurm, tmp_path / "slurm"))
    local = ["hydra/launcher=local", "hydra.launcher.n_jobs=2"]
    here = [override for override in sweep if not override.startswith("hydra")]
    run([*here, *local], environment(slurm, tmp_path / "local"))
    apart, together = predictions(tmp_path / "slurm"), predictions(tmp_path / "local")
    assert len(apart) == 2
    assert apart.keys() == together.keys()
    assert all(apart[name].equals(together[name]) for name in apart)
    (array,) = (tmp_path / "slurm" / "sweeps").glob("*/array-*.json")
    assert len(read_json(array)["tasks"]) == 2


def test_edits_after_submission_change_no_queued_run(slurm, galaxies, datasets, tmp_path):
    code = tmp_path / "code"
    for part in ("mergerexp", "conf"):
        shutil.copytree(REPOSITORY / part, code / part, ignore=shutil.ignore_patterns("__pycache__"))
    env = environment(slurm, tmp_path, code)
    held = ("hydra.launcher.wait=false", "hydra.launcher.extra={hold: true}")
    sweep = line(galaxies, datasets, "fold=0,1", "trainer.max_epochs=1")
    run([*sweep, *held], env)
    (code / "conf" / "trainer" / "default.yaml").write_text("max_epochs: 99\n")
    (code / "mergerexp" / "training" / "job.py").write_text("raise RuntimeError('edited')\n")
    (array,) = (tmp_path / "sweeps").glob("*/array-*.json")
    subprocess.run(["scontrol", "release", read_json(array)["array"]], env=env, check=True)
    deadline = time.monotonic() + 600
    while len(predictions(tmp_path)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    for config in (tmp_path / "runs").glob("*/config.yaml"):
        assert "max_epochs: 1\n" in config.read_text()


def test_preempted_twice_to_the_same_bits(slurm, galaxies, datasets, tmp_path):
    overrides = ("fold=0", "trainer.max_epochs=60", "trainer.patience=60", "tracking=none")
    sweep = line(galaxies, datasets, *overrides)
    env = environment(slurm, tmp_path / "slurm")
    process = subprocess.Popen(sweep, env=env, stderr=subprocess.DEVNULL)
    for _ in range(2):
        wait_for_training(tmp_path / "slurm" / "runs", process)
        preempt = ["sbatch", "-p", "urgent", "-N4", "--exclusive", "--wrap", "sleep 1", "-o", "/dev/null"]
        subprocess.run(preempt, env=env, check=True, capture_output=True)
        time.sleep(3)
    assert process.wait(timeout=300) == 0
    (status,) = (tmp_path / "slurm" / "runs").glob("*/status.json")
    assert read_json(status)["restarts"] >= 1
    here = [override for override in sweep if not override.startswith("hydra")]
    run([*here, "hydra/launcher=basic"], {**env, "MERGEREXP_ROOT": str(tmp_path / "calm")})
    calm, rough = predictions(tmp_path / "calm"), predictions(tmp_path / "slurm")
    assert calm.keys() == rough.keys()
    assert all(calm[name].equals(rough[name]) for name in calm)


def wait_for_training(runs: Path, process: subprocess.Popen) -> None:
    """Wait until a run that is at work has got ahead."""
    began = time.time()
    while process.poll() is None and time.time() < began + 120:
        for path in runs.glob("*/history.json"):
            if (
                path.stat().st_mtime > began
                and read_json(path.with_name("status.json"))["state"] == "running"
            ):
                return
        time.sleep(0.05)
    pytest.fail("no run got ahead")
