"""A disk without room: every verb names the path and leaves nothing half-written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mergerexp.aggregate
import mergerexp.prepare

NO_SPACE = "No space left on device"


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Callable[[int], Path]]:
    """Mount a disk of so many kB."""
    mounted = []

    def mount(kilobytes: int) -> Path:
        path = tmp_path / "disk"
        path.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(path)]
        if os.getuid() != 0 or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no disk can be mounted here")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", str(path)], check=True)


def half_written(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob(".*") if path.name.endswith((".partial", ".tmp"))]


def test_prepare(run_verb, galaxies, small_disk, capsys):
    disk = small_disk(600)
    data = ("data=folder", f"data.root={galaxies}", "data.size=64", "data.workers=1")
    assert run_verb(mergerexp.prepare, *data, f"paths.datasets={disk / 'sets'}") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert str(disk) in line and NO_SPACE in line and "make room" in line
    parts = list(disk.rglob("*.part"))
    assert not [path for path in (disk / "sets").iterdir() if not path.name.startswith(".")]
    assert [name for name in half_written(disk) if not Path(name).is_dir()] == []
    subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
    assert run_verb(mergerexp.prepare, *data, f"paths.datasets={disk / 'sets'}") == 0
    assert ("continuing" in capsys.readouterr().err) == bool(parts)


@pytest.mark.parametrize("kilobytes", [500, 1000])  # it is full with the first checkpoint, or a later one
def test_train(kilobytes, train, small_disk, capsys):
    disk = small_disk(kilobytes)
    assert train("fold=0", "trainer.max_epochs=1", "tracking=none", f"paths.root={disk}") == 1
    said = capsys.readouterr().err
    (line,) = [line for line in said.splitlines() if NO_SPACE in line and "failed:" in line]
    assert f"failed: {disk}/runs/" in line and "make room" in line
    assert "Traceback" not in said
    assert half_written(disk) == []
    subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
    assert train("fold=0", "trainer.max_epochs=1", "tracking=none", f"paths.root={disk}") == 0


@pytest.mark.slow
def test_aggregate(run_verb, study_root, small_disk, capsys):
    disk = small_disk(300)
    store = f"tracking.uri=sqlite:///{study_root / 'mlflow.db'}"
    assert run_verb(mergerexp.aggregate, store, f"paths.studies={disk}", "draws=100") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert str(disk) in line and NO_SPACE in line and "make room" in line
    assert [path.name for path in disk.iterdir()] == [".mergerexp.lock"]


def test_the_store_s_disk_alone(train, small_disk, capsys):
    """Runs are trained and kept; that the record lacks them is no success."""
    disk = small_disk(4000)
    store = (f"tracking.uri=sqlite:///{disk}/mlflow.db", "trainer.max_epochs=1")
    assert train("fold=0", *store) == 0
    with pytest.raises(OSError, match=NO_SPACE), (disk / "filling").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(512))
    capsys.readouterr()
    assert train("fold=1", *store) != 0
    said = capsys.readouterr().err
    assert f"{disk}/mlflow.db" in said and "make room" in said and "Traceback" not in said
    (disk / "filling").unlink()
    assert train("fold=1", *store) == 0
