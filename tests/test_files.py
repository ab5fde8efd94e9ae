"""Files are whole or absent, and whoever may read the folder may read them."""

from __future__ import annotations

import errno
import os
import secrets

import numpy as np
import pytest
from safetensors.numpy import save_file

from mergerexp.errors import UserError, explain
from mergerexp.files import read_json, write_json, write_text, written, written_folder
from mergerexp.seals import check_signed


def test_whole_or_absent(tmp_path):
    path = tmp_path / "numbers.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), written(path) as partial:
        partial.write_text("ha")
        raise RuntimeError
    assert path.read_text() == "old"
    with written(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_readable_as_the_umask_says_whatever_the_library_thinks(tmp_path):
    before = os.umask(0o027)
    try:
        with written(tmp_path / "model.safetensors") as partial:
            save_file({"a": np.zeros(2)}, partial)
    finally:
        os.umask(before)
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o640


def test_a_planted_link_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(secrets, "token_hex", lambda n: "0" * 2 * n)  # suppose that somebody guessed it
    private = tmp_path / "private"
    private.write_text("mine")
    (tmp_path / ".shared.0000000000000000.partial").symlink_to(private)
    with pytest.raises(FileExistsError), written(tmp_path / "shared") as partial:
        partial.write_text("theirs")
    assert private.read_text() == "mine"


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_all_that_is_created_follows_the_umask(umask, tmp_path):
    before = os.umask(umask)
    try:
        write_json(tmp_path / "a.json", {})
        with written_folder(tmp_path / "folder") as partial:
            (partial / "file").touch()
    finally:
        os.umask(before)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o666 & ~umask
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~umask


@pytest.mark.parametrize(
    "content", [{"a": [1, 0.1, "π"]}, [], [1, {"b": None}], "text", {"nested": {"content": 1}}]
)
def test_json_is_read_as_it_was_written_or_not_at_all(content, tmp_path):
    path = tmp_path / "a.json"
    write_json(path, content)
    assert read_json(path) == content
    whole = path.read_text()
    for other in (
        "",
        "{",
        "{}",
        "[]",
        whole.replace('"sha256": "', '"sha256": "0'),
        whole.replace(":", ":1", 1),
    ):
        path.write_text(other)
        with pytest.raises(UserError, match=r"a\.json is damaged"):
            read_json(path)


def test_signed_files(tmp_path):
    path = tmp_path / "config.yaml"
    write_text(path, "a: 1\n", signed=True)
    check_signed(path)
    whole = path.read_bytes()
    for other in (b"", whole[:-1], whole + b"\n", whole.replace(b"a", b"b", 1), b"a: 1\n"):
        path.write_bytes(other)
        with pytest.raises(UserError, match=r"config\.yaml is damaged"):
            check_signed(path)


@pytest.mark.parametrize(
    "told",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(f"[Errno 28] Error writing bytes to file. Detail: [errno 28] {os.strerror(errno.ENOSPC)}"),
        RuntimeError(f"I/O error: {os.strerror(errno.EDQUOT)} (os error 122)"),
        OSError("1179648 requested and 600345 written"),
        OSError(errno.EFBIG, os.strerror(errno.EFBIG), "/tmp/.a.parquet.0123456789abcdef.partial"),
    ],
    ids=["Python", "Arrow", "safetensors", "numpy", "its own name"],
)
def test_a_full_disk_is_told_with_the_path_whatever_the_library_says(told, tmp_path):
    with pytest.raises(OSError) as caught, written(tmp_path / "a.parquet") as partial:
        partial.write_text("ha")
        raise told
    line = explain(caught.value)
    assert f"{tmp_path / 'a.parquet'} can't be written" in line and "make room there" in line
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_fails_again_on_a_full_disk_does_not_hide_it(tmp_path):
    """Matplotlib's PDF writer raises an AttributeError when it closes a file that it could not write."""
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught, written(tmp_path / "a.pdf"):
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            raise AttributeError("no attribute 'pos'")
    assert caught.value.filename == str(tmp_path / "a.pdf")


def test_another_disk_that_is_full_is_not_taken_for_this_one(tmp_path):
    with pytest.raises(UserError, match="the scratch disk is full"), written(tmp_path / "a.csv"):
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/scratch/b")
        except OSError as error:
            raise UserError("the scratch disk is full") from error
