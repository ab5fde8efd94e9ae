"""Tasks are done once, their results come back in order, and nothing goes on behind an error."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

import pytest

from mergerexp.report.helpers import Helpers, Later, begun, helpers
from mergerexp.workers import worker_pool


def _square(number: int) -> int:
    return number**2


def _fail(folder: Path) -> int:
    raise ValueError(f"{folder} is wrong")


def _write_late(folder: Path) -> int:
    (folder / "begun").touch()
    time.sleep(1)
    (folder / "late").touch()
    return 0


def _note(folder: Path, number: int) -> int:
    with (folder / str(number)).open("a") as file:
        file.write("done ")
    return number


@pytest.mark.parametrize("number", [0, 1, 3, 11])
def test_results_are_in_order_with_and_without_processes(number, tmp_path):
    tasks = [partial(_square, each) for each in range(number)]
    expected = [each**2 for each in range(number)]
    with begun(None, tasks) as finish:
        assert finish() == expected
    with worker_pool(2, "cores") as pool:
        with begun(Helpers(pool, 2), tasks) as finish:
            assert finish() == expected
        with begun(Helpers(pool, 2), [partial(_note, tmp_path, each) for each in range(number)]) as finish:
            assert finish() == list(range(number))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["done "] * number


def test_a_task_is_imported_where_it_is_done(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    tasks = [Later("colorsys:rgb_to_hls", (1.0, 0.0, red)) for red in (0.0, 1.0)]
    with worker_pool(2, "cores") as pool, begun(Helpers(pool, 2), tasks) as finish:
        assert [round(hue, 2) for hue, _, _ in finish()] == [0.0, 0.83]
    assert "colorsys" not in sys.modules


def test_an_error_in_a_task_is_raised_once_nobody_writes_any_more(tmp_path):
    tasks = [partial(_fail, tmp_path), partial(_write_late, tmp_path)]
    with worker_pool(2, "cores") as pool:
        with pytest.raises(ValueError, match="is wrong"), begun(Helpers(pool, 2), tasks) as finish:
            finish()
        assert (tmp_path / "late").exists()


def test_after_an_error_in_the_block_nobody_writes_or_begins_another_task(tmp_path):
    tasks = [partial(_write_late, tmp_path), *(partial(_note, tmp_path, each) for each in range(9))]
    with worker_pool(1, "cores") as pool:
        with pytest.raises(ValueError, match="is wrong"), begun(Helpers(pool, 1), tasks):
            while not (tmp_path / "begun").exists():
                time.sleep(0.01)
            _fail(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {"begun", "late"}


def test_an_interrupt_does_not_wait_for_what_others_do(monkeypatch):
    monkeypatch.setattr("mergerexp.report.helpers.usable_cores", lambda: 2)
    with pytest.raises(KeyboardInterrupt), helpers() as pool:
        assert pool is not None
        futures = [pool.pool.submit(time.sleep, 600) for _ in range(2)]
        while not any(future.running() for future in futures):
            time.sleep(0.01)
        raise KeyboardInterrupt
