"""The lesion study from frames whose truth is known: worked numbers, closed forms, and simulated nulls."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mergerexp.analysis.fold_errors import COLUMNS, fold_errors, learning_table
from mergerexp.analysis.lesion import compare_arms
from mergerexp.analysis.paired_objects import mcnemar, paired_bootstrap
from mergerexp.analysis.significance import ASSUMES, corrected_t, correlated_bayes_t, stouffer
from tests.analysis.conftest import SUBSETS, row, study


def paired_objects(predictions, subset):
    """Return fold, label and the two arms' mistakes, straight from the frame."""
    test = predictions[(predictions["split"] == "test") & (predictions["subset"] == subset)]
    wide = test.pivot_table(index=["fold", "objid", "label"], columns="arm", values="p_m").reset_index()
    wrong = [(wide[arm] >= 0.5) != (wide["label"] == 1) for arm in ("imagenet", "random")]
    return wide["fold"].to_numpy(), wide["label"].to_numpy(), *(side.to_numpy(dtype=int) for side in wrong)


def test_paper_mode_is_welch_of_the_folds_and_stouffer(predictions, comparison):
    errors = fold_errors(predictions)
    p_values = []
    for subset in SUBSETS:
        of_size = errors[errors["subset"] == subset]
        a, b = (of_size.loc[of_size["arm"] == arm, "error"] for arm in ("imagenet", "random"))
        found = stats.ttest_ind(a, b, equal_var=False, alternative="less")
        welch = row(comparison.per_size, test="welch", subset=subset)
        assert welch.p_value == pytest.approx(found.pvalue)
        assert welch.df == pytest.approx(found.df)
        assert welch.difference == pytest.approx(b.mean() - a.mean())
        assert (welch.folds, welch.n_train) == (4, round(300 * subset))
        p_values.append(found.pvalue)
    combined = row(comparison.combined, test="welch", combination="stouffer")
    assert combined.p_value == pytest.approx(stats.combine_pvalues(p_values, "stouffer").pvalue)
    assert combined.sizes == 5


def test_paired_tests_of_a_size(predictions, comparison):
    for subset in (1.0, 0.17):
        fold, label, a, b = paired_objects(predictions, subset)
        of_fold = [
            [(wrong[own & (label == 1)].mean() + wrong[own & (label == 0)].mean()) / 2 for wrong in (a, b)]
            for own in (fold == k for k in range(4))
        ]
        errors_a, errors_b = np.transpose(of_fold)
        paired = row(comparison.per_size, test="paired_t", subset=subset)
        assert paired.p_value == pytest.approx(stats.ttest_rel(errors_a, errors_b, alternative="less").pvalue)
        corrected = row(comparison.per_size, test="corrected_t", subset=subset)
        assert corrected.statistic == pytest.approx(corrected_t(errors_a, errors_b).statistic)
        bayes = row(comparison.per_size, test="correlated_bayes_t", subset=subset)
        expected = correlated_bayes_t(errors_a, errors_b)
        assert (bayes.p_better, bayes.p_equal) == pytest.approx((expected.p_better, expected.p_equal))

        counted = row(comparison.per_size, test="mcnemar", subset=subset)
        assert counted.only_better_wrong == (a > b).sum()
        assert counted.only_worse_wrong == (b > a).sum()
        assert counted.p_value == pytest.approx(mcnemar(a, b).p_value)
        assert counted.objects == len(a)

        drawn = row(comparison.per_size, test="paired_bootstrap", subset=subset)
        alone = paired_bootstrap(a, b, label, fold, seed=9, draws=20_000)
        width = alone.high - alone.low
        assert drawn.difference == pytest.approx(alone.difference)
        assert (drawn.low, drawn.high) == pytest.approx((alone.low, alone.high), abs=0.05 * width)
        assert drawn.p_value == pytest.approx(alone.p_value, abs=0.02)


def test_combined_tests(comparison):
    table = comparison.combined
    assert set(table["test"]) | set(table["combination"]) <= set(ASSUMES)
    assert set(comparison.per_size["test"]) < set(ASSUMES)
    for test in ("welch", "paired_t", "corrected_t"):
        p_values = comparison.per_size.query("test == @test")["p_value"]
        strube = row(table, test=test, combination="strube")
        assert strube.p_value == pytest.approx(stouffer(p_values, None, comparison.correlation).p_value)
    joint = row(table, test="paired_bootstrap", combination="mean_over_sizes")
    sizes = comparison.per_size.query("test == 'paired_bootstrap'")
    assert joint.difference == pytest.approx(sizes["difference"].mean())
    assert joint.low < joint.difference < joint.high
    # the sizes' correlation decides between the widths of independent and of equal sizes
    widths = (sizes["high"] - sizes["low"]).to_numpy()
    expected = np.sqrt(widths @ comparison.correlation.to_numpy() @ widths) / 5
    assert joint.high - joint.low == pytest.approx(expected, rel=0.05)
    assert comparison.left_out == ()


def test_mean_over_sizes_of_the_folds(predictions, comparison):
    errors = fold_errors(predictions).groupby(["arm", "fold"])["error"].mean()
    expected = corrected_t(errors["imagenet"], errors["random"])
    found = row(comparison.combined, test="corrected_t", combination="mean_over_sizes")
    assert (found.statistic, found.p_value) == pytest.approx((expected.statistic, expected.p_value))
    assert found.df == 3


def test_nested_subsets_correlate_by_the_objects_that_they_share():
    """Where ratings don't depend on the size, the correlation of two sizes is √(n_small / n_large)."""
    arms = {"imagenet": 0.8, "random": 0.7}
    whole = study(np.random.default_rng(2), objects=16_000, subsets=(1.0,), arms=arms, shared=0.0)
    rank = dict(zip(whole["objid"].unique(), np.random.default_rng(3).random(16_000), strict=True))
    part = whole["objid"].map(rank)
    nested = pd.concat([whole[part < subset].assign(subset=subset) for subset in SUBSETS])
    found = compare_arms(nested, "imagenet", "random", seed=1, draws=4000).correlation
    for small, large in ((0.1, 0.17), (0.3, 0.5), (0.1, 1.0), (0.5, 1.0)):
        assert found.loc[small, large] == pytest.approx((small / large) ** 0.5, rel=0.08)


def test_the_same_size_twice_is_one_size():
    once = study(np.random.default_rng(4), subsets=(1.0,))
    twice = pd.concat([once, once.assign(subset=0.9)])
    found = compare_arms(twice, "imagenet", "random", seed=1, draws=1000)
    np.testing.assert_allclose(found.correlation, 1)
    joint = row(found.combined, test="paired_bootstrap", combination="mean_over_sizes")
    alone = row(found.per_size, test="paired_bootstrap", subset=1.0)
    assert (joint.low, joint.high, joint.p_value) == pytest.approx((alone.low, alone.high, alone.p_value))
    strube = row(found.combined, test="paired_t", combination="strube")
    assert strube.p_value == pytest.approx(row(found.per_size, test="paired_t", subset=1.0).p_value)


def test_several_seeds(predictions):
    """More trainings narrow the interval; McNemar's test takes the lowest seed that an arm has."""
    many = study(np.random.default_rng(5), seeds=(3, 1, 2), subsets=(1.0, 0.5), shared=0.2)
    uneven = many[~((many["arm"] == "random") & (many["seed"] == 1))]
    found = compare_arms(uneven, "imagenet", "random", seed=1, draws=1000)
    lowest = uneven[uneven["seed"] == uneven["arm"].map({"imagenet": 1, "random": 2})]
    single = compare_arms(lowest, "imagenet", "random", seed=1, draws=1000)
    for subset in (1.0, 0.5):
        for name in ("only_better_wrong", "only_worse_wrong", "p_value"):
            counted = (
                vars(row(table.per_size, test="mcnemar", subset=subset))[name] for table in (found, single)
            )
            assert next(counted) == next(counted)
        widths = [row(table.per_size, test="paired_bootstrap", subset=subset) for table in (found, single)]
        assert widths[0].high - widths[0].low < 0.85 * (widths[1].high - widths[1].low)
    table = learning_table(uneven)
    difference = row(table, arm="random", subset=1.0).error - row(table, arm="imagenet", subset=1.0).error
    for test in ("welch", "paired_t"):
        assert row(found.per_size, test=test, subset=1.0).difference == pytest.approx(difference)
    assert found.left_out == ()


def test_what_one_arm_lacks_is_left_out_and_named(predictions):
    a, b = (predictions["arm"] == arm for arm in ("imagenet", "random"))
    lost = (
        (a & (predictions["subset"] == 0.3))
        | (b & (predictions["subset"] == 0.5) & (predictions["fold"] == 2))
        | (a & (predictions["subset"] == 0.17) & (predictions["fold"] != 1))
        | (b & (predictions["subset"] == 1.0) & (predictions["fold"] == 0) & (predictions["objid"] % 7 == 0))
    )
    kept = predictions[~lost]
    found = compare_arms(kept, "imagenet", "random", seed=1, draws=200)
    assert sorted(found.per_size["subset"].unique()) == [0.1, 0.17, 0.5, 1.0]
    assert row(found.per_size, test="welch", subset=0.5).folds == 3
    assert set(found.per_size.query("subset == 0.17")["test"]) == {"mcnemar", "paired_bootstrap"}
    assert row(found.combined, test="welch", combination="stouffer").sizes == 3
    assert row(found.combined, test="paired_bootstrap", combination="mean_over_sizes").sizes == 4
    said = "\n".join(found.left_out)
    assert "subset=0.3: only random has results here" in said
    assert "subset=0.5 fold=2: only imagenet has results here" in said
    for fold in (0, 2, 3):
        assert f"subset=0.17 fold={fold}: only random has results here" in said
    assert "subset=0.17: imagenet and random share only one fold, and tests need two" in said
    assert "subset=1 fold=0: paired tests leave out what one method has not rated (" in said
    for fold in (0, 2, 3):
        assert f"fold={fold}: one of the two methods lacks this fold at some size" in said
    # paired tests take shared objects alone, Welch's test all that an arm has
    shared = kept.groupby(["subset", "fold", "objid"])["arm"].transform("nunique") == 2
    only_shared = compare_arms(kept[shared], "imagenet", "random", seed=1, draws=200)
    for test, same in (("paired_t", True), ("welch", False)):
        pair = [row(table.per_size, test=test, subset=1.0).difference for table in (found, only_shared)]
        assert (pair[0] == pytest.approx(pair[1])) is same


def test_one_fold_only(predictions):
    found = compare_arms(predictions[predictions["fold"] == 1], "imagenet", "random", seed=1, draws=100)
    assert set(found.per_size["test"]) == {"mcnemar", "paired_bootstrap"}
    assert found.combined["test"].tolist() == ["paired_bootstrap"]
    assert len(found.left_out) == 5


def test_equal_arms(predictions):
    one = predictions[predictions["arm"] == "random"]
    found = compare_arms(pd.concat([one, one.assign(arm="twin")]), "twin", "random", seed=1, draws=100)
    for test, p_value in (("paired_t", 0.5), ("corrected_t", 0.5), ("mcnemar", 1), ("paired_bootstrap", 1)):
        assert (found.per_size.loc[found.per_size["test"] == test, "p_value"] == p_value).all()
    assert (found.per_size.query("test == 'correlated_bayes_t'")["p_equal"] == 1).all()
    np.testing.assert_array_equal(found.correlation, np.eye(5))
    assert found.combined["p_value"].notna().all()
    assert row(found.combined, test="paired_t", combination="strube").p_value == 0.5


def test_sizes_that_disagree_about_one_object(predictions):
    """Their correlation of -1 would leave Stouffer's Z no variance, and any difference significant."""
    one = predictions[(predictions["arm"] == "random") & predictions["subset"].isin((1.0, 0.5))]
    both = pd.concat([one, one.assign(arm="twin")])
    galaxy = one.loc[(one["subset"] == 0.5) & (one["label"] == 1), "objid"].iloc[0]
    for subset, right in ((1.0, "twin"), (0.5, "random")):
        of_galaxy = (both["objid"] == galaxy) & (both["subset"] == subset)
        both["p_m"] = both["p_m"].mask(of_galaxy, (both["arm"] == right) * 0.8 + 0.1)
    found = compare_arms(both, "twin", "random", seed=1, draws=500)
    assert found.correlation.loc[0.5, 1.0] == 0
    assert found.combined["p_value"].min() > 0.05


def test_swapped_arms_and_shuffled_rows(predictions, comparison):
    shuffled = predictions.sample(frac=1, random_state=2)
    again = compare_arms(shuffled, "imagenet", "random", seed=1, draws=2000)
    pd.testing.assert_frame_equal(again.per_size, comparison.per_size)
    pd.testing.assert_frame_equal(again.combined, comparison.combined)
    swapped = compare_arms(predictions, "random", "imagenet", seed=1, draws=2000)
    np.testing.assert_allclose(swapped.per_size["difference"], -comparison.per_size["difference"])
    for test in ("welch", "corrected_t"):
        pair = [row(table.per_size, test=test, subset=0.3).p_value for table in (swapped, comparison)]
        assert sum(pair) == pytest.approx(1)


def test_images_of_one_encounter_tell_less_than_as_many_galaxies(predictions):
    """Every galaxy twice is no more evidence than once, if it is known to be the same galaxy."""
    twice = pd.concat([predictions, predictions.assign(objid=predictions["objid"] + 10**15)])
    group = twice["objid"] % 10**15

    def width(frame):
        combined = compare_arms(frame, "imagenet", "random", seed=2, draws=4000).combined
        found = row(combined, test="paired_bootstrap", combination="mean_over_sizes")
        return found.high - found.low

    once = width(predictions)
    assert width(twice.assign(group=group)) == pytest.approx(once, rel=0.06)
    assert width(twice) == pytest.approx(once / 2**0.5, rel=0.06)


@pytest.mark.slow
def test_type_one_error_over_all_sizes():
    """Without a difference Stouffer's Z spreads by more than 1, for sizes share objects; not so corrected."""
    rng, found = np.random.default_rng(6), []
    for number in range(60):
        whole = study(rng, objects=480, subsets=(1.0,), arms={"a": 1.0, "b": 1.0}, shared=0.0)
        rank = whole["objid"].map(dict(zip(whole["objid"].unique(), rng.permutation(480), strict=True)))
        nested = [whole[rank < 480 * subset].assign(subset=subset) for subset in (1.0, 0.7, 0.5)]
        found.append(compare_arms(pd.concat(nested), "a", "b", seed=number, draws=300).combined)
    table = pd.concat(found)
    z = stats.norm.isf(table["p_value"].clip(1e-3, 1 - 1e-3))
    spread = pd.Series(z, index=table.index).groupby([table["test"], table["combination"]]).std()
    assert spread["paired_t", "stouffer"] > 1.2  # each ±9 %
    assert 0.7 < spread["paired_t", "strube"] < 1.25
    assert 0.75 < spread["paired_bootstrap", "mean_over_sizes"] < 1.25


def test_quick():
    many = study(np.random.default_rng(7), objects=6500, subsets=np.array([1.0, 0.99, 0.98, 0.97, 0.96]))
    assert len(many) > 40 * 1550
    start = time.process_time()
    compare_arms(many, "imagenet", "random", seed=1)
    assert time.process_time() - start < 5


def test_bad_input(predictions):
    small = predictions[predictions["subset"] == 1.0]

    def compared(frame, better="imagenet", worse="random"):
        return compare_arms(frame, better, worse, seed=1, draws=10)

    for name in COLUMNS:
        with pytest.raises(ValueError, match=f"lack the columns {name}"):
            fold_errors(small.drop(columns=name))
    with pytest.raises(ValueError, match="split 'test'"):
        learning_table(small[small["split"] == "val"])
    with pytest.raises(ValueError, match="tests object 5870000000000000000 twice"):
        compared(pd.concat([small, small[small["objid"] == small["objid"].min()]]))
    with pytest.raises(ValueError, match="has two labels"):
        compared(small.assign(label=small["label"].where(small["arm"] == "random", 1 - small["label"])))
    with pytest.raises(ValueError, match=r"n_train .* arm imagenet, subset 1\.0, seed 0, fold 0"):
        fold_errors(small.assign(n_train=np.arange(len(small))))
    with pytest.raises(ValueError, match=r"arm imagenet, subset 1\.0, seed 0, fold 0: both classes"):
        fold_errors(small[small["label"] == 1])
    with pytest.raises(ValueError, match="lack values in fold"):
        fold_errors(small.assign(fold=np.nan))
    with pytest.raises(ValueError, match="p_m must"):
        compared(small.assign(p_m=np.nan))
    with pytest.raises(ValueError, match=r"arm 'other' .* \['imagenet', 'random'\]"):
        compared(small, worse="other")
    with pytest.raises(ValueError, match="two methods"):
        compared(small, worse="imagenet")
    with pytest.raises(ValueError, match="subset=1: only imagenet has results here; subset=2: only random"):
        compared(small.assign(subset=small["arm"].map({"imagenet": 1.0, "random": 2.0})))
    apart = small["objid"] + small["arm"].map({"imagenet": 0, "random": 10**6})
    with pytest.raises(ValueError, match="a class of which imagenet and random share no object"):
        compared(small.assign(objid=apart))
    moved = small.assign(subset=0.5, fold=(small["fold"] + 1) % 4)
    with pytest.raises(ValueError, match="two different test folds"):
        compared(pd.concat([small, moved]))
    with pytest.raises(ValueError, match="draws"):
        compare_arms(small, "imagenet", "random", seed=1, draws=0)


def test_the_share_of_test_to_training_objects_of_each_size(predictions):
    """Where only the training sets are subsets, small ones have much more to be tested on."""
    ratios = {subset: 0.5 / subset for subset in SUBSETS}
    one_by_one = {
        subset: compare_arms(predictions, "imagenet", "random", seed=1, draws=50, test_to_train=ratio)
        for subset, ratio in ratios.items()
    }
    together = compare_arms(predictions, "imagenet", "random", seed=1, draws=50, test_to_train=ratios)
    for subset, alone in one_by_one.items():
        for test in ("corrected_t", "correlated_bayes_t"):
            ours, expected = (row(all_.per_size, test=test, subset=subset) for all_ in (together, alone))
            assert (ours.statistic, ours.p_better) == pytest.approx(
                (expected.statistic, expected.p_better), rel=0, abs=0, nan_ok=True
            )
    mean = {"test": "corrected_t", "combination": "mean_over_sizes"}
    strictest = one_by_one[min(SUBSETS)]
    assert row(together.combined, **mean).p_value == row(strictest.combined, **mean).p_value


def test_folds_that_agree_by_chance_prove_nothing():
    """Two folds of a few objects often have the very same difference; that is no certainty."""
    cells = []
    for arm, wrong in (("imagenet", 1), ("random", 2)):
        for subset in (1.0, 0.5):
            for fold in (0, 1):
                shift = int(fold == 1 and subset == 0.5 and arm == "random")
                p_m = np.repeat([0.9, 0.1], 10)
                p_m[: wrong + shift] = 0.1
                rated = {"label": np.repeat([1, 0], 10), "p_m": p_m, "objid": 20 * fold + np.arange(20)}
                run = {"arm": arm, "subset": subset, "n_train": round(20 * subset), "seed": 0, "fold": fold}
                cells.append(pd.DataFrame({**run, "split": "test", **rated}))
    found = compare_arms(pd.concat(cells, ignore_index=True), "imagenet", "random", seed=0, draws=99)
    of_t = found.per_size.set_index(["test", "subset"])["p_value"]
    assert np.isnan(of_t["paired_t", 1.0]) and 0 < of_t["paired_t", 0.5] < 1
    same = "subset=1: the difference is the same in all folds, so this size has no paired t-test"
    assert any(line.startswith(same) for line in found.left_out)
    paired = found.combined[(found.combined["test"] == "paired_t")].set_index("combination")
    assert paired["sizes"].eq(1).all()
    assert paired.loc["stouffer", "p_value"] == pytest.approx(of_t["paired_t", 0.5])
