"""Work that is shared comes back in order, and nothing goes on behind an error."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest

from mergerexp.report.helpers import Helpers, helpers, shared
from mergerexp.workers import worker_pool


def _square(number: int) -> int:
    return number**2


def _fail(folder: Path) -> int:
    raise ValueError(f"{folder} is wrong")


def _write_late(folder: Path) -> int:
    time.sleep(1)
    (folder / "late").touch()
    return 0


@pytest.mark.parametrize("number", [0, 1, 3, 11])
def test_results_are_in_order_with_and_without_processes(number):
    tasks = [partial(_square, each) for each in range(number)]
    expected = [each**2 for each in range(number)]
    assert shared(None, tasks) == expected
    with worker_pool(2, "cores") as pool:
        assert shared(Helpers(pool, 2), tasks) == expected


def test_an_error_is_raised_once_nobody_writes_any_more(tmp_path):
    with worker_pool(2, "cores") as pool:
        with pytest.raises(ValueError, match="is wrong"):
            shared(Helpers(pool, 2), [partial(_fail, tmp_path), partial(_write_late, tmp_path)])
        assert (tmp_path / "late").exists()


def test_an_interrupt_does_not_wait_for_what_others_do(monkeypatch):
    monkeypatch.setattr("mergerexp.report.helpers.usable_cores", lambda: 2)
    with pytest.raises(KeyboardInterrupt), helpers() as pool:
        assert pool is not None
        futures = [pool.pool.submit(time.sleep, 600) for _ in range(2)]
        while not any(future.running() for future in futures):
            time.sleep(0.01)
        raise KeyboardInterrupt
