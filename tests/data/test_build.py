import csv
import io
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from mergerexp.data import parts
from mergerexp.data.build import classes_text, prepare
from mergerexp.data.sources import Part, Problem
from mergerexp.data.sources.folder.source import FolderSource
from mergerexp.data.store import Dataset, verify, write_problems
from mergerexp.errors import DataError, UserError
from mergerexp.workers import worker_pool

REPOSITORY = Path(__file__).parents[2]

# A preparation that takes its time over each part of four images, and notes each that it makes.
SLOW_SCRIPT = """
import logging, os, sys, time
from pathlib import Path
from mergerexp.data.build import classes_text, prepare
from mergerexp.data.sources.folder import source

class SlowSource(source.FolderSource):
    def make(self, chunk):
        time.sleep(0.5)
        with open(self.root.parent / "made.txt", "a") as file:
            file.write(f"{os.getpid()} {chunk[0].file}\\n")
        return super().make(chunk)

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    source.FILES_PER_CHUNK = 4
    root = Path(sys.argv[1])
    print(prepare(SlowSource(root / "images", 16), "slow", 16, root / "sets", int(sys.argv[2])))
"""


def start_slowly(tmp_path, workers):
    """Start the slow preparation of tmp_path/images in a process group of its own."""
    script = tmp_path / "slow.py"
    script.write_text(SLOW_SCRIPT)
    return subprocess.Popen(
        [sys.executable, script, tmp_path, str(workers)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def everything_below(folder):
    """Names and times of all files and folders."""
    return {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))}


def hidden(folder):
    """Return what lies in a folder of data sets beside the sets, but for the locks."""
    return [p.name for p in folder.iterdir() if p.name.startswith(".") and p.suffix != ".lock"]


@pytest.fixture
def made(monkeypatch):
    """First files of the parts that this process makes, four images each."""
    monkeypatch.setattr("mergerexp.data.sources.folder.source.FILES_PER_CHUNK", 4)
    firsts = []
    original = FolderSource.make

    def make(self, chunk):
        firsts.append(chunk[0].file)
        return original(self, chunk)

    monkeypatch.setattr(FolderSource, "make", make)
    return firsts


def test_makes_a_whole_data_set_and_leaves_nothing_else(root, tmp_path, made):
    sets = tmp_path / "deep/sets"
    path = prepare(FolderSource(root, 16), "toy", 16, sets, workers=1)
    dataset = Dataset.open(path)
    verify(Dataset.open(path))
    assert path.parent == sets
    assert path.name.startswith("toy-")
    assert len(path.name) == len("toy-") + 8
    assert dataset.images.shape == (16, 16, 16, 3)
    assert dataset.labels.tolist() == [1] * 6 + [0] * 10
    assert dataset.objids.tolist() == [*range(1, 7), *range(101, 111)]
    assert dataset.meta["counts"] == {"other": 10, "merger": 6}
    assert dataset.meta["class_names"] == ["other", "merger"]
    assert dataset.meta["source"] == "FolderSource"
    assert len(made) == 4
    assert not hidden(sets)


def test_second_preparation_writes_nothing(root, tmp_path, made):
    first = prepare(FolderSource(root, 16), "toy", 16, tmp_path / "sets", workers=1)
    for lock in (tmp_path / "sets").glob(".*.lock"):
        lock.unlink()
    before = everything_below(tmp_path)
    made.clear()
    assert prepare(FolderSource(root, 16), "toy", 16, tmp_path / "sets", workers=1) == first
    assert everything_below(tmp_path) == before
    assert not made


def test_another_recipe_name_or_size_is_another_data_set(root, tmp_path):
    sets = tmp_path / "sets"
    paths = {
        prepare(FolderSource(root, 16), "toy", 16, sets, 1),
        prepare(FolderSource(root, 16), "other", 16, sets, 1),
        prepare(FolderSource(root, 24), "toy", 24, sets, 1),
        prepare(FolderSource(root, 16, crop=0.5), "toy", 16, sets, 1),
    }
    (root / "merger/1.png").rename(root / "merger/7.png")
    paths.add(prepare(FolderSource(root, 16), "toy", 16, sets, 1))
    assert len(paths) == 5


def test_content_hash_depends_on_the_content_only(root, tmp_path, monkeypatch):
    monkeypatch.setattr("mergerexp.data.sources.folder.source.FILES_PER_CHUNK", 3)
    elsewhere = tmp_path / "another machine/images"
    shutil.copytree(root, elsewhere)
    os.utime(elsewhere / "merger/1.png", ns=(0, 0))
    here = prepare(FolderSource(root, 16), "toy", 16, tmp_path / "sets", workers=1)
    there = prepare(FolderSource(elsewhere, 16), "toy", 16, elsewhere.parent / "sets", workers=2)
    assert Dataset.open(here).content_hash == Dataset.open(there).content_hash
    assert Dataset.open(here).catalogue.equals(Dataset.open(there).catalogue)
    (root / "merger/6.png").rename(root / "other/6.png")
    changed = prepare(FolderSource(root, 16, positive="merger"), "toy", 16, tmp_path / "sets", workers=1)
    assert Dataset.open(changed).content_hash != Dataset.open(here).content_hash


def test_a_dead_worker_is_told_plainly():
    with (
        pytest.raises(UserError, match=r"a worker process died.*fewer data\.workers"),
        worker_pool(1, "data.workers") as pool,
    ):
        pool.submit(signal.raise_signal, signal.SIGKILL).result()


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT], ids=["kill", "interrupt"])
def test_interrupted_preparation_continues(root, tmp_path, make_folder, made, stop):
    make_folder(root, mergers=20, others=40)
    process = start_slowly(tmp_path, workers=2)
    partial = tmp_path / "sets"
    wait_until(lambda: len(list(partial.glob(".*.partial/*.part"))) >= 3)
    # Ctrl-C reaches the whole group; kill -9 only the parent, whose workers must not outlive it.
    if stop == signal.SIGINT:
        os.killpg(process.pid, stop)
    else:
        process.kill()
    _, errors = process.communicate(timeout=20)
    assert process.returncode != 0
    assert "Process SpawnProcess" not in errors
    workers = {int(line.split()[0]) for line in (tmp_path / "made.txt").read_text().splitlines()}
    assert len(workers) == 2
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))

    done = list(partial.glob(".*.partial/*.part"))
    assert 3 <= len(done) < 15
    (done[0].parent / "000099.part.1.tmp").write_bytes(b"half a part")
    path = prepare(FolderSource(root, 16), "slow", 16, tmp_path / "sets", workers=1)
    assert len(made) == 15 - len(done)
    assert not hidden(tmp_path / "sets")
    fresh = prepare(FolderSource(root, 16), "slow", 16, tmp_path / "fresh", workers=1)
    assert Dataset.open(path).content_hash == Dataset.open(fresh).content_hash


@pytest.mark.slow
def test_two_processes_make_each_part_once(root, tmp_path, make_folder):
    make_folder(root, mergers=10, others=22)
    processes = [start_slowly(tmp_path, workers=1) for _ in range(2)]
    results = [process.communicate(timeout=30) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert results[0][0] == results[1][0]
    made = [line.split()[1] for line in (tmp_path / "made.txt").read_text().splitlines()]
    assert len(made) == len(set(made)) == 8
    assert sum("another process is preparing" in errors for _, errors in results) == 1
    verify(Dataset.open(results[0][0].strip()))


def test_stop_reports_all_problems_and_continues_when_they_are_mended(root, tmp_path, made):
    for i in range(12):
        (root / f"other/9{i:02}.png").symlink_to(root / "later.bin")
    sets = tmp_path / "sets"
    with pytest.raises(DataError) as caught:
        prepare(FolderSource(root, 16), "toy", 16, sets, workers=1)
    (report,) = sets.glob("toy-*.problems.csv")
    message = str(caught.value)
    assert "12 unusable inputs" in message
    assert str(report) in message
    assert "other/900.png: missing" in message
    assert "… and 2 more" in message
    assert "data.on_error=skip" in message
    with report.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [f"other/9{i:02}.png" for i in range(12)]
    assert {row["reason"] for row in rows} == {"missing: no such file"}
    assert not [path for path in sets.iterdir() if path.is_dir() and not path.name.startswith(".")]

    # The listing is the same, so the good parts are still there: only the bad ones are made again.
    made.clear()
    skipped = prepare(FolderSource(root, 16, on_error="skip"), "toy", 16, sets, workers=1)
    assert made == ["other/900.png", "other/904.png", "other/908.png"]
    dataset = Dataset.open(skipped)
    assert len(dataset) == 16
    assert dataset.meta["problems"] == 12
    assert (skipped / "problems.csv").read_text().count("\n") == 13
    assert not report.exists()

    for i in range(12):
        (root / f"other/9{i:02}.png").unlink()
    mended = prepare(FolderSource(root, 16), "toy", 16, sets, workers=1)
    assert Dataset.open(mended).content_hash == dataset.content_hash
    assert Dataset.open(mended).meta["problems"] == 0


def test_duplicate_objid_names_both_files(root, tmp_path):
    """A survey's identifier in two places is one object, where 1.png and 1.png are two."""
    objid = 587_722_981_741_363_323
    (root / "merger/3.png").rename(root / f"merger/{objid}.png")
    shutil.copy(root / "other/101.png", root / f"other/{objid}.png")
    shutil.copy(root / "other/101.png", root / "other/1.png")
    first, second = f"merger/{objid}.png", f"other/{objid}.png"
    with pytest.raises(DataError, match=rf"1 unusable .*\n  {second}: duplicate objid {objid}: {first} has"):
        prepare(FolderSource(root, 16), "toy", 16, tmp_path / "sets", workers=1)
    source = FolderSource(root, 16, on_error="skip")
    dataset = Dataset.open(prepare(source, "toy", 16, tmp_path / "sets", workers=1))
    assert dataset.catalogue.set_index("objid")["file"][objid] == first
    assert len(dataset) == 17
    files = dataset.catalogue["file"].tolist()
    stamps = source.make(source.chunks()[0]).images
    np.testing.assert_array_equal(dataset.images[files.index(first)], stamps[files.index(first)])
    verify(dataset)


def test_names_of_files_are_no_commands(root, tmp_path):
    """Neither for the terminal that shows them nor for a spreadsheet that opens the report."""
    for name in ("a\x1b[31m\nb.txt", "c\u202egnp.txt"):
        (root / "merger" / name).write_text("no image")
    with pytest.raises(DataError) as stopped:
        prepare(FolderSource(root, 16), "toy", 16, tmp_path / "sets", workers=1)
    lines = str(stopped.value).splitlines()
    assert r"merger/a\x1b[31m\nb.txt: not an image" in lines[1]
    assert r"merger/c\u202egnp.txt: not an image" in lines[2]

    write_problems(
        tmp_path / "problems.csv", [Problem("=cmd|'/C calc'!A0.png", "-1 px"), Problem("a,b", "cut")]
    )
    with (tmp_path / "problems.csv").open(newline="") as file:
        assert list(csv.reader(file))[1:] == [["'=cmd|'/C calc'!A0.png", "'-1 px"], ["a,b", "cut"]]


def test_skipping_must_leave_both_classes(root, tmp_path):
    for file in (root / "merger").iterdir():
        file.write_bytes(b"")
    source = FolderSource(root, 16, on_error="skip")
    with pytest.raises(
        DataError,
        match=r"class 'merger' .* no usable object \(6 unusable inputs, all listed in .*problems.csv\)",
    ):
        prepare(source, "toy", 16, tmp_path / "sets", workers=1)
    assert len(list((tmp_path / "sets").glob("toy-*.problems.csv"))) == 1


class ToySource:
    """Two chunks of two images each, in this process."""

    class_names = ("plain", "odd")
    on_error = "stop"

    def __init__(self, side=16, labels=(0, 1)):
        self.side = side
        self.labels = labels

    def recipe(self):
        return {"side": self.side, "labels": self.labels}

    def chunks(self):
        return [0, 1]

    def inputs(self, chunk):
        return 2

    def make(self, chunk):
        images = np.full((2, self.side, self.side, 3), chunk, dtype=np.uint8)
        rows = [
            {"objid": np.int64(2 * chunk + i), "label": label, "group": 0, "mass": np.float32(0.5)}
            for i, label in enumerate(self.labels)
        ]
        return Part(images, rows)


def test_rows_may_hold_numpys_numbers(tmp_path):
    dataset = Dataset.open(prepare(ToySource(), "toy", 16, tmp_path, workers=1))
    assert dataset.catalogue["mass"].tolist() == [0.5] * 4
    assert json.loads((dataset.path / "dataset.json").read_text())["recipe"]["side"] == 16


def test_refuses_what_breaks_the_contract(tmp_path):
    with pytest.raises(TypeError, match=r"ToySource made uint8 \(2, 20, 20, 3\), expected"):
        prepare(ToySource(side=20), "toy", 16, tmp_path, workers=1)
    with pytest.raises(DataError, match=r"class 'odd' of data set toy has no usable object$"):
        prepare(ToySource(labels=(0, 0)), "toy", 16, tmp_path, workers=1)


def test_refuses_a_name_that_leads_elsewhere(tmp_path):
    with pytest.raises(UserError, match=r"data.name=../toy: use letters"):
        prepare(ToySource(), "../toy", 16, tmp_path / "datasets", workers=1)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_data_set_is_named(tmp_path):
    path = prepare(ToySource(), "toy", 16, tmp_path, workers=1)
    (path / "dataset.json").unlink()
    with pytest.raises(DataError, match=f"{path.name} is not a data set: dataset.json is missing"):
        prepare(ToySource(), "toy", 16, tmp_path, workers=1)


def test_a_damaged_part_is_removed_and_made_again(root, tmp_path, made, monkeypatch):
    monkeypatch.setattr(parts, "make_part", damaged_once(parts.make_part))
    source = FolderSource(root, 16)
    with pytest.raises(DataError, match=r"000000-of-000004.part is damaged.* prepare again"):
        prepare(source, "toy", 16, tmp_path / "sets", workers=1)
    verify(Dataset.open(prepare(source, "toy", 16, tmp_path / "sets", workers=1)))
    assert len(made) == 5


def damaged_once(make_part):
    def make(source, chunk, size, path, done=[]):  # noqa: B006
        n = make_part(source, chunk, size, path)
        if not done:
            done.append(path)
            path.write_bytes(path.read_bytes()[:-100])
        return n

    return make


def test_says_how_far_it_is_where_there_is_no_terminal(root, tmp_path, made, monkeypatch, caplog):
    monkeypatch.setattr("mergerexp.console.REFRESH_S", 0.0)
    monkeypatch.setattr("mergerexp.console.LOG_EVERY_S", 0.0)
    caplog.set_level(logging.INFO)
    prepare(FolderSource(root, 16), "toy", 16, tmp_path / "sets", workers=1)
    assert "preparing toy: 8 of 16" in caplog.text
    caplog.clear()
    prepare(FolderSource(root, 20), "toy", 20, tmp_path / "sets", workers=1, progress=False)
    assert "preparing toy" not in caplog.text


def test_shows_a_bar_on_a_terminal(root, tmp_path, made, monkeypatch):
    terminal = Console(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr("mergerexp.console.console", terminal)
    monkeypatch.setattr("mergerexp.console.REFRESH_S", 0.0)
    monkeypatch.setattr("mergerexp.console.BAR_AFTER_S", 0.0)
    prepare(FolderSource(root, 16), "toy", 16, tmp_path / "sets", workers=1)
    shown = terminal.file.getvalue()
    assert "preparing toy" in shown
    assert "objects/s" in shown


def test_says_what_a_new_set_holds(root, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (root / "merger/1.png").write_bytes(b"")
    shutil.copy(root / "merger/2.png", root / "merger/3.png")
    path = prepare(FolderSource(root, 16, on_error="skip"), "toy", 16, tmp_path / "sets", workers=1)
    held, skipped, copies = (record.getMessage() for record in caplog.records[-3:])
    n_mergers, n_others = (len(list((root / name).iterdir())) for name in ("merger", "other"))
    assert held == (
        f"data set {path}: {n_mergers + n_others - 1} images, {n_mergers - 1} with label 1 (merger) and "
        f"{n_others} with label 0 (other)"
    )
    assert skipped == (
        f"1 unusable input left out, listed in {path / 'problems.csv'}:\n"
        "  merger/1.png: empty file (zero bytes)"
    )
    assert copies.startswith("1 image is an exact copy of another")


def test_classes_whose_names_are_their_labels_are_named_once():
    assert classes_text({"0": 9, "1": 8}) == "8 with label 1 and 9 with label 0"
    assert classes_text({"1": 9, "0": 8}) == "8 with label 1 (0) and 9 with label 0 (1)"


def test_an_image_of_both_classes_is_left_out_altogether(root, tmp_path):
    shutil.copy(root / "merger/2.png", root / "other/2.png")
    with pytest.raises(DataError, match=r"^2 unusable inputs"):
        prepare(FolderSource(root, 16), "toy", 16, tmp_path / "sets", workers=1)
    path = prepare(FolderSource(root, 16, on_error="skip"), "toy", 16, tmp_path / "sets", workers=1)
    assert {"merger/2.png", "other/2.png"}.isdisjoint(Dataset.open(path).catalogue["file"])
    table = (path / "problems.csv").read_text()
    assert 'merger/2.png,"the same image as other/2.png, which is of the other class"' in table
    assert 'other/2.png,"the same image as merger/2.png, which is of the other class"' in table


def test_a_set_with_gaps_is_not_passed_off_as_whole(root, tmp_path):
    (root / "merger/1.png").write_bytes(b"")
    prepare(FolderSource(root, 16, on_error="skip"), "toy", 16, tmp_path / "sets", workers=1)
    with pytest.raises(DataError, match=r"without 1 unusable input, listed in its.*data.on_error=skip"):
        prepare(FolderSource(root, 16), "toy", 16, tmp_path / "sets", workers=1)
