"""Simulated data sets: what is in them, and that they depend on their settings alone."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata

from mergerexp.data.sources.simulated.source import SimulatedSource
from mergerexp.simulator.settings import SimulatorSettings

SETTINGS = {
    "variety": 0.0,
    "n_mergers": 7,
    "n_noninteracting": 9,
    "seed": 4,
    "views_per_encounter": 3,
    "n_particles": 800,
    "stamp_width": 6.0,
    "as_min": 0.2,
    "hard": 0.05,
    "stages": [0.2, 0.6, 0.2],
    "p_proj": 0.1,
    "p_star": 0.06,
    "depth": 1.0,
    "label_noise": 0.0,
}

SIZE = 48


def source(size=SIZE, **changes):
    return SimulatedSource(SimulatorSettings(**{**SETTINGS, **changes}), size)


def everything(maker, chunks=None):
    parts = [maker.make(chunk) for chunk in (chunks or maker.chunks())]
    return np.concatenate([part.images for part in parts]), [row for part in parts for row in part.rows]


def same_rows(a, b):
    return json.dumps(a) == json.dumps(b)  # NaN equals NaN there


@pytest.fixture(scope="module")
def sample():
    return everything(source())


@pytest.fixture(scope="module")
def larger_sample():
    return everything(source(n_mergers=120, n_noninteracting=160))


def test_counts_and_columns(sample):
    images, rows = sample
    assert images.shape == (16, SIZE, SIZE, 3)
    assert images.dtype == np.uint8
    assert [row["label"] for row in rows] == [1] * 7 + [0] * 9
    assert len({row["objid"] for row in rows}) == 16
    assert len({tuple(row) for row in rows}) == 1
    for row in rows:
        json.dumps(row)
        assert isinstance(row["objid"], int)
        assert isinstance(row["group"], int)
        assert 0 <= row["shape_asymmetry"] <= 1
        assert row["pixel_arcsec"] * SIZE >= 24 * 0.999
        merger = row["true_label"] == 1
        assert (row["kind"] in ("approach", "first_passage", "late")) == merger
        assert np.isnan(row["time_gyr"]) != merger
        assert np.isnan(row["mass_ratio"]) != merger


def test_pictures_show_something(sample):
    images, _ = sample
    middle = slice(SIZE // 2 - 3, SIZE // 2 + 3)
    centre = images[:, middle, middle].mean(axis=(1, 2, 3))
    assert (centre > np.median(images, axis=(1, 2, 3)) + 10).mean() > 0.8
    assert images.max() > 150
    assert np.median(images) < 60


def test_same_seed_same_pictures_other_seed_others(sample):
    images, rows = everything(source())
    assert (images == sample[0]).all()
    assert same_rows(rows, sample[1])
    others, _ = everything(source(seed=5))
    assert (others != images).any(axis=(1, 2, 3)).all()


def test_chunking_does_not_matter(sample):
    maker = pickle.loads(pickle.dumps(source()))
    pieces = [("merger", 2, 3), ("merger", 0, 2), ("noninteracting", 4, 9), ("noninteracting", 0, 4)]
    images, rows = everything(maker, pieces)
    by_id = {row["objid"]: k for k, row in enumerate(sample[1])}
    order = [by_id[row["objid"]] for row in rows]
    assert (images == sample[0][order]).all()
    assert same_rows(rows, [sample[1][k] for k in order])


def test_counts_do_not_change_the_pictures_they_share(sample):
    images, rows = everything(source(n_mergers=5, n_noninteracting=3))
    keep = [*range(5), *range(7, 10)]
    assert (images == sample[0][keep]).all()
    assert same_rows(rows, [sample[1][k] for k in keep])


def test_chunks_cover_the_set_once():
    chunks = source(n_mergers=1000, n_noninteracting=1234).chunks()
    for kind, total in (("merger", 334), ("noninteracting", 1234)):
        ranges = [range(start, stop) for k, start, stop in chunks if k == kind]
        assert [index for one in ranges for index in one] == list(range(total))
    assert len(chunks) > 20


def test_one_encounter_is_one_group(larger_sample):
    rows = larger_sample[1]
    mergers = [row for row in rows if row["true_label"] == 1]
    alone = [row["group"] for row in rows if row["true_label"] == 0]
    assert len(set(alone)) == len(alone)
    assert not set(alone) & {row["group"] for row in mergers}
    ratios = {}
    for row in mergers:
        ratios.setdefault(row["group"], set()).add(row["mass_ratio"])
    assert all(len(found) == 1 for found in ratios.values())
    assert len({next(iter(found)) for found in ratios.values()}) == len(ratios)
    assert 40 <= len(ratios) < 80  # 40 blocks of three views; some slots needed another encounter
    times = {(row["group"], row["time_gyr"]) for row in mergers}
    assert len(times) > 0.9 * len(mergers)


def test_acceptance_rule():
    _, rows = everything(source(n_mergers=24, hard=0.0), [("merger", 0, 8)])
    assert all(row["shape_asymmetry"] > 0.2 for row in rows)
    _, rows = everything(source(n_mergers=24, hard=1.0, as_min=1.0), [("merger", 0, 8)])
    assert min(row["shape_asymmetry"] for row in rows) < 0.2


def test_unreachable_asymmetry_ends_with_the_best_try():
    images, rows = everything(source(n_mergers=3, hard=0.0, as_min=1.0), [("merger", 0, 1)])
    assert len(images) == 3
    assert all(row["shape_asymmetry"] > 0.2 for row in rows)


def test_stages_are_drawn_as_asked():
    _, rows = everything(source(n_mergers=12, stages=[1, 0, 0]), [("merger", 0, 4)])
    assert {row["kind"] for row in rows} == {"approach"}
    assert all(row["time_gyr"] < 0 for row in rows)


def test_kinds_of_noninteracting(larger_sample):
    kinds = [row["kind"] for row in larger_sample[1] if row["true_label"] == 0]
    assert 4 <= kinds.count("proj") <= 30
    assert 2 <= kinds.count("star") <= 22
    _, rows = everything(source(p_proj=0.0, p_star=1.0), [("noninteracting", 0, 4)])
    assert {row["kind"] for row in rows} == {"star"}


def test_label_noise_flips_labels_and_nothing_else(sample):
    images, rows = everything(source(label_noise=0.4))
    assert (images == sample[0]).all()
    flipped = [row["label"] != row["true_label"] for row in rows]
    assert 0 < sum(flipped) < len(rows) * 0.8
    kept = [{**row, "label": row["true_label"]} for row in rows]
    assert same_rows(kept, sample[1])


def test_depth_sets_the_noise():
    deep, _ = everything(source(depth=0.3), [("noninteracting", 0, 4)])
    shallow, _ = everything(source(depth=2.0), [("noninteracting", 0, 4)])
    noise = [
        (images.mean(axis=-1) - gaussian_filter(images.mean(axis=-1), (0, 2, 2))).std()
        for images in (deep, shallow)
    ]
    assert noise[1] > 1.3 * noise[0]  # the dark sky clips some of it


def test_no_trivial_statistic_separates_the_classes(larger_sample):
    images, rows = larger_sample
    labels = np.array([row["true_label"] for row in rows])
    light = images.astype(np.float32)
    grey = light.mean(axis=-1)
    corner = np.concatenate([grey[:, :8, :8], grey[:, -8:, -8:]], axis=1).reshape(len(grey), -1)
    statistics = {
        "mean": grey.mean(axis=(1, 2)),
        "background": np.median(corner, axis=1),
        "noise": np.abs(np.diff(corner, axis=1)).mean(axis=1),
        "colour": (light[..., 0] - light[..., 2]).mean(axis=(1, 2)),
        "peak": grey.max(axis=(1, 2)),
        "pixel": np.array([row["pixel_arcsec"] for row in rows]),
        "magnitude": np.array([row["mag_r"] for row in rows]),
    }
    positives, negatives = labels.sum(), (1 - labels).sum()
    for name, value in statistics.items():
        ranks = rankdata(value)[labels == 1].sum()
        auroc = (ranks - positives * (positives + 1) / 2) / (positives * negatives)
        assert 0.26 < auroc < 0.74, (name, auroc)


def test_recipe_is_json_and_changes_with_the_settings():
    recipes = [json.dumps(source(**c).recipe()) for c in ({}, {"seed": 9}, {"stages": [0.5, 0.25, 0.25]})]
    assert len(set(recipes)) == 3
    assert json.dumps(source(size=SIZE + 2).recipe()) != recipes[0]
    assert json.loads(recipes[0])["simulator"] == SETTINGS


@pytest.mark.parametrize("stages", [[0.2, 0.8], [0, 0, 0], [0.5, 0.8, -0.3]])
def test_impossible_stages_are_refused(stages):
    problem = source(stages=stages).settings.problem()
    assert problem is not None
    assert problem.startswith(f"stages={stages}: three fractions that sum to 1")


def test_source_names():
    assert source().class_names == ("noninteracting", "merger")
    assert source().on_error == "stop"


@pytest.mark.parametrize("size", [16, 33, 150])
def test_any_size(size):
    maker = source(size=size)
    for chunk in (("merger", 0, 1), ("noninteracting", 0, 3)):
        assert maker.make(chunk).images.shape == (3, size, size, 3)
