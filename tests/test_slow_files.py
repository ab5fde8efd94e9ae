"""The stand-in for a file system that answers late."""

from __future__ import annotations

import shutil
import sys

import pytest

from benchmarks.slow_files.__main__ import run_on_slow_files

SCRIPT = """
import multiprocessing, os, sys
from pathlib import Path

folder, other = map(Path, sys.argv[1:])
for place in (folder, other):
    (place / "a.txt").write_text("a")
    os.rename(place / "a.txt", place / "b.txt")
os.chdir(folder)
assert os.listdir() == ["b.txt"] and os.path.exists("b.txt")
child = multiprocessing.get_context("fork").Process(target=lambda: open("b.txt").close())
child.start()
child.join()
"""


@pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux and a C compiler"
)
def test_calls_below_the_folder_take_longer_and_are_counted(tmp_path):
    below, other = tmp_path / "below", tmp_path / "below-not"
    below.mkdir()
    other.mkdir()
    code, seconds, calls = run_on_slow_files(
        [sys.executable, "-Ic", SCRIPT, str(below), str(other)], below, 500
    )
    assert code == 0
    # Python asks for the status of what it has opened by the descriptor, which is no call about a path.
    assert calls == {"open": 2, "stat": 1, "list": 1, "change": 1, "lock": 0, "sync": 0}
    assert seconds > 5 * 0.5
