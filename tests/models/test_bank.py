"""The bank computes each image once, whoever asks and whatever dies."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from mergerexp.models.bank import BLOCK, FeatureBank


class Counting:
    """Features that tell view and row; counts what it computed."""

    def __init__(self) -> None:
        self.computed: list[tuple[int, int]] = []

    def __call__(self, view: int, rows: np.ndarray) -> np.ndarray:
        self.computed += [(view, row) for row in rows.tolist()]
        return np.stack([np.full(len(rows), view), rows / 8], axis=1)


def test_right_rows_in_the_order_asked(tmp_path):
    rows = np.array([700, 3, 299, 4], dtype=np.int64)
    features = FeatureBank(tmp_path).get(2, rows, Counting())
    assert features.dtype == np.float16
    assert features.tolist() == [[2, row / 8] for row in rows.tolist()]


def test_nothing_twice(tmp_path):
    compute, rng = Counting(), np.random.default_rng(0)
    for _ in range(6):
        rows = rng.permutation(3 * BLOCK)[:200].astype(np.int64)
        FeatureBank(tmp_path).get(1, rows, compute)
    assert len(compute.computed) == len(set(compute.computed))


WORKER = """
import sys, time
from pathlib import Path
import numpy as np
from mergerexp.models.bank import FeatureBank
log = open(sys.argv[2], "a")
def compute(view, rows):
    time.sleep(0.05)
    print(*rows.tolist(), file=log, flush=True)
    return np.repeat(rows[:, None] / 8, 2, axis=1)
rows = np.random.default_rng(int(sys.argv[3])).permutation(2000)[:1500]
features = FeatureBank(Path(sys.argv[1])).get(0, rows, compute)
assert (features[:, 0] == (rows / 8).astype(np.float16)).all()
"""


def test_concurrent_runs_fill_it_together_and_a_killed_one_holds_nothing_up(tmp_path):
    def start(seed: int) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path / "bank"), str(tmp_path / f"log{seed}"), str(seed)]
        )

    victim = start(0)
    while not (tmp_path / "log0").exists() or not (tmp_path / "log0").read_text():
        time.sleep(0.01)
    workers = [start(seed) for seed in (1, 2, 3)]
    victim.kill()
    victim.wait()
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0, 0]
    # The victim may have computed one block that it could not write; the others nothing twice.
    rows = [int(row) for seed in (1, 2, 3) for row in (tmp_path / f"log{seed}").read_text().split()]
    assert len(rows) == len(set(rows))


def test_a_damaged_block_is_computed_again(tmp_path):
    rows = np.arange(300, dtype=np.int64)
    FeatureBank(tmp_path).get(0, rows, Counting())
    damaged, _ = sorted(tmp_path.rglob("*.npz"))
    damaged.write_bytes(b"")
    compute = Counting()
    assert FeatureBank(tmp_path).get(0, rows, compute)[:, 1].tolist() == (rows / 8).tolist()
    assert len(compute.computed) == BLOCK


def test_other_precision_and_blocks(tmp_path):
    rows = np.arange(10, dtype=np.int64)
    values = np.array([[1e6 + row, np.nan] for row in rows.tolist()])
    for _ in range(2):
        bank = FeatureBank(tmp_path, np.float64, block=4)
        assert np.array_equal(bank.get(0, rows, lambda view, some: values[some]), values, equal_nan=True)
    assert len(list(tmp_path.rglob("*.npz"))) == 3


def test_overflow_is_refused(tmp_path):
    rows = np.arange(4, dtype=np.int64)
    with pytest.raises(FloatingPointError, match="float16"):
        FeatureBank(tmp_path).get(0, rows, lambda view, rows: np.full((len(rows), 2), 1e6))
    assert not list(tmp_path.rglob("*.npz"))
