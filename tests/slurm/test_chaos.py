"""The chaos benchmark in short: a sweep under some faults comes out as a calm one."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import REPOSITORY

SWEEP = (
    "data=simulated_small",
    "data.simulator.n_mergers=40",
    "data.simulator.n_noninteracting=60",
    "model.backbone=test_resnet",
    "init=imagenet,random",
    "init.weights=random",
    "init.head_epochs=3",
    "trainer.max_epochs=40",
    "trainer.patience=40",
    "fold=0,1",
)


def test_nothing_is_lost(slurm, tmp_path):
    script = [sys.executable, str(REPOSITORY / "benchmarks" / "chaos.py"), "--root", str(tmp_path)]
    faults = ["--faults", "6", "--every", "4", "--seed", "1"]
    done = subprocess.run([*script, *faults, *SWEEP], env=slurm, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 of 4 runs done, predictions identical" in done.stdout
