"""The chaos benchmark in short: a sweep under some faults comes out as a calm one."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests.conftest import REPOSITORY

SWEEP = (
    "data=simulated_small",
    "data.simulator.n_mergers=40",
    "data.simulator.n_noninteracting=60",
    "model.backbone=test_resnet",
    "init=random_frozen_head",
    "init.head_epochs=3",
    "trainer.max_epochs=30",
    "trainer.patience=30",
    "fold=0,1",
)


def test_nothing_is_lost(slurm, tmp_path):
    script = [sys.executable, str(REPOSITORY / "benchmarks" / "chaos.py"), "--root", str(tmp_path)]
    faults = ["--faults", "3", "--every", "4", "--seed", "1"]
    done = subprocess.run([*script, *faults, *SWEEP], env=slurm, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    struck = re.search(r"(\d) of 3 faults", done.stdout)  # the machine's speed decides how many are in time
    assert struck and int(struck[1]) >= 2
    assert "2 of 2 runs done, predictions identical" in done.stdout


@pytest.mark.parametrize("kind", ["kill", "scancel", "requeue", "time limit", "node down"])
def test_what_comes_too_late_is_no_fault(kind, slurm, monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    import chaos

    gone = {"job": "999999", "pid": 2**22 + 1, "node": "nowhere"}
    faults = chaos.Faults(SimpleNamespace(running=lambda: [gone]), random.Random(1), lambda: None)
    faults.next = [kind]
    faults.strike()
    assert not faults.next
    assert not faults.count.total()
