"""What a study's numbers are where it is small, uneven or partly absent."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.cbook import is_math_text
from matplotlib.text import Text

from mergerexp.config.schema import SplitConfig
from mergerexp.data.splits import make_split
from mergerexp.errors import UserError
from mergerexp.report.figures.degradation import draw_degradations
from mergerexp.report.figures.lesion import draw_lesion
from mergerexp.report.figures.quality import (
    draw_calibration,
    draw_histogram,
    draw_precision_recall,
    draw_roc,
)
from mergerexp.report.figures.style import save
from mergerexp.report.figures.training import MOST_RUNS, draw_training_curves
from mergerexp.report.results import compute
from mergerexp.report.settings import AggregationSettings
from mergerexp.report.tables import all_tables
from mergerexp.report.words import Words
from mergerexp.runs.endings import BEST_EPOCH
from mergerexp.tracking.study import PooledPredictions
from tests.report.conftest import cells, prose, results, shown, study

pytestmark = pytest.mark.slow


def test_two_subsets_of_one_size():
    """Of 28 mergers in four folds, subsets of .1 and .17 keep one of each fold."""
    found = results(*cells(subsets=(0.1, 0.17, 1.0)), mergers=28, others=84)
    tables = {table.name: table.shown for table in all_tables(found)}
    assert tables["lesion_tests"]["N"].tolist()[:3] == ["28", "4", "4"]
    assert tables["lesion_errors"]["N"].tolist()[:3] == ["28", "4", "4"]


def test_arms_that_share_nothing_are_no_comparison():
    apart = [*cells(["imagenet"]), *cells(["random"], subsets=(0.5,))]
    found = results(*apart)
    assert found.comparison is None and found.compared == []
    assert "No two methods are compared: imagenet and random can't be compared" in prose(found)
    assert "lesion_tests" not in {table.name for table in all_tables(found)}
    with pytest.raises(UserError, match="compare: imagenet and random can't be compared"):
        results(*apart, compare=("imagenet", "random"))


def test_training_curves_of_arms_with_different_sizes():
    """A panel stays empty where an arm was not trained at a size of another arm."""
    uneven = study([*cells(["imagenet"]), *cells(["random"], subsets=(0.5,))])
    uneven = replace(uneven, metrics={run_id: {} for run_id in uneven.runs["run_id"]})
    epochs = {"stage": "finetune", "epoch": 0, "train_loss": 0.5, "val_loss": 0.5, "val_accuracy": 0.7}
    histories = uneven.runs[["run_id", "arm", "subset"]].assign(**epochs)
    found = compute(uneven, AggregationSettings(draws=20), histories=histories)
    drawn = draw_training_curves(found)
    drawn.draw_without_rendering()
    titles = [axes.get_title() for axes in drawn.axes]
    assert [title for title in titles if title] == [
        "imagenet, N = 60",
        "imagenet, not trained",
        "random, not trained",
        "random, N = 32",
    ]


def test_training_curves_of_many_runs_take_no_more_bytes(tmp_path):
    """Studies of thousands of runs have a report that can be opened."""
    few = study(cells(["imagenet"]))
    few = replace(few, metrics={run_id: {BEST_EPOCH: 3.0} for run_id in few.runs["run_id"]})
    epochs = pd.DataFrame({"stage": "finetune", "epoch": range(20), "val_accuracy": 0.7})
    epochs = epochs.assign(train_loss=1 / (1 + epochs["epoch"]), val_loss=0.5)
    histories = few.runs[["run_id", "arm", "subset"]].merge(epochs, how="cross")
    copies = [histories.assign(run_id=histories["run_id"] + str(copy)) for copy in range(60)]
    found = compute(few, AggregationSettings(draws=20), histories=pd.concat(copies, ignore_index=True))
    svg = save(draw_training_curves(found), tmp_path, "curves")
    assert found.histories["run_id"].nunique() > MOST_RUNS
    assert svg.stat().st_size < 100_000


def test_too_few_galaxies_to_calibrate():
    found = results(*cells(), mergers=4, others=40)
    assert found.quality == {}
    assert "The calibration of imagenet is not examined: fold 0" in prose(found)


@pytest.mark.parametrize("subset_of", ["all", "train"])
@pytest.mark.parametrize("negatives", ["all", "matched"])
def test_the_corrected_t_knows_the_sizes_of_the_folds(subset_of, negatives):
    """n_test / n_train is that of the splits that the runs had."""
    split = {"subset_of": subset_of, "negatives": negatives}
    found = results(*cells(subsets=(0.5, 1.0)), mergers=80, others=240, **split)
    labels = np.repeat([1, 0], [80, 240])
    assert found.comparison is not None
    per_size = found.comparison.per_size.set_index(["test", "subset"])
    for subset in (0.5, 1.0):
        chosen = make_split(labels, np.arange(320), SplitConfig(folds=4, seed=0, **split), 0, subset)
        ratio = len(chosen.test) / len(chosen.train)
        paired, corrected = (
            per_size.loc[(test, subset), "statistic"] for test in ("paired_t", "corrected_t")
        )
        assert (paired / corrected) ** 2 == pytest.approx(1 + 4 * ratio)


def test_folds_count_alike_whatever_their_seeds():
    """Pooled are the seeds that all folds have, else one of each fold."""
    more = [*cells(), *cells(seeds=(1, 2), folds=(0,))]
    pd.testing.assert_frame_equal(results(*more).scores, results(*cells()).scores)
    mixed = [*cells(seeds=(1,), folds=(0, 1)), *cells(seeds=(2, 3), folds=(2, 3))]
    expected = [*cells(seeds=(1,), folds=(0, 1)), *cells(seeds=(2,), folds=(2, 3))]
    pd.testing.assert_frame_equal(results(*mixed).scores, results(*expected).scores)
    several = "The calibration of imagenet is not examined: predictions are of several seeds"
    assert several in prose(results(*mixed))


def test_the_predictions_of_each_arm_are_selected_once(monkeypatch):
    selected = []
    select = PooledPredictions.of

    def of(test: pd.DataFrame) -> PooledPredictions:
        selected.append(test["arm"].iloc[0])
        return select(test)

    monkeypatch.setattr(PooledPredictions, "of", of)
    found = compute(study(cells(subsets=(0.5, 1.0), seeds=(0, 1))), AggregationSettings(draws=20))
    shown(found)
    draw_precision_recall(found)
    assert selected == ["imagenet", "random"]


def test_calibration_is_tested_where_probabilities_are_meant_to_hold():
    """Not those of a balanced sample in a survey, nor one p for all."""
    found = results(*cells())
    scores = found.quality["imagenet"].scores.set_index(["p", "prevalence"])
    for name in ("as trained", "isotonic"):
        assert scores.loc[(name, 0.02), ["ece_null", "ece_p", "spiegelhalter_z"]].isna().all()
        assert scores.loc[(name, 0.5), ["ece_null", "ece_p", "spiegelhalter_z"]].notna().all()
    assert scores.loc[("as trained, prior shifted", 0.02), "ece_p"] > 0
    constant = found.study.predictions.assign(p_m=0.5)
    flat = compute(replace(found.study, predictions=constant), AggregationSettings(draws=100))
    table = {table.name: table.shown for table in all_tables(flat)}["calibration"]
    raw = table[table["probabilities"] == "as trained"]
    assert set(raw["ECE of true probabilities"]) == set(raw["Spiegelhalter z"]) == {"–"}


def test_a_rule_that_calls_nothing_has_no_purity():
    found = results(*cells())
    nothing = found.study.predictions.assign(p_m=0.0)
    rule = compute(replace(found.study, predictions=nothing), AggregationSettings(draws=20))
    drawn = draw_precision_recall(rule).axes[0]
    assert all(len(line.get_xdata()) == 0 for line in drawn.lines)
    half = compute(found.study, AggregationSettings(prevalence=0.5, draws=20))
    lines = draw_precision_recall(half).axes[0].lines
    assert {line.get_linestyle() for line in lines} == {"-"}


@pytest.mark.parametrize("at", [0.2, 0.6, 0.9])
def test_a_bin_of_equal_probabilities_can_be_drawn(at):
    """Their mean is at the bin's very limit, but for rounding."""
    label = np.repeat([1, 0], [7, 33])
    draw_calibration(pd.DataFrame({"label": label, "p_m": at}), Words())


def test_the_points_of_a_single_size_stand_beside_each_other():
    """On an axis from the first point to the last, they would seem to be of very different sizes."""
    (axes,) = draw_lesion(results(*cells(subsets=(1.0,)))).axes
    low, high = axes.get_xlim()
    at = [line.get_xdata()[0] for line in axes.get_lines() if len(line.get_xdata()) == 1]
    assert len(at) >= 2
    assert max(at) / min(at) < (high / low) ** 0.2


@pytest.mark.parametrize(("subsets", "combined"), [((1.0,), False), ((0.5, 1.0), True)])
def test_nothing_is_combined_over_a_single_size(subsets, combined):
    """Tests of one size are those of all sizes; nothing is said of labels that a method would save."""
    found = results(*cells(subsets=subsets))
    tables = {table.name: table for table in all_tables(found)}
    assert ("lesion_combined" in tables) == combined
    assert ("Stouffer" in tables["lesion_assumptions"].shown["test"].tolist()) == combined
    text = prose(found)
    for words in ("Stouffer", "over the 2 sizes", "How many labels each method needs"):
        assert (words in text) == combined, words
    if not combined:
        assert not re.search(
            r"\bsizes\b", text + " ".join(table.title + table.caption for table in tables.values())
        )
        alone, mean = found.comparison.per_size.set_index("test"), found.comparison.combined
        for test in ("paired_bootstrap", "corrected_t"):
            of_mean = mean[(mean["combination"] == "mean_over_sizes") & (mean["test"] == test)]
            assert of_mean["p_value"].item() == pytest.approx(alone.loc[test, "p_value"])


def test_rows_that_are_the_same_are_shown_once():
    """At 50 % mergers the data set is balanced; a survey of 50 % needs no shift of probabilities."""
    even = compute(study(cells(), mergers=100, others=100), AggregationSettings(prevalence=0.5, draws=20))
    tables = {table.name: table for table in all_tables(even)}
    shares = tables["scores_by_prevalence"].shown["mergers among all"].tolist()
    assert shares == ["50 % (balanced, data set, survey)"] * 2
    assert "they share a row" in tables["scores_by_prevalence"].caption
    assert tables["calibration"].shown["probabilities"].tolist() == ["as trained", "isotonic", "Platt"] * 2
    assert "prior shift" not in tables["calibration"].caption
    uneven = {table.name: table for table in all_tables(results(*cells()))}
    assert len(uneven["scores_by_prevalence"].shown) == 6
    assert "share a row" not in uneven["scores_by_prevalence"].caption


def test_the_table_of_calibration_explains_what_seems_to_differ():
    (caption,) = (table.caption for table in all_tables(results(*cells())) if table.name == "calibration")
    assert "p can be tiny beside an interval that begins at 0" in caption
    assert "changes the order of galaxies of different folds, and so the pooled AUROC" in caption


@pytest.mark.parametrize("name", ["a$b$c", r"$\frac$", "US$"])
def test_names_with_dollar_signs_are_no_formulas(name):
    """Classes and methods may be called anything; p_m is a formula all the same."""
    found = results(*cells(subsets=(0.5, 1.0)))
    words = Words.of(name, name)
    rename = {"imagenet": name}
    tags = {
        run_id: {**of_run, "mergerexp.data.positive": name} for run_id, of_run in found.study.tags.items()
    }
    frames = {part: getattr(found.study, part).replace({"arm": rename}) for part in ("runs", "predictions")}
    renamed = compute(
        replace(found.study, tags=tags, **frames), AggregationSettings((name, "random"), draws=20)
    )
    test = renamed.study.pooled[name].first_seed
    drawn = [draw_lesion(renamed), draw_roc(renamed), draw_precision_recall(renamed)]
    drawn += [draw_histogram(test, words), draw_calibration(test, words)]
    for made in drawn:
        made.draw_without_rendering()
        texts = [text.get_text() for text in made.findobj(Text)]
        assert any(name.replace("$", r"\$") in text for text in texts)
        assert {text for text in texts if is_math_text(text)} <= {"$p_m$", "mean $p_m$ in the bin"}


def test_numbers_below_the_axis_of_sizes_do_not_overlap():
    found = results(*cells(subsets=(0.5, 0.52, 0.54, 0.9, 1.0)), mergers=300, others=300)
    drawn = draw_lesion(found)
    (axes,) = drawn.axes
    drawn.draw_without_rendering()
    labels = [tick.label1 for tick in axes.xaxis.get_major_ticks() if tick.label1.get_text()]
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.x0)
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    sizes = set(found.learning["n_train"])
    assert 2 <= len(labels) < len(sizes)
    assert {*axes.xaxis.get_majorticklocs(), *axes.xaxis.get_minorticklocs()} == sizes


def test_degraded_images_have_a_row_for_each_degradation_and_method():
    """The strengths differ from one degradation to the next, so that each error is followed by its own."""
    found = study(cells(["imagenet", "random"]))
    test = found.predictions[found.predictions["split"] == "test"]
    steps = {"noise": [0.0, 5.0, 10.0], "jpeg": [100.0, 20.0]}
    degraded = pd.concat(
        test.assign(degradation=name, strength=strength, p_m=test["p_m"] if strength in (0, 100) else 0.5)
        for name, strengths in steps.items()
        for strength in strengths
    )
    one = degraded[degraded["arm"] == "imagenet"]
    for ratings, arms in ((degraded, ["imagenet", "random"]), (one, ["imagenet"])):
        rated = compute(found, AggregationSettings(draws=20), ratings)
        (table,) = (table for table in all_tables(rated) if table.name == "robustness")
        shown = table.shown
        assert list(shown) == ["degradation", "method", "as they are", "step 1", "step 2"]
        assert shown["degradation"].tolist() == [name for name in steps for _ in arms]
        assert shown["method"].tolist() == arms * 2
        assert shown["step 1"].tolist() == ["0.500(0) at 5"] * len(arms) + ["0.500(0) at 20"] * len(arms)
        assert shown["step 2"].tolist() == ["0.500(0) at 10"] * len(arms) + [""] * len(arms)
        legend = draw_degradations(rated).axes[0].get_legend()
        assert [text.get_text() for text in legend.get_texts()] == arms
