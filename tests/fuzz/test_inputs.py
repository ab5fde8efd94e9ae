"""The short version of ``benchmarks/fuzz_inputs.py``: some of each kind of damage, the same at each time."""

import io

import numpy as np
import pytest
from PIL import Image

from benchmarks import fuzz_inputs as fuzz
from mergerexp.data.sources.folder import stamp


@pytest.mark.slow
def test_damaged_images_and_csvs_are_named_or_do_no_harm(tmp_path):
    pool = fuzz.Prepares(tmp_path / "sets")
    try:
        images = fuzz.fuzz_images(4 * len(fuzz.IMAGE_DAMAGE), 1, pool, tmp_path)
        csvs = fuzz.fuzz_csvs(3 * len(fuzz.CSV_DAMAGE), 1, pool, tmp_path)
    finally:
        pool.close()
    assert images.wrong == []
    assert csvs.wrong == []
    assert sum(images.counts.values()) == 4 * len(fuzz.IMAGE_DAMAGE)
    assert sum(csvs.counts.values()) == 3 * len(fuzz.CSV_DAMAGE)
    for tally in (images, csvs):
        assert sum(n for (_, how), n in tally.counts.items() if how == "named") > 20


def test_the_fuzzers_see_what_is_silent_and_what_is_a_traceback(tmp_path, monkeypatch):
    class Here(fuzz.Prepares):
        def prepare(self, root, options):
            return fuzz._prepare(root, self.sets, options)

    def lenient(data, side):  # as it was: Pillow keeps libjpeg's warnings to itself
        image = Image.open(io.BytesIO(data))
        return image.convert("RGB"), image.size

    monkeypatch.setattr(stamp, "_decode", lenient)
    wrong = fuzz.fuzz_images(2 * len(fuzz.IMAGE_DAMAGE), 1, Here(tmp_path / "images"), tmp_path).wrong
    assert any("JPEG, cut and closed: silent: " in line for line in wrong)

    monkeypatch.setattr("mergerexp.data.build._join_groups", lambda rows: rows[0].update(group=-1))
    wrong = fuzz.fuzz_csvs(len(fuzz.CSV_DAMAGE), 1, Here(tmp_path / "csvs"), tmp_path).wrong
    assert any("silent: " in line and "groups are" in line for line in wrong)
    monkeypatch.setattr("mergerexp.data.build._join_groups", np.linalg.inv)
    wrong = fuzz.fuzz_csvs(len(fuzz.CSV_DAMAGE), 1, Here(tmp_path / "more"), tmp_path).wrong
    assert any("traceback: " in line for line in wrong)
