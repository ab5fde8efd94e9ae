"""The stand-in for a file system that answers late."""

from __future__ import annotations

import shutil
import sys

import pytest

from benchmarks.slow_files.__main__ import main, run_on_slow_files

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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--ms", "-1"), "--ms -1: has to be from 0 to 60000"),
        (("--ms", "nan"), "--ms nan: has to be from 0 to 60000"),
        (("--below", "nowhere"), "--below nowhere: there is no such folder"),
        (("no-such-command",), "no-such-command: there is no such command"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_measured_is_refused(options, said, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["slow_files", "--below", str(tmp_path), *options, "true"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert said in capsys.readouterr().err
