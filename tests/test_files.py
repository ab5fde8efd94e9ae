"""Files are whole or absent, and whoever may read the folder may read them."""

from __future__ import annotations

import os

import numpy as np
import pytest
from safetensors.numpy import save_file

from mergerexp.files import written


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
