"""Reference objects: the source's own bytes where they are, else the stamp, decoded to the very pixels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mergerexp.config.compose import compose_cell
from mergerexp.config.schema import PrepareConfig
from mergerexp.data.build import prepare_dataset
from mergerexp.data.store import Dataset
from mergerexp.errors import UserError
from mergerexp.survey.references import SOURCE, STAMP, choose_references, decode_references, reference_rows


@pytest.fixture
def blobs(galaxies, datasets) -> Dataset:
    overrides = ["data=folder", f"data.root={galaxies}", "data.size=24", "data.crop=0.8"]
    cfg = compose_cell("prepare", overrides, PrepareConfig)
    return Dataset.open(prepare_dataset(cfg.data, datasets, progress=False))


def rated(dataset: Dataset) -> pd.DataFrame:
    n = len(dataset)
    logits = np.linspace(-3, 3, n, dtype=np.float32)
    table = {"objid": dataset.objids, "label": dataset.labels, "logit_0": -logits, "logit_1": logits}
    return pd.DataFrame(table | {"p_m": 1 / (1 + np.exp(-2 * logits.astype(float)))})


def test_they_are_spread_over_the_ranks(blobs):
    chosen = choose_references(rated(blobs), 5)
    assert chosen["p_m"].rank().tolist() == [1, 2, 3, 4, 5]
    assert chosen.index.tolist() == [0, 24, 48, 71, 95]
    assert len(choose_references(rated(blobs).iloc[:3], 16)) == 3


@pytest.mark.parametrize(("has_files", "kind"), [(True, SOURCE), (False, STAMP)])
def test_their_bytes_give_the_prepared_pixels(has_files, kind, blobs, galaxies):
    rows = reference_rows(choose_references(rated(blobs), 7), blobs, galaxies if has_files else None, 0.8, 2)
    assert set(rows["kind"]) == {kind} and set(rows["fold"]) == {2}
    stamps = decode_references(rows["image"].tolist(), rows["kind"].tolist(), 24, 0.8)
    assert np.array_equal(stamps, blobs.images[blobs.rows_of(rows["objid"].to_numpy())])


def test_a_file_that_has_changed_is_no_source(blobs, galaxies, tmp_path):
    for file in blobs.catalogue["file"]:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b"another picture")
    rows = reference_rows(choose_references(rated(blobs), 3), blobs, tmp_path, 0.8, 0)
    assert set(rows["kind"]) == {STAMP}


def test_bytes_that_are_no_image_are_refused():
    with pytest.raises(UserError, match="reference object 0 of the model folder: "):
        decode_references([b"nothing"], [STAMP], 24, 1.0)
