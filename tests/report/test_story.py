"""What a report says of a study in words and big numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mergerexp.report.figures.quality import draw_roc
from mergerexp.report.numbers import p_value_text
from mergerexp.report.results import StudyResults
from mergerexp.report.story import build_report
from mergerexp.report.tables import all_tables
from mergerexp.report.verdict import combined_test
from tests.report.conftest import cells, prose, results, shown

pytestmark = pytest.mark.slow


def declared(found: StudyResults, is_published: bool = True, asked: bool | None = None) -> StudyResults:
    """Return a study's results as they are where its data set is the published sample."""
    declaration = {"data.published_sample": str(is_published)}
    settings = {run_id: {**config, **declaration} for run_id, config in found.study.settings.items()}
    return replace(
        found,
        study=replace(found.study, settings=settings),
        settings=replace(found.settings, published=asked),
    )


@pytest.mark.parametrize("subsets", [(1.0,), (0.5, 1.0)])
def test_a_method_alone_is_compared_with_none(subsets):
    """Two are, in the same sentences."""
    words = ("Which method is better", "side by side", "method with the lower error", "compare=")
    for arms, expected in ((["imagenet"], set()), (["imagenet", "random"], {"side by side"})):
        found = results(*cells(arms, subsets=subsets))
        report = build_report(found, [], {"fig02_lesion": Path("fig02_lesion.svg")}, {})
        (figure,) = report.sections[0].items
        text = " ".join([*report.verdict, report.sections[0].title, figure.caption])
        if expected:
            expected |= {words[2 if len(subsets) > 1 else 0]}
        assert {word for word in words if word in text} == expected


def test_the_seed_that_is_looked_at_is_named():
    several = results(*cells(["imagenet"], seeds=(1, 2)), *cells(["random"], seeds=(0, 1, 2)))
    assert "All figures show imagenet with its largest training set and of seed 1. Both" in prose(several)
    assert "would show how much of the difference is luck" not in prose(several)
    assert "would show how much of the difference is luck" in prose(results(*cells()))


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (None, ""),
        ("0", "started from fold0 of model abc, which has seen none of the 200 galaxies"),
        ("12", "which was trained on 12 of the 200 galaxies of galaxies: its error on these is too small"),
        ("unknown", "nothing says which galaxies that network has seen"),
    ],
)
def test_what_a_network_has_seen_before_is_said_first(seen, said):
    found = results(*cells())
    known = {"mergerexp.weights.seen": seen, "mergerexp.weights.origin": "fold0 of model abc"}
    arms = found.study.runs.set_index("run_id")["arm"]
    tags = {
        run: {**own, **(known if seen and arms[run] == "imagenet" else {})}
        for run, own in found.study.tags.items()
    }
    verdict = build_report(replace(found, study=replace(found.study, tags=tags)), [], {}, {}).verdict
    sentences = [sentence for sentence in verdict if "started from" in sentence]
    assert len(sentences) == (seen is not None)
    assert all(sentence.startswith("imagenet") and said in sentence for sentence in sentences)


OF_THE_PAPER = ("published", "Ackermann", "0.032(1)", "9922", "Goulding", "Keras")


@pytest.mark.parametrize(
    ("is_published", "asked", "expected"),
    [(False, None, False), (False, True, True), (True, None, True), (True, False, False)],
)
def test_published_numbers_stand_beside_the_published_sample_alone(is_published, asked, expected):
    """A study of other objects has none of them, unless they are asked for."""
    text = shown(declared(results(*cells()), is_published, asked)).replace("The published analysis", "")
    assert [word in text for word in OF_THE_PAPER] == [expected] * len(OF_THE_PAPER)
    assert ("published=true asked for" in text) == (asked is True and not is_published)


def test_published_numbers_stand_beside_what_they_are_of():
    found = declared(results(*cells()))
    tiles = {line.label: line.published for line in build_report(found, [], {}, {}).headline}
    assert tiles["test error"] == "published 0.032(1)"
    assert tiles["p, paired bootstrap over galaxies"] == "not in the paper"
    turned = declared(results(*cells(), compare=("random", "imagenet")))
    tiles = {line.label: line.published for line in build_report(turned, [], {}, {}).headline}
    assert tiles["test error"] is tiles["AUROC"] is None and "p, by the paper's test" not in tiles


def test_the_big_numbers_are_those_of_the_verdict():
    """Both p beside each other, and both are named after the verdict."""
    report = build_report(found := results(*cells(subsets=(0.5, 1.0))), [], {}, {})
    tiles = {line.label: line.ours for line in report.headline}
    for test, label in (("paired_bootstrap", "paired bootstrap over"), ("corrected_t", "corrected t over")):
        (number,) = (ours for name, ours in tiles.items() if label in name)
        row = combined_test(found.comparison, "mean_over_sizes", test)
        assert number == p_value_text(row["p_value"])
        assert number in report.evidence


def test_galaxies_are_counted_where_they_are_tested():
    """A single fold's validation galaxies are not tested by anyone."""
    subtitle = build_report(found := results(*cells(folds=(0,))), [], {}, {}).subtitle
    tested = found.study.predictions.query("split == 'test'")["objid"].nunique()
    assert tested == 50
    assert "the 200 galaxies of galaxies" in subtitle and "which hold 50 of these galaxies" in subtitle


def test_means_of_folds_and_pooled_scores_are_named():
    found = results(*cells())
    notes = [line.note for line in build_report(found, [], {}, {}).headline[:3]]
    assert all("mean of 4 folds" in note for note in notes)
    assert "pooled" in draw_roc(found).axes[0].get_legend().get_title().get_text()
    captions = {table.name: table.caption for table in all_tables(found)}
    assert "Means over the folds" in captions["table1_scores"]
    assert "pooled" in captions["calibration"]
